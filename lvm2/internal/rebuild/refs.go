package rebuild

import (
	"math"

	"lvm2fs/lvm2/internal/pdata"
)

// Age is where the trees of a pool begin at one time, as a superblock says. A block of 0 is not known.
type Age struct {
	Level1, Details uint64
	Metadata, Data  *pdata.SpaceMap // nil if not known
	Counts          *pdata.Counts   // in the place of Metadata
	Guessed         bool            // Counts may be of another age
	Held            *Held           // what somebody has asked the kernel to keep; nil for nothing
}

// Held is a superblock that is kept, and where its trees begin; those are 0 if it cannot be read.
type Held struct{ Block, Level1, Details uint64 }

// role is what the leaves of a tree lead to.
type role uint8

const (
	toNothing role = iota
	toTrees        // of a level 1: to level 2
	toBitmaps      // of the index of a data space map
)

// census counts the references that lead to each block from nodes that are whole.
type census struct {
	*facts
	refs []uint16        // as far as they were seen; no more than math.MaxUint16
	seen []bool          // a whole way leads there from the superblock
	tops map[uint64]bool // nodes of a level 1 among those
}

func newCensus(f *facts) *census {
	return &census{facts: f, refs: make([]uint16, len(f.of)), seen: make([]bool, len(f.of)), tops: map[uint64]bool{}}
}

// age counts the references that the superblock leads to.
func (c *census) age(a Age, level1 []uint64) {
	c.refer(0, toNothing, 0)
	for _, root := range append([]uint64{a.Level1}, level1...) {
		c.root(root, toTrees)
	}
	c.root(a.Details, toNothing)
	if a.Held != nil {
		c.count(a.Held.Block)
		c.root(a.Held.Level1, toTrees)
		c.root(a.Held.Details, toNothing)
	}
	for _, m := range []*pdata.SpaceMap{a.Data, a.Metadata} {
		if m == nil {
			continue
		}
		index, counts := m.Roots()
		c.root(counts, toNothing)
		if m == a.Data {
			c.root(index, toBitmaps)
			continue
		}
		c.count(index)
		m.EachBitmap(c.count)
	}
}

func (c *census) root(number uint64, r role) {
	if number != 0 {
		c.refer(number, r, 0)
	}
}

// count counts a reference to a block.
func (c *census) count(number uint64) {
	if number < uint64(len(c.refs)) && c.refs[number] < math.MaxUint16 {
		c.refs[number]++
	}
}

// refer counts a reference to a node, and those from there on.
func (c *census) refer(number uint64, r role, depth int) {
	c.count(number)
	x := c.get(number)
	if x == nil || c.seen[number] || !x.is(isNode) || depth == 2*maxDepth {
		return
	}
	c.seen[number] = true
	if r == toTrees {
		c.tops[number] = true
	}
	c.follow(number, r, depth)
}

// follow counts the references from a node.
func (c *census) follow(number uint64, r role, depth int) {
	x := c.get(number)
	if !x.is(isInner) && r == toNothing {
		return
	}
	n, err := c.blocks.ReadNode(number)
	if err != nil {
		return
	}
	for i := range n.Len() {
		switch {
		case !n.Leaf():
			c.refer(n.Uint64(i), r, depth+1)
		case r == toTrees && n.ValueSize() == mappingSize:
			c.refer(n.Uint64(i), toNothing, depth+1)
		case r == toBitmaps && n.ValueSize() == 16:
			c.count(pdata.IndexedBlock(n.Value(i)))
		}
	}
}

// orphans counts the references from nodes that are in use, but to which no way leads. Call it after all ways have
// been followed.
func (c *census) orphans(counts pdata.Counts) {
	for number := range c.of {
		b := uint64(number)
		if x := c.get(b); x.is(isInner) && !c.seen[b] {
			if count, _ := counts.Of(b); count > 0 {
				c.children(b, 0, math.MaxUint64, func(child, _, _ uint64) { c.count(child) })
			}
		}
	}
}
