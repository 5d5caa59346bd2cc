package fusefs

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/mapping"
)

// handle is an open file. No method passes the request's context on to a device: the kernel
// cancels it whenever the caller gets a signal, and Go programs get them all the time.
type handle struct {
	s        *Server
	node     *lvNode
	file     *lvFile
	writable bool
	cached   bool // the kernel may keep what it reads
	sync     bool // each write goes to stable storage

	process uint32      // that opened it
	cut     atomic.Bool // the file's own end is this handle's, too
	flushed atomic.Bool // it was not used since it was flushed
}

const syncFlags = syscall.O_SYNC

var (
	_ fs.FileReader    = (*handle)(nil)
	_ fs.FileWriter    = (*handle)(nil)
	_ fs.FileFlusher   = (*handle)(nil)
	_ fs.FileFsyncer   = (*handle)(nil)
	_ fs.FileAllocater = (*handle)(nil)
	_ fs.FileLseeker   = (*handle)(nil)
	_ fs.FileIoctler   = (*handle)(nil)
	_ fs.FileReleaser  = (*handle)(nil)
)

func (h *handle) open() error {
	h.file.handles.Add(1)
	err := h.tryOpen()
	if err != nil {
		h.file.handles.Add(-1)
	}
	return err
}

func (h *handle) tryOpen() error {
	if h.writable {
		err := h.file.openForWriting()
		if err == nil {
			h.file.end.join(h)
		}
		return err
	}
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	_, err := h.file.volume()
	return err
}

// fuseFlags say whether the kernel is to keep pages, or to pass reads and writes on as they are. It drops the pages that
// it has in any case.
func (h *handle) fuseFlags() uint32 {
	switch {
	case h.s.cfg.KernelCache:
		return 0
	case h.cached:
		return fuse.FOPEN_NOFLUSH
	case h.writable:
		return fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	}
	return fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
}

func (h *handle) Release(context.Context) syscall.Errno {
	h.file.handles.Add(-1)
	// Not before the end is gone: who opens the file then may get pages.
	defer h.file.inodes.close(h)
	if !h.writable {
		return 0
	}
	if h.file.end.leave(h) {
		h.node.forget()
	}
	if err := h.file.closeAfterWriting(); err != nil {
		h.s.log.Error("close", "lv", h.file.name(), "err", err)
	}
	return 0
}

// Flush is for a descriptor that is closed; it may not be the only one.
func (h *handle) Flush(context.Context) syscall.Errno {
	h.flushed.Store(true)
	return 0
}

// Read answers with all the bytes asked for up to the end of the file, or with an error: FUSE takes
// a short answer for the end.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	v, err := h.file.volume()
	if err != nil {
		return nil, h.fail("read", off, err)
	}
	h.flushed.Store(false)
	end := h.file.end.of(h, v.Size())
	if h.s.cfg.BlockDevices && (off > end || int64(len(dest)) > end-off) {
		return nil, h.fail("read", off, fmt.Errorf("%d bytes, and the LV ends at byte %d now", len(dest), end))
	}
	if off < 0 || off >= end {
		return fuse.ReadResultData(nil), 0
	}
	n := int(min(int64(len(dest)), end-off))
	// What waits in a pipe would show what is written where it came from.
	if h.s.cfg.ReadOnly || !v.Moves() {
		if r := spliceReply(v, off, n); r != nil {
			return r, 0
		}
	}
	if _, err := mapping.ReadFull(v, dest[:n], off); err != nil {
		return nil, h.fail("read", off, err)
	}
	return fuse.ReadResultVector([][]byte{dest[:n]}), 0
}

// Write writes up to the end of the file. Nothing fits behind it.
func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, errno := h.write(data, off)
	h.changed(off, int64(len(data)))
	return n, errno
}

// changed is for n bytes from off on that may have changed; n is 0 for all up to the end. The caller holds no lock.
func (h *handle) changed(off, n int64) {
	if h.cut.Load() {
		off, n = 0, 0 // zeros may have come in front of them
	}
	h.file.inodes.forget(h.node, off, n)
}

