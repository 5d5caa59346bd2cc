package fusefs

import (
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/internal/printable"
)

const xattrPrefix = "user.lvm2."

// xattr is an extended attribute, without the prefix.
type xattr struct{ name, value string }

func getXattr(attrs []xattr, name string, dest []byte) (uint32, syscall.Errno) {
	if short, ok := strings.CutPrefix(name, xattrPrefix); ok {
		for _, a := range attrs {
			if a.name == short {
				// It is shown on terminals, and may come from a disk.
				return fill(dest, printable.Text(a.value))
			}
		}
	}
	return 0, syscall.Errno(fuse.ENOATTR)
}

func listXattrs(attrs []xattr, dest []byte) (uint32, syscall.Errno) {
	var list strings.Builder
	for _, a := range attrs {
		list.WriteString(xattrPrefix + a.name + "\x00")
	}
	return fill(dest, list.String())
}

// fill answers with value, or with ERANGE and the size needed; go-fuse makes a success of
// that for the caller who asked for the size.
func fill(dest []byte, value string) (uint32, syscall.Errno) {
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}
