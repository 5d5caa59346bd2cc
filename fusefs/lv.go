package fusefs

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
)

// lvNode is an LV: a file of a fixed size. It stays the same when the LV is renamed.
type lvNode struct {
	fs.Inode
	s   *Server
	key fileKey
}

var (
	_ fs.NodeOpener      = (*lvNode)(nil)
	_ fs.NodeGetattrer   = (*lvNode)(nil)
	_ fs.NodeSetattrer   = (*lvNode)(nil)
	_ fs.NodeStatxer     = (*lvNode)(nil)
	_ fs.NodeStatfser    = (*lvNode)(nil)
	_ fs.NodeGetxattrer  = (*lvNode)(nil)
	_ fs.NodeListxattrer = (*lvNode)(nil)
	_ fs.NodeSetxattrer  = (*lvNode)(nil)
)

// preferredIO is the size of reads in bytes that programs are told to prefer: that of the largest
// request, which makes cp half as fast again as one of 128 KiB.
const preferredIO = maxRequest

// file is nil if the LV is gone and no handle is left.
func (n *lvNode) file() *lvFile { return n.s.tree.Load().files[n.key] }

func (n *lvNode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f := n.file()
	if f == nil {
		return nil, 0, syscall.ESTALE
	}
	h := &handle{s: n.s, file: f, writable: flags&syscall.O_ACCMODE != syscall.O_RDONLY, sync: flags&syncFlags != 0}
	if err := h.open(); err != nil {
		if h.writable {
			n.s.log.Warn("open for writing", "lv", f.name(), "err", n.s.remedy(err))
		} else {
			n.s.failures.report(f, "open", 0, err)
		}
		return nil, 0, openErrno(err)
	}
	return h, h.fuseFlags(), 0
}

// attributes does not wait for a reload: to tell who uses a device, that asks for the attributes of the files
// of loop devices, and one of those may be the file that it holds.
func (n *lvNode) attributes(f *lvFile) (attributes, syscall.Errno) {
	useful := f.io.TryRLock() // the volume is
	if useful {
		defer f.io.RUnlock()
	}
	c := f.lv.Load()
	if c == nil {
		return attributes{}, syscall.EIO
	}
	a := attributes{
		mode:   0o640,
		nlink:  1,
		size:   c.DeviceSize(),
		blksiz: preferredIO,
		mtime:  time.Unix(0, f.mtime.Load()),
		birth:  c.CreationTime,
	}
	if n.s.cfg.ReadOnly || c.readOnly() != nil {
		a.mode = 0o440
	}
	a.dense = a.size
	if useful {
		a.size = f.size(c)
		a.dense = a.size - f.holeBytes()
	}
	return a, 0
}

func (n *lvNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f := n.file()
	if f == nil {
		return syscall.ESTALE
	}
	a, errno := n.attributes(f)
	if errno == 0 {
		n.s.fillAttr(a, &out.Attr)
	}
	return errno
}

func (n *lvNode) Statx(_ context.Context, _ fs.FileHandle, _, _ uint32, out *fuse.StatxOut) syscall.Errno {
	f := n.file()
	if f == nil {
		return syscall.ESTALE
	}
	a, errno := n.attributes(f)
	if errno == 0 {
		n.s.fillStatx(a, &out.Statx)
	}
	return errno
}

// Setattr behaves as a block device does as far as it can: truncating changes nothing, and is an
// error only where it would have to grow or shrink the LV. Times are accepted from whom the
// kernel lets set them, and not kept: they belong to what is in the LV.
func (n *lvNode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f := n.file()
	if f == nil {
		return syscall.ESTALE
	}
	a, errno := n.attributes(f)
	if errno != 0 {
		return errno
	}
	_, mode := in.GetMode()
	_, uid := in.GetUID()
	_, gid := in.GetGID()
	if mode || uid || gid {
		return syscall.EPERM
	}
	if size, ok := in.GetSize(); ok {
		if a.mode&0o200 == 0 {
			return syscall.EROFS
		}
		if size != 0 && size != uint64(a.size) {
			return syscall.EPERM
		}
	}
	n.s.fillAttr(a, &out.Attr)
	out.Ino = f.ino
	return 0
}

func (n *lvNode) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	d := n.s.tree.Load().byUUID[n.key.vg]
	if d == nil {
		return syscall.ESTALE
	}
	fillStatfs([]*lvm2.VG{d.vg}, out)
	return 0
}

func (n *lvNode) xattrs() []xattr {
	f := n.file()
	if f == nil {
		return nil
	}
	c := f.lv.Load()
	if c == nil {
		return nil
	}
	attrs := []xattr{
		{"uuid", c.UUID.String()},
		{"segtype", segmentTypes(c)},
		{"tags", strings.Join(c.Tags, ",")},
		{"attr", c.Attr()},
		{"health", c.Health()},
	}
	if !c.CreationTime.IsZero() {
		attrs = append(attrs, xattr{"creation_time", c.CreationTime.UTC().Format(time.RFC3339)})
	}
	if err := c.readOnly(); err != nil {
		attrs = append(attrs, xattr{"readonly", err.Error()})
	}
	return attrs
}

// segmentTypes are the types of an LV's segments, each once, in the order of the LV.
func segmentTypes(c *currentLV) string {
	var types []string
	for _, seg := range c.Segments {
		if !slices.Contains(types, seg.TypeName()) {
			types = append(types, seg.TypeName())
		}
	}
	return strings.Join(types, ",")
}

func (n *lvNode) Getxattr(_ context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	if !strings.HasPrefix(name, xattrPrefix) {
		return getXattr(nil, name, dest)
	}
	return getXattr(n.xattrs(), name, dest)
}

func (n *lvNode) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	return listXattrs(n.xattrs(), dest)
}

func (n *lvNode) Setxattr(context.Context, string, []byte, uint32) syscall.Errno {
	return syscall.EPERM
}
