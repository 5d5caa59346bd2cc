package fusefs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
)

// rootNode is the mountpoint: a directory of VGs.
type rootNode struct{ dirNode }

var (
	_ fs.NodeLookuper  = (*rootNode)(nil)
	_ fs.NodeReaddirer = (*rootNode)(nil)
	_ fs.NodeGetattrer = (*rootNode)(nil)
	_ fs.NodeStatxer   = (*rootNode)(nil)
	_ fs.NodeStatfser  = (*rootNode)(nil)
)

func (n *rootNode) attributes() attributes {
	t := n.s.tree.Load()
	return n.dirNode.attributes(len(t.dirs), t.mtime)
}

func (n *rootNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.s.fillAttr(n.attributes(), &out.Attr)
	return 0
}

func (n *rootNode) Statx(_ context.Context, _ fs.FileHandle, _, _ uint32, out *fuse.StatxOut) syscall.Errno {
	n.s.fillStatx(n.attributes(), &out.Statx)
	return 0
}

func (n *rootNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	d := n.s.tree.Load().byName[name]
	if d == nil {
		return nil, syscall.ENOENT
	}
	child := &vgNode{lvsNode{dirNode: dirNode{s: n.s}, uuid: d.vg.UUID}}
	n.s.fillAttr(child.attributes(d), &out.Attr)
	// A reload cannot make the kernel forget names of the root: the request for it may hold the root's lock.
	out.SetEntryTimeout(time.Nanosecond)
	return n.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: d.ino}), 0
}

func (n *rootNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	var entries []fuse.DirEntry
	for _, d := range n.s.tree.Load().dirs {
		entries = append(entries, fuse.DirEntry{Name: d.name, Ino: d.ino, Mode: syscall.S_IFDIR})
	}
	return listing(rootIno, rootIno, entries), 0
}

func (n *rootNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var vgs []*lvm2.VG
	for _, d := range n.s.tree.Load().dirs {
		if !d.gone { // its place is counted where it is now
			vgs = append(vgs, d.vg)
		}
	}
	fillStatfs(vgs, out)
	return 0
}
