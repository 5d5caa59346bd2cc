package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isDiskType: a character device that is a disk does not exist here.
func isDiskType(mode fs.FileMode) bool { return mode&fs.ModeCharDevice == 0 }

func comparableNodes(a, b fs.FileMode) bool { return a.Type() == b.Type() }

func deviceNumber(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Rdev }

func isNoMedium(err error) bool { return errors.Is(err, unix.ENOMEDIUM) }

func isBusy(err error, _ bool) bool { return errors.Is(err, unix.EBUSY) }

func directFlag(direct bool) int {
	if direct {
		return unix.O_DIRECT
	}
	return 0
}

// openExclusively opens path for writing and keeps others from doing so.
func openExclusively(path string, isFile bool, flags int) (*os.File, error) {
	admit := lockFile
	if !isFile {
		flags |= unix.O_EXCL
		admit = refuseReadOnly
	}
	f, err := openDescriptor(path, unix.O_RDWR|flags)
	if err != nil {
		return nil, err
	}
	if err := admit(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// refuseReadOnly: the kernel opens a read-only device for writing and fails the writes.
func refuseReadOnly(f *os.File) error {
	readOnly, err := isReadOnlyDevice(f)
	if readOnly {
		return unix.EROFS
	}
	return err
}

func isReadOnlyDevice(f *os.File) (bool, error) {
	readOnly, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	return err == nil && int32(readOnly) != 0, err
}

// lockFile locks an image file against those who lock it with flock, as this package
// does, and those who lock its bytes, as QEMU does.
func lockFile(f *os.File) error {
	if users := host.fileUsers(f); len(users) > 0 {
		return fmt.Errorf("%w: %s", ErrBusy, users[0])
	}
	bytes := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &bytes)
	if err == nil && bytes.Type != unix.F_UNLCK {
		return unix.EBUSY
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return unix.EBUSY
	case err != nil && !errors.Is(err, errors.ErrUnsupported): // a file system without locks
		return err
	}
	// On NFS the lock just taken is a lock of all bytes and may stand in the way of
	// this one, so a failure says nothing.
	bytes = unix.Flock_t{Type: unix.F_WRLCK}
	_ = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &bytes)
	return nil
}

func (f *osFile) geometry() (geometry, error) {
	if f.isFile {
		g, err := f.fileGeometry()
		if f.direct && err == nil {
			g.sector, err = f.directUnit()
		}
		return g, err
	}
	size, err := f.ioctlInt(unix.BLKGETSIZE64)
	if err != nil {
		return geometry{}, fmt.Errorf("asking for its size: %w", err)
	}
	sector, err := f.ioctlInt(unix.BLKSSZGET)
	if err != nil {
		return geometry{}, fmt.Errorf("asking for its sector size: %w", err)
	}
	g := geometry{size: size, sector: 1, hole: sector}
	if f.direct {
		g.sector = sector
	}
	return g, nil
}

// directUnit is what a file system wants direct accesses to be a multiple of.
func (f *osFile) directUnit() (int64, error) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return pageSize, nil // a kernel that does not say: enough for all of its time
	}
	if st.Dio_offset_align == 0 {
		return 0, fmt.Errorf("O_DIRECT: %w", errors.ErrUnsupported)
	}
	return int64(max(st.Dio_offset_align, st.Dio_mem_align)), nil
}

func (f *osFile) punchHole(off, n int64) error {
	const keep = unix.FALLOC_FL_KEEP_SIZE
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|keep, off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE|keep, off, n)
	}
	return err
}

func (f *osFile) flush() error { return unix.Fdatasync(int(f.Fd())) }

func (f *osFile) forget() {
	if !f.isFile {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
}
