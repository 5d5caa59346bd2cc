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
}

type lvBytes interface{ mapping.Writable }

// Writable says whether it was opened for writing.
func (v *openVolume) Writable() bool { return v.writing }

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
		return &openVolume{v, v, writing}, nil
	}
	base, err := c.Open()
	if err != nil {
		return nil, err
	}
	changes, err := f.openOverlay(c, writing)
	switch {
	case err != nil:
	case changes == nil:
		return &openVolume{base, base, false}, nil
	default:
		var over *overlay.Volume
		if over, err = changes.Over(base); err == nil {
			return &openVolume{over, base, writing}, nil
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
	return c.overlays.dir.File(c.identity())
}

// identity is what an overlay of the LV belongs to.
func (c *currentLV) identity() overlay.Identity {
	return overlay.Identity{
		VG: c.VG.UUID.String(), LV: c.UUID.String(),
		Size:        c.DeviceSize(),
		Fingerprint: c.contents,
		VGName:      c.VG.Name, LVName: c.Name,
	}
}

// openOverlay is the file's overlay. It is nil if there is none and none is wanted.
func (f *lvFile) openOverlay(c *currentLV, create bool) (*overlay.Overlay, error) {
	f.overlaying.Lock()
	defer f.overlaying.Unlock()
	if f.overlay != nil {
		return f.overlay, f.overlay.Check(c.identity())
	}
	var err error
	if create {
		f.overlay, err = c.overlays.dir.OpenOrCreate(c.identity())
	} else {
		f.overlay, err = c.overlays.dir.Open(c.identity(), !c.overlays.readOnly)
	}
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil, nil
	}
	return f.overlay, err
}

// leaveOverlay gives up the overlay unless it is that of c, which may be nil. No volume may use it any more.
func (f *lvFile) leaveOverlay(c *currentLV) error {
	f.overlaying.Lock()
	defer f.overlaying.Unlock()
	if f.overlay == nil || c != nil && c.overlaid() && f.overlay.Check(c.identity()) == nil {
		return nil
	}
	left := f.overlay
	f.overlay = nil
	return left.Close()
}
