package raid

import (
	"bytes"
	"fmt"
)

// Settler is a Log of an array with dirty regions. Before its first Mark returns, it has them settled.
type Settler interface {
	Log
	Settles()
}

// Settle brings n bytes from x on in sync, counted as [Config.InSync] is. All copies become the first of them, and
// parity that of its data. What agrees already is only read. The array must not have been written yet, and where
// there is parity all legs must be there. Once all that is dirty has been settled, and is on stable storage, see
// [Array.Settled].
func (a *Array) Settle(x, n int64) error {
	if len(a.parts) != 1 {
		return fmt.Errorf("raid: %w: it has %d parts", ErrNotWhole, len(a.parts))
	}
	body := a.parts[0].body
	l := body.members()
	_, parity := body.(*rows)
	for i := range l.all {
		if l.out(i) && !parity {
			continue
		}
		if l.out(i) || l.all[i].InSync != All {
			return fmt.Errorf("raid: leg %d: %w", i, ErrNotWhole)
		}
	}
	end := a.geometry.Size()
	if r, ok := body.(*rows); ok {
		end = a.geometry.LegSize / r.chunk * r.chunk
	}
	return body.settle(x, min(n, end-x))
}

// Settled syncs all legs. From then on nothing of the array counts as dirty, and its legs are read as in sync.
func (a *Array) Settled() error {
	if err := a.parts[0].body.members().sync(); err != nil {
		return err
	}
	a.settled.Store(true)
	return nil
}

// settleStep is the number of bytes that are compared at a time.
const settleStep = 1 << 20

func (c *copies) settle(off, n int64) error {
	for step := range steps(off, n) {
		want := make([]byte, step.end-step.start)
		if _, err := c.readAt(want, step.start); err != nil {
			return err
		}
		err := c.eachPlace(step.start, step.end, func(at place, from, n int64) error {
			return c.makeSame(at.leg, at.x, want[from-step.start:][:n])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rows) settle(x, n int64) error {
	if r.parity() == 0 {
		return nil
	}
	for step := range steps(x, n) {
		for x := step.start; x < step.end; {
			end := min(step.end, (x/r.chunk+1)*r.chunk)
			if err := r.settleRow(x, end); err != nil {
				return err
			}
			x = end
		}
	}
	return nil
}

// settleRow makes parity true between x and end, which are of one row.
func (r *rows) settleRow(x, end int64) error {
	n := x / r.chunk
	rw := r.row(n)
	var shards [][]byte
	for k := range rw.data {
		buf := make([]byte, end-x)
		if _, err := r.readAny(buf, n*r.stripe+int64(k)*r.chunk+x%r.chunk); err != nil {
			return err
		}
		shards = append(shards, buf)
	}
	var parity [][]byte
	for range r.parity() {
		parity = append(parity, make([]byte, end-x))
	}
	if err := r.sumEncoder(&sum{row: n}).Encode(append(shards, parity...)); err != nil {
		return err
	}
	for i, leg := range [2]int{rw.p, rw.q} {
		if leg == none {
			continue
		}
		if err := r.makeSame(leg, x, parity[i]); err != nil {
			return err
		}
	}
	return nil
}

// makeSame has a leg hold want at x. A leg that cannot be read there is written.
func (l legs) makeSame(leg int, x int64, want []byte) error {
	is := make([]byte, len(want))
	if _, err := l.all[leg].Volume.ReadAt(is, l.base+x); err == nil && bytes.Equal(is, want) {
		return nil
	}
	return l.write(leg, []piece{{leg: leg, x: x, buf: want}}, len(want))
}

// steps are the parts of n bytes from start on that are done at a time.
func steps(start, n int64) func(yield func(span) bool) {
	return func(yield func(span) bool) {
		for end := start + n; start < end; start += settleStep {
			if !yield(span{start, min(end, start+settleStep)}) {
				return
			}
		}
	}
}
