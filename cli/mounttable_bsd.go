//go:build freebsd || darwin

package cli

import (
	"golang.org/x/sys/unix"

	"lvm2fs/internal/mounttable"
)

// mountTable is what is mounted, in the order of mounting.
func mountTable() ([]mountEntry, error) {
	stats, err := mounttable.Read()
	if err != nil {
		return nil, err
	}
	var mounts []mountEntry
	for _, s := range stats {
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
