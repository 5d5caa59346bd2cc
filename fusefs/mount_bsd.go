//go:build freebsd || darwin

package fusefs

import (
	"errors"
	"io/fs"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const killPriv = 0

// maxRequest is the most that one request reads or writes, in bytes: the largest that the fuse package passes on. No
// pipe is in the way here, and FreeBSD's disks take 1 MiB at once (MAXPHYS, since FreeBSD 13).
const maxRequest = 1 << 20

func directMount(*fuse.MountOptions) {}

// readAhead has nothing to set here.
func (s *Server) readAhead() {}

func (s *Server) unmount() error { return s.fuse.Unmount() }

// detach takes a mount out of the tree of directories, in use or not.
func detach(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_FORCE); err != nil && err != unix.EINVAL {
		return err
	}
	return nil
}

// await returns once the kernel passes requests for the mountpoint on to us; the program
// that mounts may return before.
func (s *Server) await(before os.FileInfo) error {
	// With uid= the files may be somebody else's.
	if err := s.fuse.WaitMount(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	now, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	if device(now) == device(before) {
		return errors.New("the mount does not show")
	}
	return nil
}
