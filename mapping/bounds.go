package mapping

import (
	"fmt"
	"io"
	"syscall"
)

// ClipRead cuts what is to be read at off to what a device of size bytes has there. The error is nil, io.EOF
// if something was cut off, or wraps syscall.EINVAL for a negative off and names the device; nothing
// is left of p then.
func ClipRead(name string, p []byte, off, size int64) ([]byte, error) {
	switch {
	case off < 0:
		return nil, fmt.Errorf("%s: reading at byte %d: %w", name, off, syscall.EINVAL)
	case off > size:
		return nil, io.EOF
	case int64(len(p)) > size-off:
		return p[:size-off], io.EOF
	}
	return p, nil
}

// CheckWrite says why n bytes at off of a device of size bytes cannot be changed: syscall.EINVAL or
// syscall.ENOSPC, with the name of the device; nil if they can.
func CheckWrite(name string, off, n, size int64) error {
	switch {
	case off < 0 || n < 0:
		return fmt.Errorf("%s: writing %d bytes at byte %d: %w", name, n, off, syscall.EINVAL)
	case off > size || n > size-off:
		return fmt.Errorf("%s: writing %d bytes at byte %d, beyond its end at byte %d: %w", name, n, off, size, syscall.ENOSPC)
	}
	return nil
}
