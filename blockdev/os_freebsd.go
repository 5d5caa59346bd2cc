package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isDiskType: disks are character devices.
func isDiskType(mode fs.FileMode) bool { return mode&fs.ModeCharDevice != 0 }

func comparableNodes(a, b fs.FileMode) bool { return a.Type() == b.Type() }

func deviceNumber(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Rdev }

func isNoMedium(err error) bool { return errors.Is(err, unix.ENXIO) }

// isBusy: GEOM refuses a provider that others use with EPERM, which for a file means
// that it is immutable.
func isBusy(err error, isFile bool) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EWOULDBLOCK) || !isFile && errors.Is(err, unix.EPERM)
}

func directFlag(bool) int { return 0 }

func openExclusively(path string, isFile bool, flags int) (*os.File, error) {
	if !isFile {
		return openDescriptor(path, unix.O_RDWR|flags)
	}
	f, err := openDescriptor(path, unix.O_RDWR|unix.O_EXLOCK|unix.O_NONBLOCK|flags)
	if errors.Is(err, errors.ErrUnsupported) { // a file system without locks
		return openDescriptor(path, unix.O_RDWR|flags)
	}
	return f, err
}

func (f *osFile) geometry() (geometry, error) {
	if f.isFile {
		return f.fileGeometry()
	}
	size, err := f.ioctlInt(unix.DIOCGMEDIASIZE)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENODEV) {
		return geometry{}, fmt.Errorf("is a character device, %w", ErrNotDisk)
	}
	if err != nil {
		return geometry{}, fmt.Errorf("asking for its size: %w", err)
	}
	sector, err := f.ioctlInt(unix.DIOCGSECTORSIZE)
	if err != nil {
		return geometry{}, fmt.Errorf("asking for its sector size: %w", err)
	}
	return geometry{size: size, sector: sector, hole: sector}, nil
}

// fspacectl(2), of FreeBSD 14. x/sys has neither.
const (
	sysFspacectl    = 580
	spacectlDealloc = 1
	firstWithIt     = 1400032
)

// An unknown system call is answered with SIGSYS, so it must not be tried.
var hasFspacectl = sync.OnceValue(func() bool {
	v, err := unix.SysctlUint32("kern.osreldate")
	return err == nil && v >= firstWithIt
})

func (f *osFile) punchHole(off, n int64) error {
	if !f.isFile || !hasFspacectl() {
		return errors.ErrUnsupported
	}
	todo := struct{ off, n int64 }{off, n}
	for todo.n > 0 {
		left := todo
		_, _, errno := unix.Syscall6(sysFspacectl, f.Fd(), spacectlDealloc,
			uintptr(unsafe.Pointer(&todo)), 0, uintptr(unsafe.Pointer(&left)), 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return errno
		case left.n >= todo.n:
			return errors.ErrUnsupported // no progress
		}
		todo = left
	}
	return nil
}

func (f *osFile) flush() error {
	if err := f.Sync(); err != nil || f.isFile {
		return err
	}
	return flushCache(func() error { return unix.IoctlSetInt(int(f.Fd()), unix.DIOCGFLUSH, 0) })
}

func (f *osFile) forget() {} // nothing is cached

// isWritten says whether the disk is open for writing. What GEOM does not tell counts as written.
func isWritten(node string) bool {
	conf, err := unix.SysctlRaw("kern.geom.confxml")
	if err != nil {
		return true
	}
	written, err := geomWritten(bytes.TrimRight(conf, "\x00"), strings.TrimPrefix(node, "/dev/"))
	return written || err != nil
}

// isReadOnlyDevice: the system tells when the device is opened.
func isReadOnlyDevice(*os.File) (bool, error) { return false, nil }
