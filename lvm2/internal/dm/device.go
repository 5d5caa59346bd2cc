package dm

import (
	"errors"
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// Device is size bytes of dev from start: the extents of a PV. What dev is too short for is missing.
func Device(dev mapping.Device, start, size int64) mapping.Volume {
	return &device{mapping.Section(dev, start, size, "the PV on "+dev.Name())}
}

// ErrDevice marks the error of a device that failed to read. The failure may be gone the next time.
var ErrDevice = errors.New("device error")

type deviceError struct{ error }

func (e deviceError) Unwrap() error      { return e.error }
func (deviceError) Is(target error) bool { return target == ErrDevice }

// device marks errors of the device itself, but not those of bytes that it is too short for.
type device struct{ mapping.Volume }

var _ mapping.Writable = (*device)(nil)

func (d *device) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Volume.ReadAt(p, off)
	if err != nil && err != io.EOF && !errors.Is(err, mapping.ErrMissing) {
		err = deviceError{err}
	}
	return n, err
}

func (d *device) WriteAt(p []byte, off int64) (int, error) {
	w, err := d.writable()
	if err != nil {
		return 0, err
	}
	return w.WriteAt(p, off)
}

func (d *device) PunchHole(off, n int64) error {
	w, err := d.writable()
	if err != nil {
		return err
	}
	return w.PunchHole(off, n)
}

func (d *device) Sync() error {
	w, err := d.writable()
	if err != nil {
		return err
	}
	return w.Sync()
}

func (d *device) writable() (mapping.Writable, error) {
	w, err := writable(d.Volume)
	if err != nil {
		err = fmt.Errorf("%s: %w", d.Volume.(mapping.Device).Name(), err)
	}
	return w, err
}
