package fusefs

import (
	"cmp"
	"context"
	"log"
	"log/slog"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxBackground is the number of asynchronous requests (read-ahead, libaio, io_uring,
// loop devices) under way. The kernel's default is 12.
const maxBackground = 64

func (s *Server) nodeOptions() *fs.Options {
	// Unless the user wants it otherwise, names are asked for each time: the kernel can take the answer to a
	// request under way for new after it was told to forget the old one. Of attributes it can tell.
	return &fs.Options{
		AttrTimeout:     &s.cfg.AttrTimeout,
		EntryTimeout:    &s.cfg.EntryTimeout,
		NullPermissions: true,
		RootStableAttr:  &fs.StableAttr{Ino: rootIno},
		Logger:          s.fuseLogger(),
	}
}

// mountOptions are those for a system, by its name in Go.
func (s *Server) mountOptions(goos string) *fuse.MountOptions {
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
		AllowOther:               s.cfg.AllowOther || s.cfg.AllowRoot,
		Options:                  options,
		FsName:                   cmp.Or(s.cfg.FSName, "lvm2fs"),
		Name:                     cmp.Or(s.cfg.Subtype, "lvm2fs"),
		MaxWrite:                 s.requestSize(),
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
	if goos != "linux" {
		withoutCommas(mo)
	}
	return mo
}

// withoutCommas makes options fit for the mount programs of FreeBSD and macOS. The fuse package puts a backslash before a comma
// and a backslash within an option, which only Linux's undoes: elsewhere the name of an image would end at its comma, and what
// follows would be an option.
func withoutCommas(mo *fuse.MountOptions) {
	carried := strings.NewReplacer(",", "_", `\`, "_")
	mo.FsName, mo.Name = carried.Replace(mo.FsName), carried.Replace(mo.Name)
	for i, o := range mo.Options {
		mo.Options[i] = carried.Replace(o)
	}
}

// minRequest is the least that the kernel takes for the size of requests: a page.
const minRequest = 4096

// requestSize is the most bytes of one read or write. The fuse package hands the kernel one bound for both.
func (s *Server) requestSize() int {
	if s.cfg.MaxRequest == 0 {
		return maxRequest
	}
	return min(max(s.cfg.MaxRequest, minRequest), maxRequest)
}

func (s *Server) fuseLogger() *log.Logger {
	level := slog.LevelWarn
	if s.cfg.Debug {
		level = slog.LevelDebug
	}
	return slog.NewLogLogger(optionalRequests{s.log.Handler()}, level)
}

// optionalRequests keeps out of the log that a kernel asks for what it can do without. FreeBSD asks where the
// blocks of a file lie (BMAP) before its first read through the page cache. Once it is told that there is no such
// request it never asks again.
type optionalRequests struct{ slog.Handler }

func (h optionalRequests) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "Unimplemented opcode BMAP") {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
