package fusefs

import (
	"context"
	"os"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Attributes of the root reach the running daemon. They are not listed: they are of no use in a
// copy.
const (
	// pidAttr, without the prefix, is its process ID, for those who wait for its end after unmounting.
	pidAttr = "pid"
	// reloadAttr reloads, for its owner and for root. Setting it gives an errno. Reading it,
	// which works on a read-only mount too, gives an encoded Report.
	reloadAttr = xattrPrefix + "reload"
)

var (
	_ fs.NodeGetxattrer = (*rootNode)(nil)
	_ fs.NodeSetxattrer = (*rootNode)(nil)
)

func (n *rootNode) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	switch {
	case name != reloadAttr:
		return getXattr([]xattr{{pidAttr, strconv.Itoa(os.Getpid())}}, name, dest)
	case !n.mayReload(ctx):
		return 0, syscall.EPERM
	case len(dest) == 0:
		return MaxReport, 0 // the question how long the value may be
	}
	report, _ := n.s.reloadAndTell() // which tells of an error
	return uint32(copy(dest, report.encode(len(dest)))), 0
}

func (n *rootNode) Setxattr(ctx context.Context, name string, _ []byte, _ uint32) syscall.Errno {
	if name != reloadAttr || !n.mayReload(ctx) {
		return syscall.EPERM
	}
	return reloadErrno(n.s.Reload())
}

func (n *rootNode) mayReload(ctx context.Context) bool {
	caller, ok := fuse.FromContext(ctx)
	return ok && (caller.Uid == 0 || caller.Uid == n.s.cfg.UID)
}
