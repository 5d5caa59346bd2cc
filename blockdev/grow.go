package blockdev

import (
	"errors"
	"fmt"
	"os"
)

// Grow makes an image file at least size bytes long; what it gains reads as zeros. It is as durable as a write is: Sync
// makes it so. It fails with ErrNotClaimed outside of a claim, with ErrChanged if the file has become shorter, and with
// errors.ErrUnsupported for a device, whose size is given.
func (d *Device) Grow(size int64) error {
	d.claim.RLock()
	defer d.claim.RUnlock()
	d.sizing.Lock()
	defer d.sizing.Unlock()
	if size <= d.Size() {
		return nil
	}
	if err := d.checkWrite(0, 0); err != nil {
		return err
	}
	f, ok := d.w.(interface{ grow(size int64) error })
	if !ok || !d.isFile {
		return fmt.Errorf("%s: making it %d bytes long: %w", d.name, size, errors.ErrUnsupported)
	}
	if err := f.grow(size); err != nil {
		return fmt.Errorf("%s: making it %d bytes long: %w", d.name, size, bare(err))
	}
	g, err := d.w.geometry()
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, bare(err))
	}
	d.state.Store(&g)
	return nil
}

func (f *osFile) grow(size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() >= size {
		return nil
	}
	return os.NewSyscallError("ftruncate", f.Truncate(size))
}
