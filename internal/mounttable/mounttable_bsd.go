//go:build freebsd || darwin

// Package mounttable reads what the system says of its mounts.
package mounttable

import "golang.org/x/sys/unix"

// Read gives the mounts in the order of mounting. It asks no file system, as the daemon of one may be gone.
func Read() ([]unix.Statfs_t, error) {
	n, err := unix.Getfsstat(nil, unix.MNT_NOWAIT)
	if err != nil {
		return nil, err
	}
	mounts := make([]unix.Statfs_t, n+8) // others may mount between the two calls
	if n, err = unix.Getfsstat(mounts, unix.MNT_NOWAIT); err != nil {
		return nil, err
	}
	return mounts[:n], nil
}
