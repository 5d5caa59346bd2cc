package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Requests of <sys/disk.h>, which x/sys does not have.
const (
	dkiocSynchronizeCache = 0x20006416 // _IO('d', 22)
	dkiocGetBlockSize     = 0x40046418 // _IOR('d', 24, uint32_t)
	dkiocGetBlockCount    = 0x40086419 // _IOR('d', 25, uint64_t)
)

// isDiskType: a disk is both a block device, diskN, and a character device, rdiskN.
func isDiskType(fs.FileMode) bool { return true }

// comparableNodes: diskN and rdiskN have one number.
func comparableNodes(_, _ fs.FileMode) bool { return true }

func deviceNumber(info fs.FileInfo) uint64 { return uint64(uint32(info.Sys().(*syscall.Stat_t).Rdev)) }

func isNoMedium(err error) bool { return errors.Is(err, unix.ENXIO) }

func isBusy(err error, _ bool) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EWOULDBLOCK)
}

func directFlag(bool) int { return 0 }

func openExclusively(path string, _ bool, flags int) (*os.File, error) {
	f, err := openDescriptor(path, unix.O_RDWR|unix.O_EXLOCK|unix.O_NONBLOCK|flags)
	if errors.Is(err, errors.ErrUnsupported) { // a file system without locks
		return openDescriptor(path, unix.O_RDWR|flags)
	}
	return f, err
}

func (f *osFile) geometry() (geometry, error) {
	if f.isFile {
		return f.imageGeometry()
	}
	sector, err := f.ioctlInt(dkiocGetBlockSize)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENODEV) {
		return geometry{}, fmt.Errorf("is a character device, %w", ErrNotDisk)
	}
	if err != nil {
		return geometry{}, fmt.Errorf("asking for its sector size: %w", err)
	}
	count, err := f.ioctlInt(dkiocGetBlockCount)
	if err != nil {
		return geometry{}, fmt.Errorf("asking for its size: %w", err)
	}
	return geometry{size: count * sector, sector: sector, hole: sector}, nil
}

func (f *osFile) imageGeometry() (geometry, error) {
	g, err := f.fileGeometry()
	if err != nil {
		return g, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return g, err
	}
	g.hole = int64(st.Bsize)
	return g, nil
}

func (f *osFile) punchHole(off, n int64) error {
	if !f.isFile {
		return errors.ErrUnsupported
	}
	// struct fpunchhole of <sys/fcntl.h> has the fields of fstore at the same places.
	return unix.FcntlFstore(f.Fd(), unix.F_PUNCHHOLE, &unix.Fstore_t{Offset: off, Length: n})
}

func (f *osFile) flush() error {
	if f.isFile {
		return f.Sync() // F_FULLFSYNC
	}
	if err := unix.Fsync(int(f.Fd())); err != nil {
		return err
	}
	return flushCache(func() error { return unix.IoctlSetInt(int(f.Fd()), dkiocSynchronizeCache, 0) })
}

func (f *osFile) forget() {}

// isWritten says whether another has the disk open for writing: openExclusively locks it, and then it cannot
// be locked for reading.
func isWritten(node string) bool {
	f, err := openDescriptor(node, unix.O_RDONLY|unix.O_SHLOCK|unix.O_NONBLOCK)
	if err != nil {
		return isBusy(err, false)
	}
	f.Close()
	return false
}

// isReadOnlyDevice: the system tells when the device is opened.
func isReadOnlyDevice(*os.File) (bool, error) { return false, nil }
