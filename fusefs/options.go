package fusefs

import (
	"cmp"
	"log"
	"log/slog"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// maxRequest is the most that one request reads or writes, in bytes. Linux allows 1 MiB;
	// a spliced reply of that size and its header do not fit into a pipe, and half of it is
	// as fast as one of two pages less.
	maxRequest = 512 << 10
	// maxBackground is the number of asynchronous requests (read-ahead, libaio, io_uring,
	// loop devices) under way. The kernel's default is 12.
	maxBackground = 64
)

func (s *Server) nodeOptions() *fs.Options {
	// Names and attributes are asked for each time: that is cheap for a tree of few
	// files, and after a reload no name is ever stale.
	never := time.Duration(0)
	return &fs.Options{
		AttrTimeout:     &never,
		EntryTimeout:    &never,
		NullPermissions: true,
		RootStableAttr:  &fs.StableAttr{Ino: rootIno},
		Logger:          s.fuseLogger(),
	}
}

func (s *Server) mountOptions() *fuse.MountOptions {
	// Without default_permissions the kernel checks no modes, and allow_other would open
	// every disk to every user.
	options := []string{"default_permissions"}
	if s.cfg.ReadOnly {
		options = append(options, "ro")
	}
	for _, o := range s.cfg.Options {
		if !slices.Contains(options, o) {
			options = append(options, o)
		}
	}
	mo := &fuse.MountOptions{
		AllowOther:               s.cfg.AllowOther,
		Options:                  options,
		FsName:                   cmp.Or(s.cfg.FSName, "lvm2fs"),
		Name:                     cmp.Or(s.cfg.Subtype, "lvm2fs"),
		MaxWrite:                 maxRequest,
		MaxBackground:            maxBackground,
		Debug:                    s.cfg.Debug,
		Logger:                   s.fuseLogger(),
		DisableReadDirPlus:       true,
		ExplicitDataCacheControl: true,
		ExtraCapabilities: fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_ASYNC_DIO |
			// There are no set-user-ID bits and no capabilities to clear, which
			// the kernel would otherwise ask about before each write.
			killPriv,
	}
	directMount(mo)
	return mo
}

func (s *Server) fuseLogger() *log.Logger {
	level := slog.LevelWarn
	if s.cfg.Debug {
		level = slog.LevelDebug
	}
	return slog.NewLogLogger(s.log.Handler(), level)
}
