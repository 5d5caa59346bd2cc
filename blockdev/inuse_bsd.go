//go:build freebsd || darwin

package blockdev

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// InUse tells who uses the device: here, only file systems that are mounted from it or
// from its partitions.
func (d *Device) InUse() []Holder {
	if d.isFile {
		return nil
	}
	node, err := filepath.EvalSymlinks(d.path)
	if err != nil {
		return nil
	}
	n, err := unix.Getfsstat(nil, unix.MNT_NOWAIT)
	if err != nil {
		return nil
	}
	mounts := make([]unix.Statfs_t, n+8) // others may mount between the two calls
	if n, err = unix.Getfsstat(mounts, unix.MNT_NOWAIT); err != nil {
		return nil
	}
	var users []Holder
	for i := range mounts[:n] {
		from, on := unix.ByteSliceToString(mounts[i].Mntfromname[:]), unix.ByteSliceToString(mounts[i].Mntonname[:])
		if isOrIsPartOf(from, node) {
			users = append(users, Holder{What: "mounted on " + shellWord(on), Release: "umount " + shellWord(on)})
		}
	}
	return users
}

// isOrIsPartOf: /dev/ada0p2 and /dev/ada0s1 are parts of /dev/ada0, as /dev/disk2s1 is of
// /dev/disk2 and of /dev/rdisk2.
func isOrIsPartOf(node, disk string) bool {
	disk = strings.Replace(disk, "/dev/rdisk", "/dev/disk", 1)
	part, found := strings.CutPrefix(node, disk)
	return found && (part == "" || part[0] == 'p' || part[0] == 's')
}
