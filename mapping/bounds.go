package mapping

import (
	"fmt"
	"io"
	"syscall"
)

// ReadFull reads all of p at off, or fails. n is the number of good bytes before the first bad one. The error wraps
// io.ErrUnexpectedEOF, and never io.EOF, where r ends before p does. It names no device: that is for the caller to add.
func ReadFull(r io.ReaderAt, p []byte, off int64) (n int, err error) {
	n, err = r.ReadAt(p, off)
	switch {
	case n >= len(p):
		return len(p), nil
	case err == nil || err == io.EOF:
		err = fmt.Errorf("read %d bytes of %d at byte %d: %w", max(n, 0), len(p), off, io.ErrUnexpectedEOF)
	}
	return max(n, 0), err
}

// ClipRead cuts what is to be read at off to what a device or volume of size bytes has there. The error is nil,
// io.EOF if something was cut off, or wraps syscall.EINVAL for a negative off and names the device; nothing
// is left of p then. A volume has no name: "".
func ClipRead(name string, p []byte, off, size int64) ([]byte, error) {
	switch {
	case off < 0:
		return nil, fmt.Errorf("%sreading at byte %d: %w", prefix(name), off, syscall.EINVAL)
	case off > size:
		return nil, io.EOF
	case int64(len(p)) > size-off:
		return p[:size-off], io.EOF
	}
	return p, nil
}

// CheckWrite says why n bytes at off of a device or volume of size bytes cannot be changed: syscall.EINVAL or
// syscall.ENOSPC, with the name of the device; nil if they can. A volume has no name: "".
func CheckWrite(name string, off, n, size int64) error {
	switch {
	case off < 0 || n < 0:
		return fmt.Errorf("%swriting %d bytes at byte %d: %w", prefix(name), n, off, syscall.EINVAL)
	case off > size || n > size-off:
		return fmt.Errorf("%swriting %d bytes at byte %d, beyond its end at byte %d: %w", prefix(name), n, off, size, syscall.ENOSPC)
	}
	return nil
}

func prefix(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}
