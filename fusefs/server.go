// Package fusefs shows the LVs of a scan as files, MOUNTPOINT/VG/LV, whose bytes are the
// LVs' bytes.
//
// What a file is made of changes with each reload; what it is called, and its open handles,
// stay with the LV's UUID. See lvFile for the locks that make it so.
package fusefs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
	"lvm2fs/overlay"
)

// Config says what to mount and how.
type Config struct {
	Scan *lvm2.Scan // what to show at first
	// Rescan reads the metadata again; Reload calls it. It should hand lvm2.Open the
	// same Device values for the same devices, refreshed, so that claims are kept. It has logged its
	// warnings, which are for whoever asked for the reload too. Nil: there is no reload.
	Rescan func() (scan *lvm2.Scan, warnings []string, err error)

	ReadOnly bool
	All      bool // internal LVs too, read-only
	// Overlays, if not nil, takes all that is written, so no device is opened for writing. Every LV that can be read
	// can then be written. It belongs to the server.
	Overlays *overlay.Dir
	// DirectIO has the kernel keep nothing of what is read; KernelCache has it keep what is read and written. With
	// neither, on Linux, it keeps what readers read of LVs that nobody writes; see [fileInodes]. What others write
	// to the devices shows in what it keeps when a file is opened anew.
	DirectIO, KernelCache bool
	// BlockDevices: block devices lie on the files. A read beyond the end is then an error and not the end, since
	// the end was elsewhere when the device was made.
	BlockDevices bool
	Sync         bool // every write goes to stable storage, as with O_SYNC, of which not every system tells
	AllowOther   bool // users other than the mounting one; the modes still hold
	AllowRoot    bool // of those, root alone
	Debug        bool // log every request, at level debug
	UID, GID     uint32
	FileMask     uint32 // bits taken from the mode 0640 of files
	DirMask      uint32 // and from the mode 0750 of directories
	// MaxRequest bounds the bytes of one read or write; 0: the best for this system.
	MaxRequest int
	// AttrTimeout and EntryTimeout are how long the kernel may keep what stat shows and which name
	// leads to which file. It forgets both at a reload.
	AttrTimeout, EntryTimeout time.Duration // of attributes only while nobody has the file open for writing

	FSName  string   // the source in the mount table; "lvm2fs" if empty
	Subtype string   // the type in the mount table is fuse.SUBTYPE; "lvm2fs" if empty
	Options []string // more mount options
	Logger  *slog.Logger
}

// Server is a mounted tree. It is safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	dir     string   // "" for a private mount
	private *os.File // the root of that
	mounted time.Time
	fuse    *fuse.Server
	root    *rootNode

	reloading sync.Mutex // one reload at a time
	ended     bool       // by finish; guarded by reloading
	tree      atomic.Pointer[tree]
	failures  failures
	used      atomic.Int64 // when the last request came, in ns since mounted

	shutdown sync.Once
	done     chan struct{} // closed when what was written is synced, too
}

// Mount mounts the tree of cfg at dir and returns once the kernel answers for it. When it
// fails, no mount is left behind.
func Mount(dir string, cfg Config) (*Server, error) {
	s := newServer(dir, cfg)
	before, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	mo := s.mountOptions(runtime.GOOS)
	directMount(mo)
	s.fuse, err = fuse.NewServer(&gate{fs.NewNodeFS(s.root, s.nodeOptions()), s}, dir, mo)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mounting %s: %w", dir, err), removeStale(dir, before))
	}
	go s.serve()
	if err := s.await(before); err != nil {
		return nil, errors.Join(fmt.Errorf("mounting %s: %w", dir, err), s.ForceUnmount())
	}
	if !cfg.DirectIO {
		s.readAhead()
	}
	return s, nil
}

func newServer(dir string, cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg:     cfg,
		log:     cfg.Logger,
		dir:     dir,
		mounted: time.Now(),
		done:    make(chan struct{}),
	}
	s.failures.log = s.log
	s.root = &rootNode{dirNode: dirNode{s: s}}
	first, _ := s.newTree(cfg.Scan, &tree{}, s.mounted)
	s.tree.Store(first)
	return s
}

// removeStale takes away what a failed mount may have left at dir, and nothing that was
// there before.
func removeStale(dir string, before os.FileInfo) error {
	now, err := os.Stat(dir)
	if !DaemonGone(now, err) && (err != nil || device(now) == device(before)) {
		return nil
	}
	return detach(dir)
}

func device(info os.FileInfo) uint64 {
	return uint64(info.Sys().(*syscall.Stat_t).Dev)
}

func (s *Server) serve() {
	s.fuse.Serve()
	s.finish()
}

// finish syncs and gives up what handles still hold when no RELEASE will come for them.
func (s *Server) finish() {
	s.shutdown.Do(func() {
		s.reloading.Lock()
		defer s.reloading.Unlock()
		s.ended = true
		for _, f := range s.tree.Load().files {
			if err := f.abandon(); err != nil {
				s.log.Error("closing", "lv", f.name(), "err", err)
			}
		}
		close(s.done)
	})
}

// Wait returns once the tree is no longer mounted and what was written through it is
// synced.
func (s *Server) Wait() { <-s.done }

// Unmount unmounts the tree and syncs. If the tree is in use the error wraps syscall.EBUSY. A private mount is
// waited for instead, until its last file is closed.
func (s *Server) Unmount() error {
	select {
	case <-s.done:
		return nil
	default:
	}
	if s.private != nil {
		s.private.Close() // the second time in vain
		s.Wait()
		return nil
	}
	if err := s.unmount(); err != nil {
		return fmt.Errorf("unmounting %s: %w", s.dir, err)
	}
	s.Wait()
	return nil
}

// ForceUnmount takes the tree out of the directory, whoever uses it. What was written is
// synced; handles still open fail from now on.
func (s *Server) ForceUnmount() error {
	var err error
	if s.private != nil {
		s.private.Close()
	} else {
		err = detach(s.dir)
	}
	s.finish()
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", s.dir, err)
	}
	return nil
}
