package raid

import "sync"

// Reading many small chunks one by one costs more in calls than in bytes. The chunks that
// one leg has in consecutive rows lie next to each other on it, so they are read in one
// go and then dealt out.

// piece is a part of a chunk that is to be read from a leg.
type piece struct {
	off    int64 // of the array; of an extra piece that of its row
	extra  bool  // not asked for, but needed to rebuild what was
	leg    int
	x      int64 // on the leg, from the data offset
	buf    []byte
	failed bool // set by gather; buf then holds nothing of use
}

const (
	joinBelow = 64 << 10 // larger pieces are read straight to their place
	joinGap   = 8 << 10  // what may be read in vain between two pieces
	joinMax   = 1 << 20  // bytes of one joined read
)

// gather reads all pieces. Those of one leg are best in the order of x.
func (l legs) gather(pieces []piece) {
	if len(pieces) == 1 {
		l.one(&pieces[0])
	}
	if len(pieces) < 2 {
		return
	}
	var counts [MaxLegs + 1]int32
	for i := range pieces {
		counts[pieces[i].leg+1]++
	}
	for i := range MaxLegs {
		counts[i+1] += counts[i]
	}
	order := make([]int32, len(pieces))
	for i := range pieces {
		at := &counts[pieces[i].leg]
		order[*at] = int32(i)
		*at++
	}
	for len(order) > 0 {
		n := joined(pieces, order)
		l.group(pieces, order[:n])
		order = order[n:]
	}
}

// joined is the number of pieces, of those in order, that make one read.
func joined(pieces []piece, order []int32) int {
	first := &pieces[order[0]]
	if len(first.buf) >= joinBelow {
		return 1
	}
	end := first.x + int64(len(first.buf))
	for n := 1; n < len(order); n++ {
		next := &pieces[order[n]]
		if next.leg != first.leg || len(next.buf) >= joinBelow || next.x < end || next.x-end > joinGap ||
			next.x+int64(len(next.buf))-first.x > joinMax {
			return n
		}
		end = next.x + int64(len(next.buf))
	}
	return len(order)
}

func (l legs) group(pieces []piece, order []int32) {
	if len(order) > 1 {
		first, last := &pieces[order[0]], &pieces[order[len(order)-1]]
		buf := scratch(int(last.x + int64(len(last.buf)) - first.x))
		defer release(buf)
		// A fault anywhere, perhaps between the pieces, is left to the single reads.
		if n, _ := l.all[first.leg].Volume.ReadAt(*buf, l.base+first.x); n == len(*buf) {
			for _, i := range order {
				copy(pieces[i].buf, (*buf)[pieces[i].x-first.x:])
			}
			return
		}
	}
	for _, i := range order {
		l.one(&pieces[i])
	}
}

func (l legs) one(p *piece) {
	n, _ := l.read(p.leg, p.buf, p.x, l.faults)
	p.failed = n < len(p.buf)
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// scratch is n bytes of any contents, to be given back with release.
func scratch(n int) *[]byte {
	buf := buffers.Get().(*[]byte)
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:n]
	return buf
}

func release(buf *[]byte) { buffers.Put(buf) }

// arena hands out scratch memory that is given back as a whole.
type arena struct {
	held []*[]byte
	free []byte
}

func (a *arena) take(n int) []byte {
	if len(a.free) < n {
		buf := scratch(max(n, 256<<10))
		a.held = append(a.held, buf)
		a.free = *buf
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	return out
}

func (a *arena) release() {
	for _, buf := range a.held {
		release(buf)
	}
	*a = arena{}
}
