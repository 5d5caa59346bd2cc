package pdata

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Use is what a block of metadata is used for.
type Use uint8

// The uses of blocks. Kinds are not enough: all nodes of all trees are of one kind.
const (
	Unused Use = iota
	UsedAsSuperblock
	UsedAsLevel1
	UsedAsMappings
	UsedAsDetails
	UsedAsIndex
	UsedAsBitmap
	UsedAsCounts
	UsedAsIndexBlock
)

var useNames = [...]string{"unused", "superblock", "level 1", "mappings", "device details", "space map index", "bitmap", "tree of counts", "index block"}

func (u Use) String() string { return useNames[u] }

// Census counts how many references lead to each block of a metadata device, and looks for what is wrong with the
// nodes on the way. It goes into each block once, however many references lead there, so circles end too. Its memory
// is 13 bytes a block.
//
// It is not safe for concurrent use.
type Census struct {
	blocks     *Blocks
	found      func(error) error
	references []uint32
	uses       []Use
	entries    []uint64 // in the leaves beneath a node
	damaged    bool     // there are references that were not seen
}

// NewCensus makes a census that calls found with what is wrong. An error of found ends what is under way, which
// returns it.
func NewCensus(blocks *Blocks, found func(error) error) *Census {
	return &Census{
		blocks: blocks, found: found,
		references: make([]uint32, blocks.count), uses: make([]Use, blocks.count), entries: make([]uint64, blocks.count),
	}
}

// Whole says whether every reference was seen: no node was damaged.
func (c *Census) Whole() bool { return !c.damaged }

func (c *Census) damage(err error) error {
	c.damaged = true
	return c.found(err)
}

// Refer counts a reference to a block. fresh says that it is the first, and that the block may be looked into.
func (c *Census) Refer(number uint64, use Use) (fresh bool, err error) {
	if number >= c.blocks.count {
		return false, c.damage(fmt.Errorf("%w: a reference to block %d as %v; the device has %d", ErrDamaged, number, use, c.blocks.count))
	}
	if c.references[number] < math.MaxUint32 {
		c.references[number]++
	}
	switch c.uses[number] {
	case Unused:
		c.uses[number] = use
		return true, nil
	case use:
		return false, nil
	}
	return false, c.damage(fmt.Errorf("%w: block %d at byte %d is used as %v and as %v", ErrDamaged, number, number*BlockSize, c.uses[number], use))
}

// Tree goes through those parts of a tree that were not gone through yet. visit, which may be nil, is called with
// the entries of leaves seen for the first time. The result is the number of entries in all leaves.
func (c *Census) Tree(root uint64, use Use, valueSize int, visit func(key uint64, value []byte) error) (entries uint64, err error) {
	w := censusWalk{c, use, Tree{Blocks: c.blocks, ValueSize: valueSize}, visit}
	return w.node(root, 0, 0, math.MaxUint64)
}

type censusWalk struct {
	*Census
	use   Use
	tree  Tree
	visit func(key uint64, value []byte) error
}

// node goes through the node at number, whose keys are from <= key <= to.
func (w censusWalk) node(number uint64, depth int, from, to uint64) (uint64, error) {
	fresh, err := w.Refer(number, w.use)
	if !fresh || err != nil {
		if number < w.blocks.count {
			return w.entries[number], err
		}
		return 0, err
	}
	n, err := w.blocks.node(number)
	if err == nil {
		err = w.tree.fits(n, from, to)
	}
	if err == nil && depth == maxDepth {
		err = n.damaged("more than %d levels deep", maxDepth)
	}
	if err != nil {
		return 0, w.damage(err)
	}
	if err := w.fill(n, depth); err != nil {
		return 0, err
	}
	if n.leaf {
		w.entries[number] = uint64(n.entries)
		return uint64(n.entries), w.leaf(n)
	}
	sum := uint64(0)
	for i := range n.entries {
		last := to
		if i+1 < n.entries {
			last = n.key(i+1) - 1
		}
		below, err := w.node(binary.LittleEndian.Uint64(n.value(i)), depth+1, n.key(i), last)
		if err != nil {
			return 0, err
		}
		sum += below
	}
	w.entries[number] = sum
	return sum, nil
}

// fill finds fault with a node of another size than those that the kernel makes, or emptier than it leaves one.
func (w censusWalk) fill(n *node, depth int) error {
	if n.room != roomFor(n.valueSize) {
		return w.found(n.damaged("room for %d entries, not %d", n.room, roomFor(n.valueSize)))
	}
	if depth > 0 && n.entries < leastIn(n.room) {
		return w.found(n.damaged("%d entries, fewer than a third of %d", n.entries, n.room))
	}
	return nil
}

func (w censusWalk) leaf(n *node) error {
	if w.visit == nil {
		return nil
	}
	for i := range n.entries {
		if err := w.visit(n.key(i), n.value(i)); err != nil {
			return err
		}
	}
	return nil
}

// roomFor is the number of entries that a node has room for, a multiple of 3.
func roomFor(valueSize int) int {
	return (BlockSize - nodeHeaderSize) / (keySize + valueSize) / 3 * 3
}

// leastIn is the fewest entries that a node other than a root has.
func leastIn(room int) int { return room / 3 }

