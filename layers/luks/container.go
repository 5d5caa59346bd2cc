package luks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"lvm2fs/mapping"
)

// container is an open container that can be read.
type container struct {
	dev  mapping.Device
	name string
	payload
	info Info

	// keys guards mode, which is nil once closed, and is held by all who use it.
	keys sync.RWMutex
	mode *mode
}

// chunk is how much goes from the device to the cipher at a time: few calls, and still in
// the processor's cache when it is decrypted.
const chunk = 128 << 10

// buffers hold chunk bytes.
var buffers = sync.Pool{New: func() any { return new([chunk]byte) }}

func (c *container) Name() string { return c.name }
func (c *container) Size() int64  { return c.size }
func (c *container) Info() Info   { return c.info }

func (c *container) Beneath() []mapping.Device { return []mapping.Device{c.dev} }

func (c *container) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Computed, Length: min(max, c.size-off)}, nil
}

func (c *container) Close() error {
	c.keys.Lock()
	defer c.keys.Unlock()
	if c.mode == nil {
		return fmt.Errorf("%s: %w", c.name, os.ErrClosed)
	}
	c.mode.wipe()
	c.mode = nil
	return nil
}

// number is what the sector at off is encrypted with.
func (c *container) number(off int64) uint64 { return c.firstIV + uint64(off/sector512) }

func (c *container) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead(c.name, p, off, c.size)
	if len(p) == 0 {
		return 0, end
	}
	c.keys.RLock()
	defer c.keys.RUnlock()
	if c.mode == nil {
		return 0, fmt.Errorf("%s: %w", c.name, os.ErrClosed)
	}
	if n, err := c.readParts(p, off); err != nil {
		return n, fmt.Errorf("%s: reading at byte %d: %w", c.name, off+int64(n), err)
	}
	return len(p), end
}

// partSize is the least number of bytes worth a processor of their own.
const partSize = 256 << 10

// readParts reads all of p, on several processors if it is large. n is the number of bytes before the first that
// cannot be read.
func (c *container) readParts(p []byte, off int64) (n int, err error) {
	parts := min(runtime.GOMAXPROCS(0), len(p)/partSize)
	if parts < 2 {
		return c.readAll(p, off)
	}
	each := len(p) / parts / chunk * chunk
	type result struct {
		n   int
		err error
	}
	results := make([]result, parts)
	var wait sync.WaitGroup
	for i := range parts {
		part := p[i*each:]
		if i < parts-1 {
			part = part[:each]
		}
		wait.Go(func() { results[i].n, results[i].err = c.readAll(part, off+int64(i*each)) })
	}
	wait.Wait()
	for i, r := range results {
		if r.err != nil {
			return i*each + r.n, r.err
		}
	}
	return len(p), nil
}

func (c *container) readAll(p []byte, off int64) (done int, err error) {
	for done < len(p) {
		n, err := c.readSome(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readSome reads whole sectors straight to p, or a part of one.
func (c *container) readSome(p []byte, off int64) (int, error) {
	head := off % c.sector
	if head == 0 && int64(len(p)) >= c.sector {
		return c.readSectors(p[:min(int64(len(p))/c.sector*c.sector, chunk)], off)
	}
	buf := buffers.Get().(*[chunk]byte)
	defer buffers.Put(buf)
	sector := buf[:c.sector]
	if _, err := c.readSectors(sector, off-head); err != nil {
		return 0, err
	}
	return copy(p, sector[head:]), nil
}

// readSectors reads whole sectors. n is the number of bytes before the first that cannot be read.
func (c *container) readSectors(p []byte, off int64) (n int, err error) {
	n, err = mapping.ReadFull(c.dev, p, c.offset+off)
	n -= n % int(c.sector)
	c.mode.decrypt(p[:n], c.number(off))
	return n, err
}

// writable is a container on a device that can be written.
type writable struct {
	*container
	dev mapping.WritableDevice
	// sectors is held for writing by a read-modify-write and for reading by a write of
	// whole sectors.
	sectors sync.RWMutex
}

var _ mapping.WritableDevice = (*writable)(nil)

func (w *writable) Claim() error   { return w.dev.Claim() }
func (w *writable) Release() error { return w.dev.Release() }
func (w *writable) Sync() error    { return w.dev.Sync() }

// PunchHole fails: zeros on the disk are none in the container.
func (w *writable) PunchHole(off, n int64) error {
	return fmt.Errorf("%s: a hole in an encrypted device: %w", w.name, errors.ErrUnsupported)
}

func (w *writable) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite(w.name, off, int64(len(p)), w.size); err != nil {
		return 0, err
	}
	w.keys.RLock()
	defer w.keys.RUnlock()
	if w.mode == nil {
		return 0, fmt.Errorf("%s: %w", w.name, os.ErrClosed)
	}
	if off%w.sector == 0 && int64(len(p))%w.sector == 0 {
		w.sectors.RLock()
		defer w.sectors.RUnlock()
	} else {
		w.sectors.Lock()
		defer w.sectors.Unlock()
	}
	for done := 0; done < len(p); {
		n, err := w.writeSome(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, fmt.Errorf("%s: writing at byte %d: %w", w.name, off+int64(done), err)
		}
	}
	return len(p), nil
}

// writeSome writes from the start of p as much as fits a buffer, keeping what is beside it
// in its first and last sector.
func (w *writable) writeSome(p []byte, off int64) (int, error) {
	buf := buffers.Get().(*[chunk]byte)
	defer buffers.Put(buf)
	head := off % w.sector
	p = p[:min(int64(len(p)), chunk-head)]
	span := (head + int64(len(p)) + w.sector - 1) / w.sector * w.sector
	start, tail := off-head, span-head-int64(len(p))
	if head != 0 {
		if err := w.keep(buf[:w.sector], start); err != nil {
			return 0, err
		}
	}
	if last := span - w.sector; tail != 0 && (head == 0 || last != 0) {
		if err := w.keep(buf[last:span], start+last); err != nil {
			return 0, err
		}
	}
	copy(buf[head:], p)
	w.mode.encrypt(buf[:span], w.number(start))
	n, err := w.dev.WriteAt(buf[:span], w.offset+start)
	if int64(n) == span {
		return len(p), nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	return int(min(max(int64(n)/w.sector*w.sector-head, 0), int64(len(p)))), err
}

// keep reads a sector of which a part is to stay.
func (w *writable) keep(sector []byte, off int64) error {
	if _, err := w.readSectors(sector, off); err != nil {
		return fmt.Errorf("reading the sector at byte %d to change a part of it: %w", off, err)
	}
	return nil
}
