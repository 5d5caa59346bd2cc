//go:build freebsd || darwin

package cli

import "golang.org/x/sys/unix"

// umountOnce unmounts. The error of a mount in use is EBUSY.
func umountOnce(mountpoint string) error { return unix.Unmount(mountpoint, 0) }
