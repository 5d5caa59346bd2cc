package dm

import (
	"errors"
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// Device is size bytes of dev from start: the extents of a PV. Where dev ends before
// they do, the rest is missing.
func Device(dev mapping.Device, start, size int64) mapping.Volume {
	d := &device{dev: dev, start: start, size: size, present: max(0, min(size, dev.Size()-start))}
	if d.present < size {
		d.lost = fmt.Errorf("%s ends at byte %d, before the end of its PV at %d: %w", dev.Name(), dev.Size(), start+size, mapping.ErrMissing)
	}
	return d
}

// ErrDevice is what the error of a device that fails to read is, besides what it wraps. It may be gone the next time.
var ErrDevice = errors.New("device error")

type deviceError struct{ error }

func (e deviceError) Unwrap() error      { return e.error }
func (deviceError) Is(target error) bool { return target == ErrDevice }

type device struct {
	dev     mapping.Device
	start   int64
	size    int64
	present int64 // bytes of size that dev has
	lost    error // why there are no more
}

var _ mapping.Writable = (*device)(nil)

func (d *device) Size() int64 { return d.size }

func (d *device) Map(off, max int64) (mapping.Extent, error) {
	if off >= d.present {
		return mapping.Extent{Kind: mapping.Missing, Length: min(max, d.size-off), Err: d.lost}, nil
	}
	length := min(max, d.present-off)
	// A device that lies on others, as a partition or an array does, knows better where.
	if v, ok := d.dev.(mapping.Volume); ok {
		return v.Map(d.start+off, length)
	}
	return mapping.Extent{Kind: mapping.Data, Length: length, Device: d.dev, Offset: d.start + off}, nil
}

func (d *device) ReadAt(p []byte, off int64) (int, error) {
	return readWithin(d.size, p, off, func(p []byte, off int64) (int, error) {
		good := min(int64(len(p)), max(0, d.present-off))
		n, err := 0, error(nil)
		if good > 0 {
			n, err = d.dev.ReadAt(p[:good], d.start+off)
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, mapping.ErrMissing) {
				err = deviceError{err}
			}
		}
		if err == nil && n < len(p) {
			err = d.lost
		}
		return n, err
	})
}

func (d *device) WriteAt(p []byte, off int64) (int, error) {
	w, err := d.writable(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	return w.WriteAt(p, d.start+off)
}

func (d *device) PunchHole(off, n int64) error {
	w, err := d.writable(off, n)
	if err != nil {
		return err
	}
	return w.PunchHole(d.start+off, n)
}

func (d *device) Sync() error {
	w, err := d.writable(0, 0)
	if err != nil {
		return err
	}
	return w.Sync()
}

func (d *device) writable(off, n int64) (mapping.WritableDevice, error) {
	if err := checkRange(d.size, off, n); err != nil {
		return nil, err
	}
	if off+n > d.present {
		return nil, d.lost
	}
	w, ok := d.dev.(mapping.WritableDevice)
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.dev.Name(), mapping.ErrNotWritable)
	}
	return w, nil
}
