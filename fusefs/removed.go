package fusefs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
)

// removedNode is the directory, in that of a VG, of the LVs that the VG had once.
type removedNode struct {
	dirNode
	uuid lvm2.UUID // of the VG
}

var (
	_ fs.NodeLookuper  = (*removedNode)(nil)
	_ fs.NodeReaddirer = (*removedNode)(nil)
	_ fs.NodeGetattrer = (*removedNode)(nil)
	_ fs.NodeStatxer   = (*removedNode)(nil)
	_ fs.NodeStatfser  = (*removedNode)(nil)
)

// directory is that of the VG; nil if the VG is gone, or has no removed LVs any more.
func (n *removedNode) directory() *directory {
	if d := n.s.tree.Load().byUUID[n.uuid]; d != nil && d.removed != nil {
		return d
	}
	return nil
}

func (n *removedNode) attributes(d *directory) attributes {
	return n.dirNode.attributes(0, d.mtime)
}

func (n *removedNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	n.s.fillAttr(n.attributes(d), &out.Attr)
	return 0
}

func (n *removedNode) Statx(_ context.Context, _ fs.FileHandle, _, _ uint32, out *fuse.StatxOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	n.s.fillStatx(n.attributes(d), &out.Statx)
	return 0
}

func (n *removedNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	d := n.directory()
	if d == nil {
		return nil, syscall.ENOENT
	}
	return n.lookupLV(ctx, d.removed.byName[name], out)
}

func (n *removedNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	d := n.directory()
	if d == nil {
		return nil, syscall.ESTALE
	}
	return listing(d.removed.ino, d.ino, listed(d.removed.entries)), 0
}

func (n *removedNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	fillStatfs([]*lvm2.VG{d.vg}, out)
	return 0
}
