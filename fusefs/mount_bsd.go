//go:build freebsd || darwin

package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const killPriv = 0

func directMount(*fuse.MountOptions) {}

func unmountError(err error) error { return err }

// detach takes a mount out of the tree of directories, in use or not.
func detach(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_FORCE); err != nil && err != unix.EINVAL {
		return err
	}
	return nil
}
