package overlay

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/sparse"
)

// osFile is a file of the system.
type osFile struct {
	f    *os.File
	name string
}

var _ File = (*osFile)(nil)

func (f *osFile) Name() string { return f.name }

func (f *osFile) Size() int64 {
	info, err := f.f.Stat()
	if err != nil {
		return 0 // as good as one from which nothing can be read
	}
	return info.Size()
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Close() error                             { return f.f.Close() }
func (f *osFile) Sync() error                              { return flush(f.f) }
func (f *osFile) PunchHole(off, n int64) error             { return punchHole(f.f, off, n) }

func (f *osFile) NextData(off, end int64) (from, to int64, err error) {
	return sparse.NextData(f.f, off, end)
}

// File is for those who splice.
func (f *osFile) File() (*os.File, bool) { return f.f, true }

// lockFile fails with syscall.EWOULDBLOCK if others have the lock.
func lockFile(f *os.File, writing bool) error {
	how := unix.LOCK_SH
	if writing {
		how = unix.LOCK_EX
	}
	for {
		if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
