package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unwritable is why a claim would fail even if nobody used the device: the medium is read-only, or this user may not
// write it. It wraps ErrReadOnlyDevice; nil if there is no such reason. It does not open the device.
func (d *Device) Unwritable() error {
	if d.claims.Load() > 0 || d.absolute == "" {
		return nil
	}
	err := unix.Faccessat(unix.AT_FDCWD, d.absolute, unix.W_OK, unix.AT_EACCESS)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w: %w", d.name, ErrReadOnlyDevice, err)
	}
	if f, ok := d.r.(*osFile); ok && !d.isFile {
		if readOnly, _ := isReadOnlyDevice(f.File); readOnly {
			return fmt.Errorf("%s: %w: the device is set to be read-only", d.name, ErrReadOnlyDevice)
		}
	}
	// That the path is gone is for the claim to say.
	return nil
}
