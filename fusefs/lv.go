package fusefs

import (
	"context"
	"math"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
)

// lvNode is the file of an LV. Its size is fixed; [fileEnd] tells of the exception. It stays the same when the LV is renamed.
type lvNode struct {
	fs.Inode
	s   *Server
	key fileKey

	generation uint64 // of the file's inodes
	removed    bool   // the LV
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

func (n *lvNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f := n.file()
	if f == nil {
		return nil, 0, syscall.ESTALE
	}
	h := &handle{s: n.s, node: n, file: f, writable: flags&syscall.O_ACCMODE != syscall.O_RDONLY, sync: n.s.cfg.Sync || flags&syncFlags != 0}
	var thread uint32
	if c, ok := fuse.FromContext(ctx); ok {
		thread = c.Pid
	}
	if h.writable {
		h.process = caller(ctx)
	}
	if !f.inodes.open(h, thread, n.mayCache(f, flags)) {
		return nil, 0, syscall.ESTALE
	}
	if err := h.open(); err != nil {
		f.inodes.close(h)
		if h.writable {
			n.s.log.Warn("open for writing", "lv", f.name(), "err", n.s.remedy(err))
		} else {
			n.s.failures.report(f, "open", 0, err)
		}
		return nil, 0, openErrno(err)
	}
	return h, h.fuseFlags(), 0
}

// mayCache says whether the kernel may keep what is read of the file. It may not if a program asks to go past the pages,
// or if the LV is internal or was removed, because its bytes change when other LVs are written. Nor may it if the LV is not
// well: every sector that can be read is to be read, but a page is read as a whole or not at all.
func (n *lvNode) mayCache(f *lvFile, flags uint32) bool {
	c := f.lv.Load()
	return n.s.cachesReaders() && flags&direct == 0 && c != nil && c.Visible() && !n.removed && c.Health() == ""
}

// attributes must not wait for a reload: the reload stats the backing files of loop devices, possibly this one.
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
	// They stay as they are, up to a reload, once the LV is open and nobody can write to it.
	v := f.vol.Load()
	a.passing = !useful || v == nil || v.Writable()
	if end, ok := f.end.settled(); ok && end < a.size && n.generation == f.inodes.current() {
		a.size, a.dense, a.passing = end, end, true
	}
	return a, 0
}

// caller is the process that a request came from.
func caller(ctx context.Context) uint32 {
	if c, ok := fuse.FromContext(ctx); ok {
		return processOf(c.Pid)
	}
	return 0
}

// forget makes the kernel drop what it holds of the file: the page in which the file's own end was has zeros behind it. This
// is called from a release. Only Linux does not wait for the answer to that; the others then drop pages by themselves.
func (n *lvNode) forget() {
	if runtime.GOOS == "linux" {
		_ = n.NotifyContent(0, 0) // an error says that there is nothing to forget
	}
}

func (n *lvNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f := n.file()
	if f == nil {
		return syscall.ESTALE
	}
	a, errno := n.attributes(f)
	if errno == 0 {
		n.s.fillAttr(a, &out.Attr)
		if a.passing {
			out.SetTimeout(time.Nanosecond)
		}
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
		if a.passing {
			out.SetTimeout(time.Nanosecond)
		}
	}
	return errno
}

// Setattr truncates: that gives the file an end of its own, and is an error where the LV would have to grow. Times
// are accepted from whom the kernel lets set them, and not kept: they belong to what is in the LV.
func (n *lvNode) Setattr(ctx context.Context, fh fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
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
		h, _ := fh.(*handle)
		if errno := n.truncate(f, h, caller(ctx), size); errno != 0 {
			return errno
		}
		if a, errno = n.attributes(f); errno != 0 {
			return errno
		}
	}
	n.s.fillAttr(a, &out.Attr)
	out.Ino = f.ino
	if a.passing {
		out.SetTimeout(time.Nanosecond)
	}
	return 0
}

// truncate is for a process that may have said through which handle, which may be nil.
func (n *lvNode) truncate(f *lvFile, h *handle, process uint32, size uint64) syscall.Errno {
	errno := n.moveEnd(f, h, process, size)
	f.inodes.forget(n, 0, 0)
	return errno
}

func (n *lvNode) moveEnd(f *lvFile, h *handle, process uint32, size uint64) syscall.Errno {
	f.io.RLock()
	defer f.io.RUnlock()
	v, err := f.volumeForWriting()
	switch {
	case err != nil:
	case size > uint64(v.Size()):
		return syscall.EPERM
	default:
		if end, ok := f.end.get(); ok && int64(size) > end {
			f.touch()
		}
		err = f.end.truncate(v, h, process, int64(size))
	}
	if err != nil {
		return n.s.fail(f, "truncate", int64(min(size, math.MaxInt64)), err)
	}
	f.holes.Store(0)
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
		{"attr", report.LVAttr(c.LV)},
		{"health", c.Health()},
	}
	if !c.CreationTime.IsZero() {
		attrs = append(attrs, xattr{"creation_time", c.CreationTime.UTC().Format(time.RFC3339)})
	}
	if path := c.overlayPath(); path != "" {
		attrs = append(attrs, xattr{"overlay", path})
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
