//go:build freebsd || darwin

package blockdev

import (
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/mounttable"
)

// look is the table of mounted file systems.
type look struct{ mounts func() []mountedFS }

func newLook() look { return look{sync.OnceValue(mountTable)} }

// Of tells who uses a device: here, only file systems that are mounted from it or
// from its partitions.
func (u *Users) Of(d *Device) []Holder {
	if d.isFile {
		return nil
	}
	node, err := filepath.EvalSymlinks(d.path)
	if err != nil {
		return nil
	}
	return mountUsers(u.mounts(), node, func() bool { return d.claims.Load() == 0 && isWritten(node) })
}

// attachedTo is of Linux.
func (d *Device) attachedTo() []Holder { return nil }

func mountTable() []mountedFS {
	stats, err := mounttable.Read()
	if err != nil {
		return nil
	}
	var mounts []mountedFS
	for _, s := range stats {
		mounts = append(mounts, mountedFS{
			from:     unix.ByteSliceToString(s.Mntfromname[:]),
			on:       unix.ByteSliceToString(s.Mntonname[:]),
			fsType:   unix.ByteSliceToString(s.Fstypename[:]),
			readOnly: s.Flags&unix.MNT_RDONLY != 0,
		})
	}
	return mounts
}
