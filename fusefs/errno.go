package fusefs

import (
	"errors"
	"fmt"
	"syscall"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/overlay"
)

// openErrno is what open(2) says.
func openErrno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, lvm2.ErrReadOnly), errors.Is(err, mapping.ErrNotWritable), errors.Is(err, syscall.EROFS):
		return syscall.EROFS
	case errors.Is(err, syscall.EBUSY), errors.Is(err, mapping.ErrInUse):
		return syscall.EBUSY
	case mapping.NoSpace(err):
		return syscall.ENOSPC
	case isStale(err), errors.Is(err, errGone), errors.Is(err, overlay.ErrForeign):
		// The kernel looks the name up again before it gives up.
		return syscall.ESTALE
	case errors.Is(err, lvm2.ErrUnsupported), errors.Is(err, lvm2.ErrNoContents), errors.Is(err, errors.ErrUnsupported):
		return syscall.EOPNOTSUPP
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return syscall.EACCES
	}
	return syscall.EIO
}

// isStale says whether what is on disk is no longer what was read: the metadata of a VG, or an image.
func isStale(err error) bool {
	return errors.Is(err, lvm2.ErrStale) || errors.Is(err, mapping.ErrChanged)
}

// remedy is err with what to do about it, for the log.
func (s *Server) remedy(err error) error {
	if isStale(err) && s.cfg.Rescan != nil {
		return fmt.Errorf("%w; `lvm2fs -o remount %s` reads it again", err, s.dir)
	}
	return err
}

// ioErrno is what reading, writing and syncing an open file says.
func ioErrno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, lvm2.ErrReadOnly), errors.Is(err, mapping.ErrNotWritable):
		return syscall.EROFS
	case mapping.NoSpace(err):
		return syscall.ENOSPC
	case errors.Is(err, mapping.ErrChanged):
		return syscall.ESTALE
	case errors.Is(err, errors.ErrUnsupported):
		return syscall.EOPNOTSUPP
	}
	return syscall.EIO
}

// reloadErrno is what asking for a reload says; the log says more.
func reloadErrno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errors.ErrUnsupported):
		return syscall.EOPNOTSUPP
	}
	return syscall.EIO
}
