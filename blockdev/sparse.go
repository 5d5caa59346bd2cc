package blockdev

import (
	"errors"

	"lvm2fs/internal/sparse"
)

// NextData finds the first bytes from off to end that are not in a hole of an image file: it returns where
// they start and end, or end twice if there are none. A hole reads as zeros. It fails with
// errors.ErrUnsupported for a device, which has none, and where the file system cannot tell.
func (d *Device) NextData(off, end int64) (from, to int64, err error) {
	f, ok := d.r.(*osFile)
	if !ok || !d.isFile {
		return 0, 0, errors.ErrUnsupported
	}
	return sparse.NextData(f.File, off, end)
}
