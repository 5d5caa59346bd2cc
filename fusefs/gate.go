package fusefs

import (
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// gate is passed by every request with which somebody who has no file open can begin to use the tree. It knows when the
// tree was last used. It keeps out whom AllowRoot does not let in, because the kernel lets in either only the mounting
// user or everybody.
type gate struct {
	fuse.RawFileSystem
	s *Server
}

func (g *gate) pass(h *fuse.InHeader) fuse.Status {
	g.s.use()
	if g.s.cfg.AllowRoot && h.Uid != 0 && h.Uid != uint32(os.Getuid()) {
		return fuse.EACCES
	}
	return fuse.OK
}

func (s *Server) use() { s.used.Store(int64(time.Since(s.mounted))) }

// UnusedFor is how long no request has come and no file was open.
func (s *Server) UnusedFor() time.Duration {
	for _, f := range s.tree.Load().files {
		if f.handles.Load() > 0 {
			s.use()
			return 0
		}
	}
	return time.Since(s.mounted) - time.Duration(s.used.Load())
}

func (g *gate) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if status := g.pass(in); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.Lookup(cancel, in, name, out)
}

func (g *gate) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.GetAttr(cancel, in, out)
}

func (g *gate) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.Statx(cancel, in, out)
}

func (g *gate) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.SetAttr(cancel, in, out)
}

func (g *gate) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.Access(cancel, in)
}

func (g *gate) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.Open(cancel, in, out)
}

func (g *gate) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.OpenDir(cancel, in, out)
}

func (g *gate) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if status := g.pass(in); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.StatFs(cancel, in, out)
}

func (g *gate) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if status := g.pass(in); status != fuse.OK {
		return 0, status
	}
	return g.RawFileSystem.GetXAttr(cancel, in, name, dest)
}

func (g *gate) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if status := g.pass(in); status != fuse.OK {
		return 0, status
	}
	return g.RawFileSystem.ListXAttr(cancel, in, dest)
}

func (g *gate) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if status := g.pass(&in.InHeader); status != fuse.OK {
		return status
	}
	return g.RawFileSystem.SetXAttr(cancel, in, name, data)
}

func (g *gate) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	g.s.use()
	g.RawFileSystem.Release(cancel, in)
}
