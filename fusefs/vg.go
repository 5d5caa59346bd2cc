package fusefs

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
)

// vgNode is a VG: a directory of LVs. It stays the same when the VG is renamed.
type vgNode struct {
	dirNode
	uuid lvm2.UUID
}

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

// directory is nil if the VG is gone.
func (n *vgNode) directory() *directory { return n.s.tree.Load().byUUID[n.uuid] }

func (n *vgNode) attributes(d *directory) attributes {
	subdirs := 0
	if d.removed != nil {
		subdirs = 1
	}
	return n.dirNode.attributes(subdirs, d.mtime)
}

func (n *vgNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	n.s.fillAttr(n.attributes(d), &out.Attr)
	return 0
}

func (n *vgNode) Statx(_ context.Context, _ fs.FileHandle, _, _ uint32, out *fuse.StatxOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	n.s.fillStatx(n.attributes(d), &out.Statx)
	return 0
}

func (n *vgNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	d := n.directory()
	if d == nil {
		return nil, syscall.ENOENT
	}
	if name == removedName && d.removed != nil {
		child := &removedNode{dirNode: dirNode{s: n.s}, uuid: n.uuid}
		n.s.fillAttr(child.attributes(d), &out.Attr)
		return n.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: d.removed.ino}), 0
	}
	return n.lookupLV(ctx, d.byName[name], out)
}

// lookupLV answers for a file in a directory; nil for none.
func (n *dirNode) lookupLV(ctx context.Context, f *lvFile, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if f == nil {
		return nil, syscall.ENOENT
	}
	child := &lvNode{s: n.s, key: f.key}
	a, errno := child.attributes(f)
	if errno != 0 {
		return nil, syscall.ENOENT
	}
	n.s.fillAttr(a, &out.Attr)
	if a.passing {
		out.SetAttrTimeout(time.Nanosecond)
	}
	return n.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFREG, Ino: f.ino}), 0
}

func (n *vgNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	d := n.directory()
	if d == nil {
		return nil, syscall.ESTALE
	}
	entries := listed(d.entries)
	if d.removed != nil {
		entries = append(entries, fuse.DirEntry{Name: removedName, Ino: d.removed.ino, Mode: syscall.S_IFDIR})
	}
	return listing(d.ino, rootIno, entries), 0
}

// listed are files as readdir shows them.
func listed(files []entry) (entries []fuse.DirEntry) {
	for _, e := range files {
		entries = append(entries, fuse.DirEntry{Name: e.name, Ino: e.file.ino, Mode: syscall.S_IFREG})
	}
	return entries
}

func (n *vgNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	fillStatfs([]*lvm2.VG{d.vg}, out)
	return 0
}

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
