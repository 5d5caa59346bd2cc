package overlay

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"syscall"
)

type sectorOf = [sectorSize]byte

// step is a write of one sector, or without data a flush.
type step struct {
	sector int64
	data   *sectorOf
}

// disk is a file that remembers what was done to it, to have the power cut at any point of that.
type disk struct {
	mu      sync.Mutex
	sectors map[int64]sectorOf // as programs see them
	size    int64
	before  map[int64]sectorOf
	steps   []step
	punched int64 // bytes

	fail int   // number of writes and flushes that succeed before one fails; negative: all do
	err  error // that it fails with
	torn bool  // a write that fails has written half
}

var errDisk = errors.New("the disk does not write")

func newDisk() *disk { return &disk{sectors: map[int64]sectorOf{}, fail: -1, err: errDisk} }

func (d *disk) Name() string { return "disk" }

func (d *disk) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int(max(0, min(int64(len(p)), d.size-off)))
	for done := 0; done < n; {
		s := d.sectors[(off+int64(done))/sectorSize]
		done += copy(p[done:n], s[(off+int64(done))%sectorSize:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// refused says whether it is time to fail.
func (d *disk) refused() bool {
	d.fail--
	return d.fail == -1
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused() {
		if d.torn {
			d.change(p[:len(p)/2], off)
		}
		return 0, d.err
	}
	d.change(p, off)
	return len(p), nil
}

func (d *disk) change(p []byte, off int64) {
	d.size = max(d.size, off+int64(len(p)))
	for len(p) > 0 {
		i := off / sectorSize
		s := d.sectors[i]
		n := copy(s[off%sectorSize:], p)
		d.sectors[i] = s
		d.steps = append(d.steps, step{i, &s})
		p, off = p[n:], off+int64(n)
	}
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused() {
		return d.err
	}
	d.steps = append(d.steps, step{})
	return nil
}

func (d *disk) PunchHole(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.punched += n
	for i := off / sectorSize; i < (off+n)/sectorSize; i++ {
		delete(d.sectors, i)
		d.steps = append(d.steps, step{i, new(sectorOf)})
	}
	return nil
}

// NextData knows of holes in what is allocated by the page.
func (d *disk) NextData(off, end int64) (from, to int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const page = 4096
	from = end
	for i := range d.sectors {
		if at := max(off, i*sectorSize/page*page); i*sectorSize >= off/page*page && at < from {
			from = at
		}
	}
	return from, min(end, from/page*page+page), nil
}

func (d *disk) Close() error { return nil }

// begin forgets what was done until now.
func (d *disk) begin() {
	d.before, d.steps = maps.Clone(d.sectors), nil
}

// cut is the disk after a power cut behind the first n steps since begin. What was flushed is there; of the rest all,
// nothing or anything is, in any order.
func (d *disk) cut(n int) *disk {
	after := newDisk()
	after.sectors = maps.Clone(d.before)
	flushed := 0
	for i, s := range d.steps[:n] {
		if s.data == nil {
			flushed = i
		}
	}
	survives := rand.IntN(3)
	for i, s := range d.steps[:n] {
		if s.data != nil && (i < flushed || survives == 2 || survives == 1 && rand.IntN(2) == 0) {
			after.sectors[s.sector] = *s.data
		}
	}
	for i := range after.sectors {
		after.size = max(after.size, (i+1)*sectorSize)
	}
	return after
}

// fill makes a disk one without room for what is not yet in it.
func fill(d *disk) { d.fail, d.err = 0, syscall.ENOSPC }

// steady ends all failing.
func (d *disk) steady() { d.fail = -1 }

// flushes is how many there were since begin.
func (d *disk) flushes() int {
	n := 0
	for _, s := range d.steps {
		if s.data == nil {
			n++
		}
	}
	return n
}
