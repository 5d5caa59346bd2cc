package raid

import "fmt"

// RAID10 deals copies of chunks out over the legs. Near copies lie side by side, far
// copies in a later part of each leg, offset copies in the next row; far and offset
// copies are moved by as many legs as there are near ones.
//
//	near 2, 4 legs              near 2, 3 legs
//	row 0 | D0   D0   D1   D1   row 0 | D0   D0   D1
//	row 1 | D2   D2   D3   D3   row 1 | D1   D2   D2
//
//	offset 2, 4 legs            far 2, 4 legs, 4 chunks on each
//	row 0 | D0   D1   D2   D3   row 0 | D0   D1   D2   D3
//	row 1 | D3   D0   D1   D2   row 1 | D4   D5   D6   D7
//	row 2 | D4   D5   D6   D7   row 2 | D3   D0   D1   D2
//	row 3 | D7   D4   D5   D6   row 3 | D7   D4   D5   D6
//
// With far sets, copies move within sets of legs only:
//
//	far 2 with sets, 4 legs     far 2 with sets, 5 legs
//	row 0 | D0   D1   D2   D3   row 0 | D0   D1   D2   D3   D4
//	row 1 | D1   D0   D3   D2   row 1 | D1   D0   D4   D2   D3
//
// (docs/format/03-mapping-linear-striped-raid.md, section 5.6)
type raid10Layout struct {
	legs, near, far int64
	offset          bool
	setSize         int64 // legs of a far set
	chunk           int64
	stride          int64 // chunks from one far copy to the next
	chunks          int64 // of the array
}

// Near2 is the layout of RAID10 that LVM2 makes: two copies, side by side.
const Near2 = 0x102

func newRAID10Layout(g Geometry) (raid10Layout, error) {
	t := raid10Layout{
		legs:   int64(g.Legs),
		near:   int64(g.Layout & 0xff),
		far:    int64(g.Layout >> 8 & 0xff),
		offset: g.Layout>>16&1 != 0,
		chunk:  g.Chunk,
	}
	if t.near < 1 || t.far < 1 || t.near*t.far > t.legs || t.chunk < sector {
		return raid10Layout{}, fmt.Errorf("%w: raid10 layout %#x with %d legs", ErrGeometry, g.Layout, g.Legs)
	}
	switch g.Layout >> 17 {
	case 0:
		t.setSize = t.legs
	case 1:
		t.setSize = t.legs / t.far
	case 2:
		t.setSize = t.far * t.near
	default:
		return raid10Layout{}, fmt.Errorf("%w: raid10 layout %#x", ErrGeometry, g.Layout)
	}
	t.chunks = g.LegSize / t.chunk / t.far * t.legs / t.near
	t.stride = 1
	if !t.offset {
		used := (t.chunks*t.near*t.far + t.legs - 1) / t.legs
		t.stride = used / t.far
	}
	if t.collides() {
		return raid10Layout{}, fmt.Errorf("%w: raid10 layout %#x with %d legs puts two chunks in one place", ErrGeometry, g.Layout, g.Legs)
	}
	return t, nil
}

// collides says whether copies of two chunks fall on one place: the rules for odd
// combinations of near copies with offset or with far sets do that.
func (t raid10Layout) collides() bool {
	if t.offset && t.legs%t.near != 0 {
		return true
	}
	if t.far == 1 {
		return false
	}
	var taken [MaxLegs]bool
	for leg := range t.legs {
		to := t.next(leg)
		if taken[to] {
			return true
		}
		taken[to] = true
	}
	return false
}

func (t raid10Layout) places(off int64, into []place) ([]place, int64) {
	chunk, o := off/t.chunk, off%t.chunk
	leg := chunk * t.near % t.legs
	r := chunk * t.near / t.legs
	if t.offset {
		r *= t.far
	}
	for range t.near {
		into = append(into, place{int(leg), r*t.chunk + o})
		farLeg, farRow := leg, r
		for range t.far - 1 {
			farLeg, farRow = t.next(farLeg), farRow+t.stride
			into = append(into, place{int(farLeg), farRow*t.chunk + o})
		}
		if leg++; leg == t.legs {
			leg, r = 0, r+1
		}
	}
	return into, t.chunk - o
}

// next is the leg of the far copy that follows the one on leg. The last set holds the
// legs that are left over.
func (t raid10Layout) next(leg int64) int64 {
	set := leg / t.setSize
	last := (t.legs/t.setSize - 1) * t.setSize
	to := leg + t.near
	if over := t.legs % t.setSize; over != 0 && to > last {
		return (to-last)%(t.setSize+over) + last
	}
	return to%t.setSize + t.setSize*set
}
