package raid

import (
	"bytes"

	"lvm2fs/mapping"
)

// compareRun is a run of bytes of the array with its copies that can be used.
type compareRun struct {
	off, n int64
	copies []*verified
	inSync bool
}

func (c *copies) batches(v *verifier, start, end int64) func(yield func(*batch) bool) {
	return func(yield func(*batch) bool) {
		places, _ := c.layout.places(start, nil)
		window := verifyWindow(len(places))
		for off := start; off < end; off += window {
			if !yield(c.batch(v, off, min(off+window, end), len(places))) {
				return
			}
		}
	}
}

func (c *copies) batch(v *verifier, start, end int64, count int) *batch {
	b := &batch{legs: c.legs, end: end}
	free := v.slab(int64(count) * (end - start))
	var runs []compareRun
	known := newFaults(len(c.all), nil)
	for off := start; off < end; {
		places, n := c.layout.places(off, nil)
		run := compareRun{off: off}
		run.inSync, n = c.synced.at(off, min(n, end-off))
		var usable []place
		for _, p := range places {
			e := c.look(p.leg, p.x, n, known)
			n = e.Length
			if e.Kind != mapping.Missing {
				usable = append(usable, p)
			}
		}
		run.n = n
		for _, p := range usable {
			got := &verified{piece: piece{off: off, leg: p.leg, x: p.x, buf: free[:n:n]}}
			free = free[n:]
			b.pieces = append(b.pieces, got)
			run.copies = append(run.copies, got)
		}
		runs = append(runs, run)
		off += n
	}
	b.compare = func() error {
		for _, run := range runs {
			if err := c.compare(v, run); err != nil {
				return err
			}
		}
		return nil
	}
	return b
}

func (c *copies) compare(v *verifier, run compareRun) error {
	var bufs [][]byte
	whole := true
	for _, p := range run.copies {
		whole = whole && p.lost == nil
		bufs = append(bufs, p.buf)
		err := v.unreadable(p, func(x int64) (Place, int64) { return c.place(p, x, run.off+x-p.x), endless })
		if err != nil {
			return err
		}
	}
	if !run.inSync || len(bufs) < 2 {
		return nil
	}
	if whole && equal(bufs) {
		v.compared += run.n
		return nil
	}
	for at := int64(0); at < run.n; {
		// If the run begins where a sector of the leg does, each piece is such a sector.
		n := min(run.n-at, sector)
		if err := c.compareSector(v, run, at, n); err != nil {
			return err
		}
		at += n
	}
	return nil
}

func (c *copies) place(p *verified, x, off int64) Place {
	return Place{Leg: p.leg, LegOffset: c.base + x, Role: Data, Offset: off}
}

// compareSector compares n bytes at at of the run.
func (c *copies) compareSector(v *verifier, run compareRun, at, n int64) error {
	var places []Place
	var bufs [][]byte
	for _, p := range run.copies {
		if l, good := p.badAt(p.x+at, n); l == nil && good == n {
			places = append(places, c.place(p, p.x+at, run.off+at))
			bufs = append(bufs, p.buf[at:at+n])
		}
	}
	if len(bufs) < 2 {
		return nil
	}
	v.compared += n
	if equal(bufs) {
		return nil
	}
	against, most := 0, 0
	for i := range bufs {
		friends := 0
		for _, other := range bufs {
			if bytes.Equal(bufs[i], other) {
				friends++
			}
		}
		if friends > most {
			against, most = i, friends
		}
	}
	for i := range bufs {
		if bytes.Equal(bufs[i], bufs[against]) {
			continue
		}
		err := v.found(Finding{Problem: CopiesDiffer, Length: n, Places: append([]Place(nil), places...), Blamed: i, Against: against})
		if err != nil {
			return err
		}
	}
	return nil
}
