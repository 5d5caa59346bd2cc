package fusefs

import (
	"errors"
	"io/fs"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/overlay"
)

// openVolume is an LV that was opened, with its changes if those are in an overlay.
type openVolume struct {
	lvBytes
	lv      *lvm2.Volume
	writing bool
	overlay *overlay.Overlay // nil: the LV is as it is
}

type lvBytes interface{ mapping.Writable }

// Writable says whether it was opened for writing.
func (v *openVolume) Writable() bool { return v.writing }

// Moves says whether bytes may come to lie elsewhere while it is open. With an overlay the LV does not change.
func (v *openVolume) Moves() bool { return v.overlay == nil && v.lv.Moves() }

// Close brings to stable storage what was written, and gives up the LV's claims. The overlay stays open.
func (v *openVolume) Close() error {
	if v == nil {
		return nil
	}
	var err error
	if v.writing {
		err = v.Sync()
	}
	return errors.Join(err, v.lv.Close())
}

// open opens what the file is made of if its LV is c, which may be nil.
func (f *lvFile) open(c *currentLV, writing bool) (*openVolume, error) {
	switch {
	case c == nil:
		return nil, errGone
	case writing && c.readOnly() != nil:
		return nil, c.readOnly()
	case !c.overlaid():
		open := c.Open
		if writing {
			open = c.OpenWritable
		}
		v, err := open()
		if err != nil {
			return nil, err
		}
		return &openVolume{v, v, writing, nil}, nil
	}
	base, err := c.Open()
	if err != nil {
		return nil, err
	}
	changes, err := f.openOverlay(c, base.Size(), writing)
	switch {
	case err != nil:
	case changes == nil:
		return &openVolume{base, base, false, nil}, nil
	default:
		var over *overlay.Volume
		if over, err = changes.Over(base); err == nil {
			return &openVolume{over, base, writing, changes}, nil
		}
	}
	return nil, errors.Join(err, base.Close())
}

// overlays are where the changes of LVs are kept. The zero value is for those that are changed themselves.
type overlays struct {
	dir      *overlay.Dir
	readOnly bool
}

// overlaid says whether the LV's changes go to an overlay. An internal LV has none: what lies on it would not know.
func (c *currentLV) overlaid() bool { return c.overlays.dir != nil && c.Visible() }

// overlayPath is the file that changes of the LV go to, whether it is there yet or not; "" without an overlay.
func (c *currentLV) overlayPath() string {
	if !c.overlaid() {
		return ""
	}
	return c.overlays.dir.File(c.overlayIdentity())
}

// overlayIdentity is for finding the overlay's file.
func (c *currentLV) overlayIdentity() overlay.Identity {
	return OverlayIdentity(c.LV, c.DeviceSize())
}

// OverlayIdentity is what an overlay of an LV of size bytes belongs to.
func OverlayIdentity(lv *lvm2.LV, size int64) overlay.Identity {
	return overlay.Identity{
		VG: lv.VG.UUID.String(), LV: lv.UUID.String(),
		Size:        size,
		Fingerprint: lv.Fingerprint(),
		VGName:      lv.VG.Name, LVName: lv.Name,
	}
}

// openOverlay is the overlay of a file of size bytes. It is nil if there is none and none is wanted.
func (f *lvFile) openOverlay(c *currentLV, size int64, create bool) (*overlay.Overlay, error) {
	f.overlaying.Lock()
	defer f.overlaying.Unlock()
	id := OverlayIdentity(c.LV, size)
	if f.overlay != nil {
		return f.overlay, f.overlay.Check(id)
	}
	var err error
	if create {
		f.overlay, err = c.overlays.dir.OpenOrCreate(id)
	} else {
		f.overlay, err = c.overlays.dir.Open(id, !c.overlays.readOnly)
	}
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil, nil
	}
	return f.overlay, err
}

// leaveOverlay gives up the overlay unless the volume is made of it. The caller holds f.io.
func (f *lvFile) leaveOverlay() error {
	f.overlaying.Lock()
	defer f.overlaying.Unlock()
	v, left := f.vol.Load(), f.overlay
	if left == nil || v != nil && v.overlay == left {
		return nil
	}
	f.overlay = nil
	return left.Close()
}
