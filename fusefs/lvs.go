package fusefs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
)

// lvsNode is what the directories of LVs have in common: that of a VG, and in it that of the LVs that were removed.
type lvsNode struct {
	dirNode
	uuid    lvm2.UUID // of the VG
	removed bool      // it is the latter
}

// directory is nil if the VG is gone, or has no removed LVs any more.
func (n *lvsNode) directory() *directory {
	d := n.s.tree.Load().byUUID[n.uuid]
	if d != nil && n.removed {
		return d.removed
	}
	return d
}

func (n *lvsNode) attributes(d *directory) attributes {
	subdirs := 0
	if d.removed != nil {
		subdirs = 1
	}
	return n.dirNode.attributes(subdirs, d.mtime)
}

func (n *lvsNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	n.s.fillAttr(n.attributes(d), &out.Attr)
	return 0
}

func (n *lvsNode) Statx(_ context.Context, _ fs.FileHandle, _, _ uint32, out *fuse.StatxOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	n.s.fillStatx(n.attributes(d), &out.Statx)
	return 0
}

func (n *lvsNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	d := n.directory()
	if d == nil {
		return nil, syscall.ENOENT
	}
	if name == removedName && d.removed != nil {
		child := &removedNode{lvsNode{dirNode: dirNode{s: n.s}, uuid: n.uuid, removed: true}}
		n.s.fillAttr(child.attributes(d.removed), &out.Attr)
		return n.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: d.removed.ino}), 0
	}
	f := d.byName[name]
	if f == nil {
		return nil, syscall.ENOENT
	}
	child := &lvNode{s: n.s, key: f.key, generation: f.inodes.current(), removed: n.removed}
	a, errno := child.attributes(f)
	if errno != 0 {
		return nil, syscall.ENOENT
	}
	n.s.fillAttr(a, &out.Attr)
	if a.passing {
		out.SetAttrTimeout(time.Nanosecond)
	}
	return n.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFREG, Ino: f.ino, Gen: child.generation}), 0
}

func (n *lvsNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	d := n.directory()
	if d == nil {
		return nil, syscall.ESTALE
	}
	var entries []fuse.DirEntry
	for _, e := range d.entries {
		entries = append(entries, fuse.DirEntry{Name: e.name, Ino: e.file.ino, Mode: syscall.S_IFREG})
	}
	if d.removed != nil {
		entries = append(entries, fuse.DirEntry{Name: removedName, Ino: d.removed.ino, Mode: syscall.S_IFDIR})
	}
	return listing(d.ino, d.parent, entries), 0
}

func (n *lvsNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	d := n.directory()
	if d == nil {
		return syscall.ESTALE
	}
	fillStatfs([]*lvm2.VG{d.vg}, out)
	return 0
}
