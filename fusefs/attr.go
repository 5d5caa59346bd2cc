package fusefs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// attributes are what stat shows of a node.
type attributes struct {
	mode   uint32 // permissions, before the masks
	dir    bool
	nlink  uint32
	size   int64 // bytes
	dense  int64 // bytes not in holes
	blksiz uint32
	mtime  time.Time // and ctime, and atime
	birth  time.Time // zero: not known

	passing bool // the kernel must not keep them: they change soon, without a reload
}

// mode is a node's permissions.
func (s *Server) mode(a attributes) uint32 {
	if a.dir {
		return a.mode &^ s.cfg.DirMask
	}
	return a.mode &^ s.cfg.FileMask
}

func (s *Server) fillAttr(a attributes, out *fuse.Attr) {
	out.Mode = s.mode(a)
	out.Nlink = a.nlink
	out.Size = uint64(a.size)
	out.Blocks = uint64(a.dense+511) / 512
	out.Blksize = a.blksiz
	out.Uid, out.Gid = s.cfg.UID, s.cfg.GID
	out.SetTimes(&a.mtime, &a.mtime, &a.mtime)
}

// The bits of statx(2)'s mask.
const (
	statxBasic = 0x7ff
	statxBirth = 0x800
)

func (s *Server) fillStatx(a attributes, out *fuse.Statx) {
	out.Mask = statxBasic
	out.Mode = uint16(s.mode(a))
	out.Nlink = a.nlink
	out.Size = uint64(a.size)
	out.Blocks = uint64(a.dense+511) / 512
	out.Blksize = a.blksiz
	out.Uid, out.Gid = s.cfg.UID, s.cfg.GID
	mtime := sxTime(a.mtime)
	out.Atime, out.Mtime, out.Ctime = mtime, mtime, mtime
	if !a.birth.IsZero() {
		out.Mask |= statxBirth
		out.Btime = sxTime(a.birth)
	}
}

func sxTime(t time.Time) fuse.SxTime {
	return fuse.SxTime{Sec: uint64(t.Unix()), Nsec: uint32(t.Nanosecond())}
}
