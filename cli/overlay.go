package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lvm2fs/fusefs"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/overlay"
)

// overlayOptions are the flags of commands that read what a mount with an overlay has written.
type overlayOptions struct {
	Overlay string `placeholder:"DIR" help:"Read LVs as changed by a mount with -o overlay=DIR."`
}

// overlaid opens LVs with the changes of their overlays. Without a directory it opens them as they are.
type overlaid struct {
	dir  *overlay.Dir
	open []*overlay.Overlay
}

// openOverlays is for reading; path may be "".
func openOverlays(path string) (*overlaid, error) {
	o := &overlaid{}
	if path == "" {
		return o, nil
	}
	var err error
	if o.dir, err = overlay.OpenDir(path); err != nil {
		return nil, fmt.Errorf("--overlay: %w", err)
	}
	return o, nil
}

func (o *overlaid) close() {
	for _, changes := range o.open {
		_ = changes.Close()
	}
	if o.dir != nil {
		o.dir.Close()
	}
}

// contents is what lv, opened as v, reads as with its changes. path is the overlay's, "" if there is none.
func (o *overlaid) contents(lv *lvm2.LV, v mapping.Volume) (_ mapping.Volume, path string, err error) {
	if o.dir == nil || !lv.Visible() {
		return v, "", nil
	}
	changes, err := o.dir.Open(fusefs.OverlayIdentity(lv, v.Size()), false)
	if errors.Is(err, fs.ErrNotExist) {
		return v, "", nil
	} else if err != nil {
		return nil, "", fmt.Errorf("%s: %w", lvPath(lv), err)
	}
	o.open = append(o.open, changes)
	over, err := changes.Over(v)
	return over, changes.Name(), err
}

// openLV opens an LV with its changes.
func (o *overlaid) openLV(lv *lvm2.LV) (v mapping.Volume, path string, err error) {
	base, err := lv.Open()
	if err != nil {
		return nil, "", err
	}
	return o.contents(lv, base)
}

// openOverlayDir is for a mount, which begins with an empty directory.
func openOverlayDir(path string) (*overlay.Dir, error) {
	if path == "" {
		return nil, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("-o overlay: %w", err)
	}
	dir, err := overlay.OpenDir(path)
	if err != nil {
		return nil, fmt.Errorf("-o overlay: %w", err)
	}
	return dir, nil
}

// warnOverlays says which LVs cannot be opened because their overlays are not theirs any more.
func (a *app) warnOverlays(dir *overlay.Dir, vgs []*lvm2.VG) {
	if dir == nil {
		return
	}
	for _, vg := range vgs {
		for _, lv := range vg.LVs {
			if !lv.Visible() {
				continue
			}
			if err := dir.Check(fusefs.OverlayIdentity(lv, lv.DeviceSize())); err != nil {
				a.warnf("%s cannot be opened: %w", lvPath(lv), err)
			}
		}
	}
}
