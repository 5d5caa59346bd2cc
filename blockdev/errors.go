package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"lvm2fs/mapping"
)

// Errors of Open.
var (
	// ErrDirectory: the path names a directory.
	ErrDirectory error = &condition{"is a directory, not a device or an image file", syscall.EISDIR}
	// ErrNotDisk: the path names something that is neither a disk nor a file.
	ErrNotDisk = errors.New("not a disk or an image file")
	// ErrNoMedium: a drive without a disk in it, a loop device without a file.
	ErrNoMedium = errors.New("no medium in the device")
)

// Errors of Claim and of writing.
var (
	// ErrBusy: something else uses the device. It wraps syscall.EBUSY.
	ErrBusy error = &condition{"in use", syscall.EBUSY}
	// ErrReadOnlyDevice: the device, the file, or the file system it lies on does
	// not let this user write. It wraps syscall.EROFS.
	ErrReadOnlyDevice error = &condition{"not writable", syscall.EROFS}
	// ErrNotClaimed: a write without a claim.
	ErrNotClaimed = errors.New("not claimed for writing")
	// ErrChanged: the path does not name what it named when it was opened, or the
	// file has become shorter.
	ErrChanged = mapping.ErrChanged
)

// condition is an error that is also an errno, without repeating what the errno says.
type condition struct {
	text  string
	errno syscall.Errno
}

func (c *condition) Error() string { return c.text }
func (c *condition) Unwrap() error { return c.errno }

// bare is the error without the operation and the path that package os put before it.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var s *os.SyscallError
	if errors.As(err, &s) {
		return s.Err
	}
	return err
}

func openError(name string, mode fs.FileMode, err error) error {
	err = bare(err)
	switch {
	case isNoMedium(err):
		return fmt.Errorf("%s: %w", name, ErrNoMedium)
	case errors.Is(err, fs.ErrPermission) && mode&fs.ModeDevice != 0:
		return fmt.Errorf("%s: %w; reading a disk takes root, or its group", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
