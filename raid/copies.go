package raid

import (
	"slices"

	"lvm2fs/mapping"
)

// place is where a copy of a byte is: on which leg, and at which x from the data offset.
type place struct {
	leg int
	x   int64
}

// copies reads the levels that keep several copies of every byte, RAID1 and RAID10.
type copies struct {
	legs
	synced synced
	layout interface {
		// places appends the places of the byte at off, the first copy first, and says
		// for how many bytes they go on.
		places(off int64, into []place) ([]place, int64)
	}
}

// balanceRun is the number of bytes that are read from one leg before it is the next
// one's turn. It is so large that each leg sees long sequential reads and the system's
// caches hold one copy, while readers at different places keep all legs busy.
const balanceRun = 64 << 20

// choices appends the places of the byte at off, the one to be read first, and says for
// how many of max bytes that order holds. Where copies may differ the order is always
// the same, so that two reads never differ either.
func (c *copies) choices(off, max int64, into []place) ([]place, int64) {
	places, n := c.layout.places(off, into)
	n = min(n, max)

	favoured := len(places)
	if slices.ContainsFunc(places, c.writeMostly) {
		slices.SortStableFunc(places, func(a, b place) int {
			switch wa, wb := c.writeMostly(a), c.writeMostly(b); {
			case wa == wb:
				return 0
			case wb:
				return -1
			}
			return 1
		})
		favoured = slices.IndexFunc(places, c.writeMostly)
	}
	inSync, n := c.synced.at(off, n)
	if inSync && favoured > 1 {
		turn := off / balanceRun
		n = min(n, (turn+1)*balanceRun-off)
		rotate(places[:favoured], int(turn%int64(favoured)))
	}
	return places, n
}

func (c *copies) writeMostly(p place) bool { return c.all[p.leg].WriteMostly }

func rotate(s []place, k int) {
	slices.Reverse(s[:k])
	slices.Reverse(s[k:])
	slices.Reverse(s)
}

// choose is the place of the first copy that can be used, and its extent; a missing
// extent if there is none.
func (c *copies) choose(off, max int64, f *faults) (place, mapping.Extent) {
	var store [8]place
	places, n := c.choices(off, max, store[:0])
	var first mapping.Extent
	for i, p := range places {
		e := c.look(p.leg, p.x, n, f)
		if e.Kind != mapping.Missing {
			return p, e
		}
		n = e.Length
		if i == 0 {
			first = e
		}
	}
	first.Length = n
	return place{}, first
}

func (c *copies) mapAt(off, max int64, f *faults) mapping.Extent {
	_, e := c.choose(off, max, f)
	return e
}

func (c *copies) readAt(p []byte, off int64) (int, error) {
	if at, e := c.choose(off, int64(len(p)), c.faults); e.Kind != mapping.Missing && e.Length == int64(len(p)) {
		if _, err := c.read(at.leg, p, at.x, c.faults); err == nil {
			return len(p), nil
		}
	}
	var pieces []piece
	var holes []hole
	for done := int64(0); done < int64(len(p)); {
		at, e := c.choose(off+done, int64(len(p))-done, c.faults)
		buf := p[done : done+e.Length]
		if e.Kind == mapping.Missing {
			holes = append(holes, hole{off + done, buf})
		} else if last := len(pieces) - 1; last >= 0 && pieces[last].follows(at, off+done) {
			pieces[last].buf = p[pieces[last].off-off : done+e.Length]
		} else {
			pieces = append(pieces, piece{off: off + done, leg: at.leg, x: at.x, buf: buf})
		}
		done += e.Length
	}
	c.gather(pieces)
	for _, p := range pieces {
		if p.failed {
			holes = append(holes, hole{p.off, p.buf})
		}
	}
	if n, err := fill(holes, c.persist); err != nil {
		return int(n - off), err
	}
	return len(p), nil
}

// follows says whether the byte at off of the array, and at its place, comes behind p in
// both.
func (p *piece) follows(at place, off int64) bool {
	n := int64(len(p.buf))
	return p.leg == at.leg && p.x+n == at.x && p.off+n == off
}

// persist reads p from off, one copy after another.
func (c *copies) persist(p []byte, off int64) (int, error) {
	f := c.faults
	var failure error
	done := 0
	for done < len(p) {
		at, e := c.choose(off+int64(done), int64(len(p)-done), f)
		switch {
		case e.Kind != mapping.Missing:
			n, err := c.read(at.leg, p[done:int64(done)+e.Length], at.x, f)
			if err != nil {
				failure = err
			}
			done += n
		case f == c.faults:
			f = f.again()
		default:
			return done, lossError(off+int64(done), e.Err, failure)
		}
	}
	return done, nil
}
