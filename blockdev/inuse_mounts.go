package blockdev

import "strings"

// mountedFS is an entry of the table of mounted file systems.
type mountedFS struct {
	from, on, fsType string
	readOnly         bool
}

// mountUsers are the file systems that are mounted from the disk with this node, or from a partition of it. A mount
// of lvm2fs changes the disk only while a file in it is open for writing: written says whether another process
// has the disk open for that.
func mountUsers(mounts []mountedFS, node string, written func() bool) []Holder {
	var users []Holder
	for _, m := range mounts {
		switch {
		case !isOrIsPartOf(m.from, node):
		case !m.isLVM2FS():
			users = append(users, mountedOn(m.on))
		case !m.readOnly && written():
			on := shellWord(m.on)
			users = append(users, Holder{What: "written by lvm2fs, mounted on " + on, Release: "lvm2fs umount " + on})
		}
	}
	return users
}

// isLVM2FS goes by the type: FreeBSD puts the subtype behind it, as in fusefs.lvm2fs. macOS does not, so any
// file system of macFUSE counts, whose source may be any text.
func (m mountedFS) isLVM2FS() bool {
	return strings.HasSuffix(m.fsType, ".lvm2fs") || m.fsType == "macfuse" || m.fsType == "osxfuse"
}

// isOrIsPartOf: /dev/ada0p2, /dev/ada0s1 and /dev/ada0s1a are parts of /dev/ada0, as /dev/disk2s1 is of
// /dev/disk2 and of /dev/rdisk2.
func isOrIsPartOf(node, disk string) bool {
	disk = strings.Replace(disk, "/dev/rdisk", "/dev/disk", 1)
	part, found := strings.CutPrefix(node, disk)
	return found && (part == "" || part[0] == 'p' || part[0] == 's')
}
