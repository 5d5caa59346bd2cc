package fusefs

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/overlay"
)

func TestWhatAnErrorIsToAProgram(t *testing.T) {
	device := func(err error) error {
		return &mapping.Fault{Device: "disk", Err: fmt.Errorf("disk: writing 4096 bytes at byte 0: %w", err)}
	}
	for _, c := range []struct {
		err      error
		open, io syscall.Errno
	}{
		{nil, 0, 0},
		{errors.New("something else"), syscall.EIO, syscall.EIO},
		{mapping.ErrMissing, syscall.EIO, syscall.EIO},
		{device(syscall.EIO), syscall.EIO, syscall.EIO},
		{lvm2.ErrReadOnly, syscall.EROFS, syscall.EROFS},
		{mapping.ErrNotWritable, syscall.EROFS, syscall.EROFS},
		{errors.ErrUnsupported, syscall.EOPNOTSUPP, syscall.EOPNOTSUPP},
		{device(syscall.ENOSPC), syscall.ENOSPC, syscall.ENOSPC},
		{device(syscall.EDQUOT), syscall.ENOSPC, syscall.ENOSPC},
		{device(syscall.EFBIG), syscall.ENOSPC, syscall.ENOSPC},
		{device(mapping.ErrNoSpace), syscall.ENOSPC, syscall.ENOSPC},
		{lvm2.ErrNoSpace, syscall.ENOSPC, syscall.ENOSPC},
		{overlay.ErrFull, syscall.ENOSPC, syscall.ENOSPC},
		{device(mapping.ErrChanged), syscall.ESTALE, syscall.ESTALE},
		{lvm2.ErrStale, syscall.ESTALE, syscall.EIO},
		{device(mapping.ErrInUse), syscall.EBUSY, syscall.EIO},
		{device(syscall.EBUSY), syscall.EBUSY, syscall.EIO},
		{device(syscall.EACCES), syscall.EACCES, syscall.EIO},
	} {
		if got := openErrno(c.err); got != c.open {
			t.Errorf("open: %v is %v, want %v", c.err, got, c.open)
		}
		if got := ioErrno(c.err); got != c.io {
			t.Errorf("read and write: %v is %v, want %v", c.err, got, c.io)
		}
	}
}
