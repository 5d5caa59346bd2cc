package raid

import (
	"bytes"
	"fmt"
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

	inSync, n := c.synced.at(off, n)
	if !inSync {
		favour(places, c.writeMostly)
		if i := slices.IndexFunc(places, c.doubted); i >= 0 {
			places = places[:i+1]
		}
		return places, n
	}
	favoured := favour(places, func(p place) bool { return c.writeMostly(p) || c.all[p.leg].Behind })
	if favoured > 1 {
		turn := off / balanceRun
		n = min(n, (turn+1)*balanceRun-off)
		rotate(places[:favoured], int(turn%int64(favoured)))
	}
	return places, n
}

func (c *copies) writeMostly(p place) bool { return c.all[p.leg].WriteMostly }

func (c *copies) doubted(p place) bool { return c.all[p.leg].Doubted }

// favour moves the places that are last to the end, and says how many are not.
func favour(places []place, last func(place) bool) int {
	i := slices.IndexFunc(places, last)
	if i < 0 {
		return len(places)
	}
	slices.SortStableFunc(places, func(a, b place) int {
		switch la, lb := last(a), last(b); {
		case la == lb:
			return 0
		case lb:
			return -1
		}
		return 1
	})
	return slices.IndexFunc(places, last)
}

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
	if e.Kind != mapping.Missing && c.rivals() {
		return mapping.Extent{Kind: mapping.Computed, Length: e.Length} // only ReadAt compares
	}
	return e
}

func (c *copies) readAt(p []byte, off int64) (int, error) {
	if !c.rivals() {
		return c.readChosen(p, off)
	}
	for done := 0; done < len(p); {
		part := p[done:min(done+windowMax, len(p))]
		n, err := c.readChosen(part, off+int64(done))
		if err == nil {
			n, err = c.sameAsRivals(part, off+int64(done))
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), nil
}

func (c *copies) rivals() bool {
	return slices.ContainsFunc(c.all, func(leg Leg) bool { return leg.Rival != nil })
}

// sameAsRivals says how much of p, read from off, the rivals have too.
func (c *copies) sameAsRivals(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		places, n := c.layout.places(off+int64(done), nil)
		part := p[done : done+int(min(n, int64(len(p)-done)))]
		for _, at := range places {
			rival := c.all[at.leg].Rival
			if rival == nil {
				continue
			}
			buf := scratch(len(part))
			n, err := rival.ReadAt(*buf, c.base+at.x)
			same := bytes.Equal(*buf, part)
			release(buf)
			switch {
			case n < len(part):
				return done, fmt.Errorf("byte %d: leg %d: %w: %w", off+int64(done), at.leg, errRival, err)
			case !same:
				return done, fmt.Errorf("byte %d: leg %d: %w", off+int64(done), at.leg, errRival)
			}
		}
		done += len(part)
	}
	return len(p), nil
}

func (c *copies) readChosen(p []byte, off int64) (int, error) {
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
	if n, err := fill(holes, c.readAny); err != nil {
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

// readAny reads p from off, one copy after another.
func (c *copies) readAny(p []byte, off int64) (int, error) {
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