// SpaceMap counts the references that a space map itself makes.
func (c *Census) SpaceMap(m SpaceMap) error {
	if m.ofMetadata && m.Total > c.blocks.count {
		if err := c.damage(fmt.Errorf("%w: the metadata space map counts %d blocks, the device has %d", ErrDamaged, m.Total, c.blocks.count)); err != nil {
			return err
		}
	}
	if m.ofMetadata {
		if fresh, err := c.Refer(m.bitmapRoot, UsedAsIndexBlock); !fresh || err != nil {
			return err
		}
	} else if _, err := c.Tree(m.bitmapRoot, UsedAsIndex, indexEntrySize, nil); err != nil {
		return err
	}
	var stopped error
	err := m.entries(func(_ uint64, e indexEntry) error {
		var fresh bool
		if fresh, stopped = c.Refer(e.block, UsedAsBitmap); stopped != nil || !fresh {
			return stopped
		}
		if _, err := c.blocks.Read(e.block, Bitmap); err != nil {
			stopped = c.damage(err)
		}
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	if err != nil {
		if err := c.damage(err); err != nil {
			return err
		}
	}
	_, err = c.Tree(m.countRoot, UsedAsCounts, countSize, nil)
	return err
}

// Compare finds fault with the counts of the metadata space map that are not those of the census.
func (c *Census) Compare(m SpaceMap) error {
	r := countRun{what: "metadata block", found: c.found}
	if err := m.Each(0, c.blocks.count, func(block uint64, count uint32) error {
		return r.add(block, count, c.references[block])
	}); err != nil {
		if r.stopped != nil {
			return r.stopped
		}
		return c.found(err)
	}
	for block := m.Total; block < c.blocks.count; block++ {
		if err := r.add(block, 0, c.references[block]); err != nil {
			return err
		}
	}
	return r.flush()
}

// Used is the number of blocks to which references lead.
func (c *Census) Used() uint64 {
	n := uint64(0)
	for _, r := range c.references {
		if r > 0 {
			n++
		}
	}
	return n
}

// censusWindow bounds the memory for counts of data blocks, to 64 MiB.
const censusWindow = 1 << 24

// CompareData finds fault with the counts of a data space map that are not those of the mappings that the census
// saw. block gives the data block that a mapping leads to.
func (c *Census) CompareData(m SpaceMap, block func(value []byte) uint64) error {
	r := countRun{what: "data block", found: c.found}
	counts := make([]uint32, min(m.Total, censusWindow))
	for from := uint64(0); from < m.Total; from += censusWindow {
		clear(counts)
		if err := c.countData(counts, from, block); err != nil {
			return c.found(err)
		}
		if err := m.Each(from, from+censusWindow, func(block uint64, count uint32) error {
			return r.add(block, count, counts[block-from])
		}); err != nil {
			if r.stopped != nil {
				return r.stopped
			}
			return c.found(err)
		}
	}
	return r.flush()
}

// countData counts the mappings that lead to data blocks from on. Leaves that devices share count once.
func (c *Census) countData(counts []uint32, from uint64, block func(value []byte) uint64) error {
	for number, use := range c.uses {
		if use != UsedAsMappings {
			continue
		}
		n, err := c.blocks.node(uint64(number))
		if err != nil {
			return err
		}
		if !n.leaf {
			continue
		}
		for i := range n.entries {
			if at := block(n.value(i)); at >= from && at-from < uint64(len(counts)) && counts[at-from] < math.MaxUint32 {
				counts[at-from]++
			}
		}
	}
	return nil
}

// CountError is a run of blocks whose counts in a space map are wrong.
type CountError struct {
	What            string // of block it is
	From, To        uint64 // blocks, From <= block < To
	Counted, InFact uint32 // references, each
}

// Leak says that the blocks are never used again, which does no harm but to take their space.
func (e *CountError) Leak() bool { return e.Counted > e.InFact }

func (e *CountError) Error() string {
	blocks := fmt.Sprintf("%s %d has", e.What, e.From)
	if e.To > e.From+1 {
		blocks = fmt.Sprintf("%ss %d to %d have", e.What, e.From, e.To-1)
	}
	switch {
	case e.InFact == 0:
		return fmt.Sprintf("%s count %d in the space map, and is not in use", blocks, e.Counted)
	case e.Counted == 0:
		return fmt.Sprintf("%s %d references, and is free in the space map", blocks, e.InFact)
	}
	return fmt.Sprintf("%s %d references, and count %d in the space map", blocks, e.InFact, e.Counted)
}

// Unwrap makes the error one of [ErrDamaged].
func (e *CountError) Unwrap() error { return ErrDamaged }

// countRun joins neighbouring blocks that are wrong alike.
type countRun struct {
	what    string
	found   func(error) error
	open    *CountError
	stopped error // by found
}

func (r *countRun) add(block uint64, counted, inFact uint32) error {
	if r.open != nil && r.open.To == block && r.open.Counted == counted && r.open.InFact == inFact {
		r.open.To++
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	if counted != inFact {
		r.open = &CountError{r.what, block, block + 1, counted, inFact}
	}
	return nil
}

func (r *countRun) flush() error {
	if r.open == nil {
		return nil
	}
	e := r.open
	r.open = nil
	r.stopped = r.found(e)
	return r.stopped
}