func (h *handle) write(data []byte, off int64) (uint32, syscall.Errno) {
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	v, err := h.file.volumeForWriting()
	if err != nil {
		return 0, h.fail("write", off, err)
	}
	if off < 0 || off >= v.Size() {
		return 0, syscall.ENOSPC
	}
	n := int(min(int64(len(data)), v.Size()-off))
	h.flushed.Store(false)
	h.file.touch()
	if err := h.file.end.write(v, h, data[:n], off); err != nil {
		return 0, h.fail("write", off, err)
	}
	if err := h.settle(v); err != nil {
		return 0, h.fail("sync", off, err)
	}
	return uint32(n), 0
}

// settle makes a change of the file stable, if that is asked of each.
func (h *handle) settle(v *openVolume) error {
	if !h.sync {
		return nil
	}
	return v.Sync()
}

// Fsync is about the file, so one who only reads may ask for it, as sync(1) does.
func (h *handle) Fsync(context.Context, uint32) syscall.Errno {
	if !h.writable {
		if err := h.file.syncOthers(); err != nil {
			return h.fail("sync", 0, err)
		}
		return 0
	}
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	v, err := h.file.volumeForWriting()
	if err == nil {
		err = v.Sync()
	}
	if err != nil {
		return h.fail("sync", 0, err)
	}
	return 0
}

// The modes of fallocate(2), as FUSE passes them on.
const (
	allocKeepSize  = 0x01
	allocPunchHole = 0x02
	allocZeroRange = 0x10
)

// Allocate punches holes. To reserve space changes nothing in front of the end: an LV has its own.
func (h *handle) Allocate(_ context.Context, off, length uint64, mode uint32) syscall.Errno {
	errno := h.allocate(off, length, mode)
	h.changed(0, 0)
	return errno
}

func (h *handle) allocate(off, length uint64, mode uint32) syscall.Errno {
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	v, err := h.file.volumeForWriting()
	if err != nil {
		return h.fail("punch", 0, err)
	}
	if off > math.MaxInt64 || length > math.MaxInt64-off {
		return syscall.EFBIG
	}
	h.flushed.Store(false)
	from, to := int64(off), int64(off+length)
	punch := func() error {
		h.file.touch()
		defer h.file.holes.Store(0)
		return v.PunchHole(from, to-from)
	}
	switch mode {
	case 0, allocZeroRange:
		if to > v.Size() {
			return syscall.EPERM
		}
		if mode == 0 {
			from, punch = to, func() error { return nil }
		}
		err = h.file.end.overwrite(v, h, from, to, punch)
	case allocKeepSize:
		if to > v.Size() {
			return syscall.EPERM
		}
	case allocPunchHole | allocKeepSize, allocZeroRange | allocKeepSize:
		to = min(to, h.file.end.of(h, v.Size()))
		if from < to {
			err = punch()
		}
	default:
		return syscall.EOPNOTSUPP
	}
	if err != nil {
		return h.fail("punch", from, err)
	}
	if err := h.settle(v); err != nil {
		return h.fail("sync", from, err)
	}
	return 0
}

func (h *handle) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	v, err := h.file.volume()
	if err != nil {
		return 0, h.fail("seek", 0, err)
	}
	end := h.file.end.of(h, v.Size())
	if off > math.MaxInt64 || int64(off) >= end {
		return 0, syscall.ENXIO
	}
	at, errno := seek(withHoles(v), int64(off), whence, maxSeekExtents)
	if errno == 0 && at >= end {
		if whence == seekData {
			return 0, syscall.ENXIO
		}
		at = end
	}
	return uint64(at), errno
}

func (h *handle) Ioctl(_ context.Context, cmd uint32, _ uint64, _, output []byte) (int32, syscall.Errno) {
	h.file.io.RLock()
	defer h.file.io.RUnlock()
	v, err := h.file.volume()
	if err != nil {
		return 0, h.fail("ioctl", 0, err)
	}
	return 0, ioctl(cmd, v.Size(), output)
}

func (h *handle) fail(op string, off int64, err error) syscall.Errno {
	return h.s.fail(h.file, op, off, err)
}

// fail reports what went wrong with a file and says it as an errno.
func (s *Server) fail(f *lvFile, op string, off int64, err error) syscall.Errno {
	errno := ioErrno(err)
	if errno == syscall.EIO || errno == syscall.ENOSPC || errno == syscall.ESTALE {
		s.failures.report(f, op, off, err)
	}
	return errno
}
