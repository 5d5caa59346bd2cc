//go:build freebsd || darwin

package cli

import (
	"errors"

	"golang.org/x/sys/unix"

	"lvm2fs/fusefs"
)

// umountOnce unmounts. The error of a mount in use is EBUSY. These systems cannot unmount lazily: to take a mount
// away whose files are open is to end them.
func umountOnce(mountpoint string, how umountHow) error {
	if how == umountLazily {
		if fusefs.Serves(mountpoint) {
			return errNoLazyUmount
		}
		how = umountByForce
	}
	flags := 0
	if how == umountByForce {
		flags = unix.MNT_FORCE
	}
	return unix.Unmount(mountpoint, flags)
}

var errNoLazyUmount = errors.New("this system cannot unmount lazily; umount -f ends the files that are open")
