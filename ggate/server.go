package ggate

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"syscall"

	"lvm2fs/mapping"
)

// Options change how a volume is served. The zero value is fit for use.
type Options struct {
	// Unit is the number to ask for; nil for any.
	Unit *int32
	// SectorSize in bytes is a power of two that divides the size of the volume. The default is 512.
	SectorSize int
	// ReadOnly refuses writes, as does a volume that is no [mapping.Writable].
	ReadOnly bool
	// Info is shown by `ggatel list`.
	Info string
	// ReadProvider is a provider of GEOM ("ada1") on which the volume is one run from ReadOffset, in bytes, a multiple
	// of SectorSize. The kernel reads straight from there then, and only what fails so comes to the volume. Writes,
	// deletes and flushes always come.
	ReadProvider string
	ReadOffset   int64
	// Threads is the number of requests answered at once. The default is 8.
	Threads int
	// Failed is told of each request that could not be done. It may be called by several goroutines.
	Failed func(cmd Command, off, n int64, err error)
}

// maxRequest bounds the buffer for one request, in bytes. The kernel's are of 128 KiB or 1 MiB (MAXPHYS).
const maxRequest = 32 << 20

// firstBuffer holds what the kernel sends, but for a system with a larger MAXPHYS.
const firstBuffer = 1 << 20

// Server answers the requests for one unit. It is safe for concurrent use.
type Server struct {
	control Control
	unit    int32
	volume  mapping.Volume
	opts    Options

	serving sync.WaitGroup
	mu      sync.Mutex
	failure error // of the first thread that ended on an error
}

// Serve makes a unit of v and answers its requests until it is destroyed. The device exists when Serve returns. c stays the
// caller's, to be closed once Wait has returned.
func Serve(c Control, v mapping.Volume, opts Options) (*Server, error) {
	s := newServer(c, v, opts)
	unit, err := s.create()
	if err != nil {
		return nil, err
	}
	s.start(unit)
	return s, nil
}

// Create makes a unit of v for a server to come, in this process or another, by Resume. Until then requests wait.
func Create(c Control, v mapping.Volume, opts Options) (unit int32, err error) {
	return newServer(c, v, opts).create()
}

func (s *Server) create() (int32, error) {
	unit := &Unit{
		Number:       AnyUnit,
		MediaSize:    s.volume.Size(),
		SectorSize:   uint32(s.opts.SectorSize),
		ReadOnly:     s.opts.ReadOnly,
		Info:         s.opts.Info,
		ReadProvider: s.opts.ReadProvider,
		ReadOffset:   s.opts.ReadOffset,
	}
	if s.opts.Unit != nil {
		unit.Number = *s.opts.Unit
	}
	if sector := int64(s.opts.SectorSize); sector <= 0 || sector&(sector-1) != 0 || unit.MediaSize%sector != 0 {
		return 0, fmt.Errorf("geom_gate: sectors of %d bytes on %d: %w", sector, unit.MediaSize, syscall.EINVAL)
	}
	if err := s.control.Create(unit); err != nil {
		return 0, err
	}
	return unit.Number, nil
}

// Resume takes over a unit whose server is gone, or was never there. Nothing is lost: what that server was asked and
// has not answered comes again. What it had answered is not asked again.
func Resume(c Control, unit int32, v mapping.Volume, opts Options) (*Server, error) {
	if err := c.Cancel(unit); err != nil {
		return nil, err
	}
	s := newServer(c, v, opts)
	s.start(unit)
	return s, nil
}

func newServer(c Control, v mapping.Volume, opts Options) *Server {
	if opts.SectorSize == 0 {
		opts.SectorSize = 512
	}
	if opts.Threads <= 0 {
		opts.Threads = 8
	}
	if _, ok := v.(mapping.Writable); !ok {
		opts.ReadOnly = true
	}
	return &Server{control: c, volume: v, opts: opts}
}

func (s *Server) start(unit int32) {
	s.unit = unit
	for range s.opts.Threads {
		s.serving.Add(1)
		go func() {
			defer s.serving.Done()
			if err := s.serve(); err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.failure == nil {
					s.failure = err
				}
			}
		}()
	}
}

// Device is the path of the block device.
func (s *Server) Device() string { return fmt.Sprintf("/dev/ggate%d", s.unit) }

// Unit is the N of /dev/ggateN.
func (s *Server) Unit() int32 { return s.unit }

// ReadThrough has all reads come to the server from now on: the volume is about to lie elsewhere.
func (s *Server) ReadThrough() error {
	none := ""
	return s.control.Modify(&Changes{Number: s.unit, ReadProvider: &none})
}

