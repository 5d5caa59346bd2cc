//go:build freebsd || darwin

package cli

import "golang.org/x/sys/unix"

// mountTable is what is mounted, in the order of mounting. It asks no file system, as
// the daemon of one may be gone.
func mountTable() ([]mountEntry, error) {
	n, err := unix.Getfsstat(nil, unix.MNT_NOWAIT)
	if err != nil {
		return nil, err
	}
	stats := make([]unix.Statfs_t, n+8) // others may mount meanwhile
	if n, err = unix.Getfsstat(stats, unix.MNT_NOWAIT); err != nil {
		return nil, err
	}
	var mounts []mountEntry
	for _, s := range stats[:n] {
		mounts = append(mounts, mountEntry{
			source:   unix.ByteSliceToString(s.Mntfromname[:]),
			dir:      unix.ByteSliceToString(s.Mntonname[:]),
			fsType:   unix.ByteSliceToString(s.Fstypename[:]),
			readOnly: s.Flags&unix.MNT_RDONLY != 0,
			number:   int(s.Fsid.Val[0]),
		})
	}
	return mounts, nil
}
