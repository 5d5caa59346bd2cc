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
	// pidAttr is its process ID, for those who wait for its end after unmounting.
	pidAttr = xattrPrefix + "pid"
	// reloadAttr reloads, for its owner and for root. Setting it gives an errno. Reading it,
	// which works on a read-only mount too, gives what failed, and nothing if nothing did.
	reloadAttr = xattrPrefix + "reload"
)

var (
	_ fs.NodeGetxattrer = (*rootNode)(nil)
	_ fs.NodeSetxattrer = (*rootNode)(nil)
)

func (n *rootNode) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	switch {
	case name == pidAttr:
		return fill(dest, strconv.Itoa(os.Getpid()))
	case name != reloadAttr:
		return 0, syscall.Errno(fuse.ENOATTR)
	case !n.mayReload(ctx):
		return 0, syscall.EPERM
	case len(dest) == 0:
		return 4096, 0 // the question how long the value may be
	}
	if err := n.s.Reload(); err != nil {
		return uint32(copy(dest, err.Error())), 0
	}
	return 0, 0
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
