package pieces

import (
	"errors"
	"fmt"
	"path/filepath"

	"lvm2fs/blockdev"
	"lvm2fs/mapping"
)

// Disk is the disk whose bytes are those of the pieces, one after the other. It is only read, and safe for
// concurrent use:
//
//	| piece 0 | piece 1 | piece 2 | rest |
//	0        each     2*each            size
type Disk struct {
	name  string
	files []*blockdev.Device
	each  int64 // bytes, of all pieces but the last
	size  int64
}

// Open opens the disk in the pieces of which first, which stays open, is the first one. Errors name it, and are
// those of Find, of [blockdev.Open], or ErrUncertain.
func Open(first *blockdev.Device) (*Disk, error) {
	paths, err := Find(first.Path())
	if err != nil {
		return nil, err
	}
	if filepath.Clean(paths[0]) != filepath.Clean(first.Path()) {
		return nil, fmt.Errorf("%s: %w: the first of them is %s", first.Name(), ErrUncertain, paths[0])
	}
	d := &Disk{each: first.Size(), files: []*blockdev.Device{first}}
	for i, path := range paths {
		if i > 0 {
			f, err := blockdev.Open(path, blockdev.Options{})
			if err != nil {
				return nil, errors.Join(err, d.Close())
			}
			d.files = append(d.files, f)
		}
		if err := d.add(d.files[i], i == len(paths)-1); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	d.name = first.Name()
	if n := len(paths); n > 1 {
		d.name = fmt.Sprintf("%s ... %s", first.Name(), filepath.Base(paths[n-1]))
	}
	return d, nil
}

func (d *Disk) add(f *blockdev.Device, last bool) error {
	switch size := f.Size(); {
	case !f.IsFile():
		return fmt.Errorf("%s: %w: it is no plain file", f.Name(), ErrUncertain)
	case size == 0, size > d.each, size < d.each && !last:
		return fmt.Errorf("%s: %w: it has %d bytes, and %s has %d", f.Name(), ErrUncertain, size, d.files[0].Name(), d.each)
	}
	d.size += f.Size()
	return nil
}

// Name is that of the first piece, and of the last one.
func (d *Disk) Name() string { return d.name }

// Size is the length of all pieces in bytes.
func (d *Disk) Size() int64 { return d.size }

// Close closes all pieces but the first.
func (d *Disk) Close() error {
	var failed error
	for _, f := range d.files[1:] {
		failed = errors.Join(failed, f.Close())
	}
	return failed
}

// Beneath are the pieces.
func (d *Disk) Beneath() []mapping.Device {
	all := make([]mapping.Device, len(d.files))
	for i, f := range d.files {
		all[i] = f
	}
	return all
}

// Map ends each extent with its piece.
func (d *Disk) Map(off, max int64) (mapping.Extent, error) {
	at := off % d.each
	return mapping.Extent{Kind: mapping.Data, Length: min(max, d.each-at, d.size-off), Device: d.files[off/d.each], Offset: at}, nil
}

// ReadAt reads from as many pieces as it takes.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead(d.name, p, off, d.size)
	done := 0
	for done < len(p) {
		at := off + int64(done)
		part := p[done:][:min(int64(len(p)-done), d.each-at%d.each)]
		n, err := mapping.ReadFull(d.files[at/d.each], part, at%d.each)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, end
}

var _ mapping.Stacked = (*Disk)(nil)
