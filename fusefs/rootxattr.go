package fusefs

import (
	"context"
	"os"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// pidAttr is the daemon's process ID, for those who wait for its end after unmounting.
const pidAttr = xattrPrefix + "pid"

var _ fs.NodeGetxattrer = (*rootNode)(nil)

// Getxattr answers what the commands of lvm2fs ask of a running mount. Neither attribute is
// listed: they are of no use in a copy.
//
// Reading reloadAttr reloads like setting it does, since the kernel lets nobody set anything
// on a read-only mount. The value is what failed, and empty if nothing did.
func (n *rootNode) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	switch name {
	case pidAttr:
		return fill(dest, strconv.Itoa(os.Getpid()))
	case reloadAttr:
		caller, ok := fuse.FromContext(ctx)
		if !ok || caller.Uid != 0 && caller.Uid != n.s.cfg.UID {
			return 0, syscall.EPERM
		}
		if len(dest) == 0 {
			return 4096, 0 // the question how long the value may be
		}
		changed, err := n.s.reload()
		go n.s.invalidate(changed)
		if err != nil {
			return uint32(copy(dest, err.Error())), 0
		}
		return 0, 0
	}
	return 0, syscall.Errno(fuse.ENOATTR)
}
