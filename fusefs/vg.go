package fusefs

import (
	"context"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"

	"lvm2fs/lvm2/report"
)

// vgNode is a VG: a directory of LVs. It stays the same when the VG is renamed.
type vgNode struct{ lvsNode }

var (
	_ fs.NodeLookuper    = (*vgNode)(nil)
	_ fs.NodeReaddirer   = (*vgNode)(nil)
	_ fs.NodeGetattrer   = (*vgNode)(nil)
	_ fs.NodeStatxer     = (*vgNode)(nil)
	_ fs.NodeStatfser    = (*vgNode)(nil)
	_ fs.NodeGetxattrer  = (*vgNode)(nil)
	_ fs.NodeListxattrer = (*vgNode)(nil)
	_ fs.NodeSetxattrer  = (*vgNode)(nil)
)

func (n *vgNode) xattrs() []xattr {
	d := n.directory()
	if d == nil {
		return nil
	}
	return []xattr{
		{"uuid", d.vg.UUID.String()},
		{"attr", report.VGAttr(d.vg)},
		{"seqno", strconv.FormatUint(d.vg.Seqno, 10)},
		{"tags", strings.Join(d.vg.Tags, ",")},
		{"extent_size", strconv.FormatInt(d.vg.ExtentSize, 10)},
	}
}

func (n *vgNode) Getxattr(_ context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	return getXattr(n.xattrs(), name, dest)
}

func (n *vgNode) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	return listXattrs(n.xattrs(), dest)
}

func (n *vgNode) Setxattr(context.Context, string, []byte, uint32) syscall.Errno {
	return syscall.EPERM
}
