package copyout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/sparse"
	"lvm2fs/mapping"
)

const (
	bufferSize = 1 << 20   // bytes read at once
	zeroUnit   = 64 << 10  // bytes: with holes of 4 KiB a copy took six times as long
	directMin  = 64 << 10  // bytes: smaller runs are gathered in a buffer
	cloneMax   = 256 << 20 // bytes: a system call must end before the user loses patience
	remoteMax  = 64 << 20  // bytes, likewise
	writeback  = 8 << 20   // bytes written before the disk is set to work
)

// noteInterval is how much of a run a kill can cost.
const noteInterval = 5 * time.Second

// How a range that fails is narrowed down: by reading it again in units of these sizes,
// the ones that fail in the next. At most patience reads may fail; after that units are
// given up as they are. The next run has new patience.
var units = []int64{64 << 10, 4 << 10, 512}

const patience = 4096

// ways are the means of copying that are tried before the bytes go through memory.
type ways uint8

const (
	holes          ways = 1 << iota // skip the holes of an image file
	clones                          // share blocks with an image file
	remote                          // let the file system copy, if its bytes are elsewhere
	remoteAnywhere                  // let any file system copy; for tests
	allWays        = holes | clones | remote
)

// source is the file that a device is, and what works with it.
type source struct {
	file *os.File
	ways ways
}

type copier struct {
	*work
	ctx     context.Context
	to      fileSystem
	sources map[mapping.Device]*source
	buf     []byte
	zeros   []byte

	done     Ranges // good in the file
	lost     Ranges
	lostErr  error  // of the first
	failed   Ranges // to be narrowed down
	patience int

	position  int64 // bytes dealt with
	unwritten Range // written, and not yet on the way to the disk
	noted     time.Time
	interval  time.Duration // to the next note
}

func newCopier(ctx context.Context, w *work) *copier {
	return &copier{
		ctx:      ctx,
		work:     w,
		sources:  map[mapping.Device]*source{},
		buf:      make([]byte, bufferSize),
		zeros:    make([]byte, bufferSize),
		done:     append(Ranges(nil), w.done...),
		patience: patience,
		noted:    w.now(),
		interval: noteInterval,
	}
}

