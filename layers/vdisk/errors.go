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
	// ErrOutside: the image names a file, and Options.Files is nil.
	ErrOutside = errors.New("outside of the image, for which no file is opened")
	// ErrParentUnknown: it could not be told which image this one lies over, if any. It comes with one of the others.
	ErrParentUnknown = errors.New("what the image lies over is unknown")
	// ErrNotClaimed: a write without a claim.
	ErrNotClaimed = errors.New("not claimed for writing")
	// ErrChanged: the image is another than it was when it was opened.
	ErrChanged = fmt.Errorf("the image was %w", mapping.ErrChanged)
	// ErrInUse: the file of the image is open for writing in another way.
	ErrInUse = fmt.Errorf("the file of the image is %w", mapping.ErrInUse)
	// ErrNoSpace: the image cannot grow, because what it lies on cannot.
	ErrNoSpace = fmt.Errorf("%w for the image: what it lies on cannot grow", mapping.ErrNoSpace)
	// ErrNoSnapshot: there is no snapshot of that name in the image.
	ErrNoSnapshot = errors.New("no such snapshot")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnsupported, fmt.Errorf(format, args...))
}

// unknownParent is an error of an image that failed before what it lies over was found.
type unknownParent struct{ error }

func (e unknownParent) Unwrap() error        { return e.error }
func (e unknownParent) Is(target error) bool { return target == ErrParentUnknown }

// beyond is the error of bytes that are said to lie where the file has none.
func beyond(file mapping.Device, off int64) error {
	return fmt.Errorf("%s: the image has data at byte %d, and its file ends at byte %d: %w", file.Name(), off, file.Size(), mapping.ErrMissing)
}
