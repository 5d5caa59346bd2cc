package vdisk

import (
	"errors"
	"fmt"

	"lvm2fs/mapping"
)

var (
	// ErrNotImage: the device holds no image of a format that is known here.
	ErrNotImage = errors.New("no virtual disk image")
	// ErrDamaged: the image contradicts itself or its format.
	ErrDamaged = errors.New("damaged image")
	// ErrUnsupported: the image is of a kind that is not read.
	ErrUnsupported = errors.New("not supported")
	// ErrOutside: the image names a file that may not be opened for it.
	ErrOutside = errors.New("outside of the image's directory")
	// ErrNoSnapshot: there is no snapshot of that name in the image.
	ErrNoSnapshot = errors.New("no such snapshot")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnsupported, fmt.Errorf(format, args...))
}

// beyond is the error of bytes that are said to lie where the file has none.
func beyond(file mapping.Device, off int64) error {
	return fmt.Errorf("%s: the image has data at byte %d, and its file ends at byte %d: %w", file.Name(), off, file.Size(), mapping.ErrMissing)
}