// run copies what is not done: first all that can be read at once, then, byte by byte if
// need be, what could not.
func (c *copier) run() (err error) {
	if c.to, err = fileSystemOf(c.file); err != nil {
		return err
	}
	c.advance(c.done.Bytes())
	for _, r := range c.done.Not(c.Identity.Size) {
		for off := r.Off; off < r.End; {
			n, err := c.step(off, r.End)
			if err != nil {
				return err
			}
			off += n
			c.advance(n)
			if err := c.pause(); err != nil {
				return err
			}
		}
	}
	for _, r := range c.failed {
		if err := c.narrow(r, units); err != nil {
			return err
		}
	}
	if c.dirty {
		for _, r := range c.lost {
			if err := c.clear(r.Off, r.End); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copier) advance(n int64) {
	c.position += n
	if c.Progress != nil {
		c.Progress(c.position)
	}
}

// pause is where a run is stopped, and where its progress is noted now and then.
func (c *copier) pause() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	start := c.now()
	if c.NoSync || start.Sub(c.noted) < c.interval {
		return nil
	}
	if err := c.checkpoint(c.done); err != nil {
		return err
	}
	c.noted = c.now()
	// What takes long is done more seldom.
	c.interval = max(noteInterval, 10*c.noted.Sub(start))
	return nil
}

// step deals with at least one of the bytes from off to end, and says with how many.
func (c *copier) step(off, end int64) (int64, error) {
	e, err := c.Volume.Map(off, end-off)
	if err != nil {
		n := min(end-off, bufferSize)
		c.failed.Add(off, off+n)
		return n, nil
	}
	if e.Length <= 0 || e.Length > end-off {
		return 0, fmt.Errorf("extent of %d bytes at byte %d, asked for 1 to %d", e.Length, off, end-off)
	}
	n := e.Length
	switch {
	case e.Kind == mapping.Zero:
		return n, c.zero(off, off+n)
	case e.Kind == mapping.Missing:
		c.lose(off, off+n, e.Err)
		return n, nil
	case e.Kind == mapping.Data && n >= directMin:
		var finished bool
		if n, finished, err = c.direct(off, e); finished || err != nil {
			return n, err
		}
	}
	n = c.gather(off, n, end)
	good, err := c.copy(off, off+n)
	if errors.As(err, new(readError)) {
		c.failed.Add(off+good, off+n)
		return n, nil
	}
	return n, err
}

// gather says how many bytes from off, of which the first n are one run, to read at once:
// small extents together, up to a buffer that ends where buffers end.
func (c *copier) gather(off, n, end int64) int64 {
	most := min(end-off, bufferSize-off%bufferSize)
	for n < most {
		e, err := c.Volume.Map(off+n, most-n)
		if err != nil || e.Length <= 0 || e.Kind == mapping.Zero || e.Kind == mapping.Missing ||
			e.Kind == mapping.Data && e.Length >= directMin {
			return n // what follows is for the next step
		}
		n += e.Length
	}
	return most
}

// direct copies the start of e, if its bytes need not come here for that. It returns the
// length of a run of data that e starts with, and whether it is finished with.
func (c *copier) direct(off int64, e mapping.Extent) (n int64, finished bool, err error) {
	s, n := c.source(e.Device), e.Length
	if s.ways&holes != 0 {
		from, to, err := sparse.NextData(s.file, e.Offset, e.Offset+n)
		switch {
		case err != nil || to < from:
			s.ways &^= holes
		case from > e.Offset:
			n = from - e.Offset
			return n, true, c.zero(off, off+n)
		default:
			n = to - from
		}
	}
	if s.ways&clones != 0 && (e.Offset-off)%c.to.block == 0 && n >= c.to.block {
		if head := -off & (c.to.block - 1); head > 0 {
			return head, false, nil
		}
		n := min(n-n%c.to.block, cloneMax)
		err := c.change("write", func() error { return clone(c.file, s.file, off, e.Offset, n) })
		if err == nil {
			c.done.Add(off, off+n)
			return n, true, nil
		}
		c.failedWay(s, clones, err)
	}
	if s.ways&remote != 0 {
		var copied int64
		err := c.change("write", func() (err error) {
			copied, err = copyRange(c.file, s.file, off, e.Offset, min(n, remoteMax))
			return err
		})
		if copied > 0 && copied <= n {
			c.done.Add(off, off+copied)
			return copied, true, nil
		}
		c.failedWay(s, remote, err)
	}
	return n, false, nil
}

func (c *copier) source(d mapping.Device) *source {
	s := c.sources[d]
	if s == nil {
		s = &source{file: imageFile(d)}
		if s.file != nil {
			s.ways = c.ways
		}
		if !c.to.remote && c.ways&remoteAnywhere == 0 {
			s.ways &^= remote
		}
		c.sources[d] = s
	}
	return s
}

// imageFile is the file that d is; nil for a disk, and for what is in a file of another
// format.
func imageFile(d mapping.Device) *os.File {
	plain, ok := d.(mapping.FileDevice)
	if !ok {
		return nil
	}
	f, ok := plain.File()
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return f
}

// failedWay gives a way up, unless it may work for the next extent. What the matter is
// with this one shows when its bytes are copied through memory.
func (c *copier) failedWay(s *source, way ways, err error) {
	switch {
	case errors.Is(err, unix.EIO), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		c.dirty = true // by what was copied before the error
	case way == clones && errors.Is(err, unix.EINVAL): // alignment
	default:
		s.ways &^= way
	}
}

// readError is an error of the volume, not of the file.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// copy copies the bytes from off to end, at most a buffer, through memory. It returns how
// many came before the first that could not be read.
func (c *copier) copy(off, end int64) (int64, error) {
	p := c.buf[:end-off]
	n, err := mapping.ReadFull(c.Volume, p, off)
	if err != nil {
		err = readError{err}
	}
	if writeErr := c.write(p[:n], off); writeErr != nil {
		return 0, writeErr
	}
	c.done.Add(off, off+int64(n))
	return int64(n), err
}

// write leaves out whole units of zeros.
func (c *copier) write(p []byte, off int64) error {
	for len(p) > 0 {
		n := min(len(p), int(zeroUnit-off%zeroUnit))
		zeros := c.isZero(p[:n])
		for n < len(p) {
			next := min(len(p), n+zeroUnit)
			if c.isZero(p[n:next]) != zeros {
				break
			}
			n = next
		}
		if zeros {
			if err := c.clear(off, off+int64(n)); err != nil {
				return err
			}
		} else if err := c.writeAll(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (c *copier) isZero(p []byte) bool { return bytes.Equal(p, c.zeros[:len(p)]) }

func (c *copier) writeAll(p []byte, off int64) error {
	err := c.change("write", func() error {
		_, err := c.file.WriteAt(p, off)
		return err
	})
	if err != nil {
		return err
	}
	if off != c.unwritten.End {
		c.unwritten = Range{off, off}
	}
	c.unwritten.End = off + int64(len(p))
	if n := c.unwritten.End - c.unwritten.Off; n >= writeback && !c.NoSync {
		startWriteback(c.file, c.unwritten.Off, n)
		c.unwritten.Off = c.unwritten.End
	}
	return nil
}

func (c *copier) zero(off, end int64) error {
	if err := c.clear(off, end); err != nil {
		return err
	}
	c.done.Add(off, end)
	return nil
}

// clear makes bytes of the file zero, which they are already unless it is an earlier
// run's.
func (c *copier) clear(off, end int64) error {
	if !c.dirty {
		return nil
	}
	err := c.change("punch", func() error { return punch(c.file, off, end-off) })
	if err == nil {
		return nil
	}
	for ; off < end; off += min(end-off, bufferSize) {
		if err := c.writeAll(c.zeros[:min(end-off, bufferSize)], off); err != nil {
			return err
		}
	}
	return nil
}

// narrow copies what can be read of r, in units of ever smaller size where one fails.
func (c *copier) narrow(r Range, units []int64) error {
	for off := r.Off; off < r.End; {
		if err := c.pause(); err != nil {
			return err
		}
		end := min(r.End, off-off%units[0]+units[0])
		good, err := c.copy(off, end)
		switch {
		case err == nil:
		case !errors.As(err, new(readError)):
			return err
		default:
			c.patience--
			if len(units) == 1 || c.patience < 0 {
				c.lose(off+good, end, err)
			} else if err := c.narrow(Range{off + good, end}, units[1:]); err != nil {
				return err
			}
		}
		off = end
	}
	return nil
}

func (c *copier) lose(off, end int64, err error) {
	if len(c.lost) == 0 || off < c.lost[0].Off {
		c.lostErr = err
	}
	c.lost.Add(off, end)
}