// Resize changes the size of the unit, in bytes.
func (s *Server) Resize(size int64) error {
	return s.control.Modify(&Changes{Number: s.unit, MediaSize: &size})
}

// Stop destroys the unit and waits for the requests under way. Without force it fails with EBUSY while somebody has the
// device open, and nothing has changed.
func (s *Server) Stop(force bool) error {
	if err := s.control.Destroy(s.unit, force); err != nil {
		return err
	}
	return s.Wait()
}

// Wait returns when the unit is gone, with the error of a server that could not go on. Then all that was written
// is on stable storage.
func (s *Server) Wait() error {
	s.serving.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failure
	if w, ok := s.volume.(mapping.Writable); ok && !s.opts.ReadOnly {
		err = errors.Join(err, w.Sync())
	}
	return err
}

// serve answers requests, one after the other, until the unit goes.
func (s *Server) serve() error {
	buffer := make([]byte, firstBuffer)
	for {
		r := &Request{Unit: s.unit, Data: buffer}
		if err := s.control.Start(r); err != nil {
			return ended(err)
		}
		switch {
		case r.Error == int32(syscall.ECANCELED):
			return nil
		case r.Error == int32(syscall.ENOMEM) && r.Length > int64(len(buffer)) && r.Length <= maxRequest:
			buffer = make([]byte, r.Length)
			continue
		case r.Error != 0:
			return fmt.Errorf("geom_gate: unit %d: a request of %d bytes: %w", s.unit, r.Length, syscall.Errno(r.Error))
		}
		if r.Command == Read && r.Length > int64(len(buffer)) && r.Length <= maxRequest {
			buffer = make([]byte, r.Length)
		}
		r.Data = buffer
		r.Error = s.answer(r)
		if err := s.control.Done(r); err != nil {
			return ended(err)
		}
	}
}

// ended is nil for the errors that say that the unit is gone.
func ended(err error) error {
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ECANCELED) {
		return nil
	}
	return err
}

// answer does what is asked and gives the errno of the answer.
func (s *Server) answer(r *Request) int32 {
	err := s.do(r)
	if err == nil {
		return 0
	}
	if s.opts.Failed != nil && !errors.Is(err, errors.ErrUnsupported) {
		s.opts.Failed(r.Command, r.Offset, r.Length, err)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return int32(syscall.EOPNOTSUPP)
	case mapping.NoSpace(err):
		return int32(syscall.ENOSPC)
	case errors.Is(err, errReadOnly), errors.Is(err, mapping.ErrNotWritable):
		return int32(syscall.EPERM) // as the kernel says of a unit that is read-only
	}
	return int32(syscall.EIO)
}

var errReadOnly = errors.New("the unit is read-only")

func (s *Server) do(r *Request) error {
	switch r.Command {
	case Flush:
		return s.flush()
	case Read, Write, Delete:
	default: // its offset and length may mean anything
		return fmt.Errorf("request %d: %w", r.Command, errors.ErrUnsupported)
	}
	if r.Offset < 0 || r.Length < 0 || r.Length > math.MaxInt64-r.Offset || r.Offset+r.Length > s.volume.Size() {
		return fmt.Errorf("%d bytes at %d of %d: %w", r.Length, r.Offset, s.volume.Size(), io.ErrUnexpectedEOF)
	}
	if r.Command == Read {
		return s.read(r)
	}
	w, ok := s.volume.(mapping.Writable)
	if s.opts.ReadOnly || !ok {
		return errReadOnly
	}
	if r.Command == Delete {
		// The request has no bytes, and the buffer holds those of another.
		return w.PunchHole(r.Offset, r.Length)
	}
	if r.Length > int64(len(r.Data)) {
		return fmt.Errorf("a write of %d bytes with %d: %w", r.Length, len(r.Data), io.ErrUnexpectedEOF)
	}
	_, err := w.WriteAt(r.Data[:r.Length], r.Offset)
	return err
}

func (s *Server) read(r *Request) error {
	if r.Length > int64(len(r.Data)) {
		return fmt.Errorf("a read of %d bytes: %w", r.Length, errors.ErrUnsupported)
	}
	_, err := mapping.ReadFull(s.volume, r.Data[:r.Length], r.Offset)
	return err
}

// flush is asked of read-only units too, for which there is nothing to do.
func (s *Server) flush() error {
	if w, ok := s.volume.(mapping.Writable); ok && !s.opts.ReadOnly {
		return w.Sync()
	}
	return nil
}
