package rebuild

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
)

// hole is a node that is damaged, or that does not fit where it is, and to which a way leads. What is beneath it is
// lost sight of.
type hole struct {
	block  uint64
	height int8 // unknown if nothing tells it
	places []where
	nodes  []*orphan // that it admits, in order of keys
}

// where is where a hole is in a device.
type where struct {
	device   *Device
	from, to uint64
}

// admits says whether a node may be beneath the hole.
func (h *hole) admits(x *fact) bool {
	if h.height != unknown && x.height >= h.height {
		return false
	}
	for _, p := range h.places {
		if !x.fits(p.from, p.to) {
			return false
		}
	}
	return true
}

// orphan is a node that is in use, and to which no whole way leads.
type orphan struct {
	number uint64
	*fact
	excess int  // references that were not seen
	exact  bool // excess is known, not only that there is some
	vague  bool // it is not known whether it is in use
	fits   []*hole
	grade  Grade
	why    string
	used   bool
}

// gap is the grade of a run between nodes, until it is known whether a node is missing there.
const gap Grade = 100

// filler puts nodes into the places of holes.
type filler struct {
	*facts
	placed  uint64 // mappings in what was put in
	strange bool   // nodes are in each other's way
}

// fill makes runs of the chunks from <= chunk <= to, where a damaged node was, from the nodes that were beneath it.
// These are in order of keys.
func (f *filler) fill(from, to uint64, nodes []*orphan) (runs []Run) {
	if len(nodes) == 0 {
		return []Run{{From: from, To: to, Grade: Lost, Why: "the node that has them is damaged"}}
	}
	tallest := int8(0)
	for _, n := range nodes {
		tallest = max(tallest, n.height)
	}
	var tall, low []*orphan
	for _, n := range nodes {
		if n.height == tallest {
			tall = append(tall, n)
		} else {
			low = append(low, n)
		}
	}
	at := from
	for i := 0; i < len(tall); {
		first, last, next := tall[i].first, tall[i].last, i+1
		for ; next < len(tall) && tall[next].first <= last; next++ {
			last = max(last, tall[next].last)
		}
		if first > at {
			runs = append(runs, f.between(at, first-1, low)...)
		}
		end := to
		if next < len(tall) {
			end = tall[next].first - 1
		}
		if next > i+1 {
			f.strange = true
			for _, n := range tall[i:next] {
				n.used = true
			}
			runs = append(runs, Run{From: first, To: last, Grade: Contradictory, Why: fmt.Sprintf("%d nodes may have them, and nothing says which", next-i)})
			if last < end {
				runs = append(runs, f.between(last+1, end, low)...)
			}
		} else {
			runs = append(runs, f.within(tall[i], end, low)...)
		}
		if end == math.MaxUint64 {
			return runs
		}
		at, i = end+1, next
	}
	return runs
}

// inside are the nodes whose keys are all from <= key <= to.
func inside(nodes []*orphan, from, to uint64) (found []*orphan) {
	i := sort.Search(len(nodes), func(i int) bool { return nodes[i].first >= from })
	for ; i < len(nodes) && nodes[i].first <= to; i++ {
		if nodes[i].last <= to {
			found = append(found, nodes[i])
		}
	}
	return found
}

// between fills the room between nodes, where another may be missing.
func (f *filler) between(from, to uint64, low []*orphan) []Run {
	if found := inside(low, from, to); len(found) > 0 {
		return f.fill(from, to, found)
	}
	return []Run{{From: from, To: to, Grade: gap}}
}

// within puts a node into its place, which goes up to end, and others into the damaged places beneath it.
func (f *filler) within(n *orphan, end uint64, low []*orphan) (runs []Run) {
	n.used = true
	f.placed += n.entries
	at, done := n.first, false
	f.damaged(n.number, n.first, end, func(_ uint64, from, to uint64, _ int8) {
		if from > at {
			runs = append(runs, Run{From: at, To: from - 1, Grade: n.grade, Root: n.number, Why: n.why})
		}
		runs = append(runs, f.fill(from, to, inside(low, from, to))...)
		at, done = to+1, to == end
	})
	if done {
		return runs
	}
	if at <= n.last {
		runs = append(runs, Run{From: at, To: n.last, Grade: n.grade, Root: n.number, Why: n.why})
		if n.last == end {
			return runs
		}
		at = n.last + 1
	}
	return append(runs, f.between(at, end, low)...)
}

// damaged calls visit with each damaged place of a tree, in order, with the height of what was there. It goes down
// only where there is one.
func (f *facts) damaged(number, from, to uint64, visit func(block, from, to uint64, height int8)) {
	f.damagedBelow(number, from, to, unknown, 0, visit)
}

func (f *facts) damagedBelow(number, from, to uint64, height int8, depth int, visit func(block, from, to uint64, height int8)) {
	x := f.settle(number, 0)
	if x == nil || !x.is(isNode|isSettled) || !x.is(isInner) && !x.is(hasPlaces) || !x.fits(from, to) ||
		height != unknown && x.height != unknown && x.height != height || depth == maxDepth {
		visit(number, from, to, height)
		return
	}
	if x.is(isWhole) {
		return
	}
	below := height - 1
	if x.height != unknown {
		below = x.height - 1
	}
	if height == unknown && x.height == unknown {
		below = unknown
	}
	f.children(number, from, to, func(child, childFrom, childTo uint64) {
		f.damagedBelow(child, childFrom, childTo, below, depth+1, visit)
	})
}

// overlay puts runs in the place of what others say of the same chunks.
func overlay(runs, over []Run) []Run {
	all := slices.Clone(over)
	for _, r := range runs {
		i := sort.Search(len(over), func(i int) bool { return over[i].To >= r.From })
		left := true
		for ; i < len(over) && over[i].From <= r.To; i++ {
			if over[i].From > r.From {
				before := r
				before.To = over[i].From - 1
				all = append(all, before)
			}
			if over[i].To >= r.To {
				left = false
				break
			}
			r.From = over[i].To + 1
		}
		if left {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Run) int { return cmp.Compare(a.From, b.From) })
	return all
}
