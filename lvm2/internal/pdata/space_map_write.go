package pdata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrNoRoom: no block is free.
var ErrNoRoom = errors.New("no block is free")

// SpaceMapWriter is a space map that is being changed. What has changed since the last commit is kept apart until the next, when
// it goes into bitmaps and tree:
//
//	on disk    count 0  →  can be taken, if it is 0 now too
//	           count 1  →  not before the commit that makes it 0: what the disk leads to must stay
//
// (docs/format/06-thin.md, sections 6, 7 and 10)
type SpaceMapWriter struct {
	tx  *Transaction
	was SpaceMap // on disk
	now SpaceMap

	index   []indexEntry
	bitmaps map[uint64][]byte // on disk, those that were read
	changed map[uint64]uint32 // counts
	touched map[uint64]bool   // bitmaps that they are in
	inTree  int               // changes of counts that are, or were, in the tree

	cursor    uint64 // where the search for a free block goes on
	full      bool   // it found none, and none has become free
	available uint64 // blocks that can be taken
	high      uint64 // blocks whose counts are in the tree, by now
	wasHigh   uint64 // those on disk

	work   map[uint64][]byte // bitmaps of this transaction
	stored map[uint64]uint32 // counts of this transaction that are in them
}

func newSpaceMapWriter(tx *Transaction, m SpaceMap) (*SpaceMapWriter, error) {
	c := &SpaceMapWriter{tx: tx, was: m, bitmaps: map[uint64][]byte{}}
	if err := m.entries(func(_ uint64, e indexEntry) error {
		c.index = append(c.index, e)
		return nil
	}); err != nil {
		return nil, err
	}
	if err := c.count(); err != nil {
		return nil, err
	}
	c.begin()
	return c, nil
}

func (c *SpaceMapWriter) begin() {
	c.now = c.was
	c.changed, c.touched, c.inTree = map[uint64]uint32{}, map[uint64]bool{}, 0
	c.work, c.stored = map[uint64][]byte{}, map[uint64]uint32{}
	c.full = false
	c.wasHigh = c.high
}

// count finds out how many blocks can be taken, and how many counts are in the tree.
func (c *SpaceMapWriter) count() error {
	for i, e := range c.index {
		b, err := c.tx.blocks.Read(e.block, Bitmap)
		if err != nil {
			return err
		}
		for at := range min(bitmapBlocks, c.was.Total-uint64(i)*bitmapBlocks) {
			switch bitsOf(b, at) {
			case 0:
				c.available++
			case inTree:
				c.high++
			}
		}
	}
	return nil
}

func (c *SpaceMapWriter) bitmap(i uint64) ([]byte, error) {
	if b := c.bitmaps[i]; b != nil {
		return b, nil
	}
	b, err := c.tx.blocks.Read(c.index[i].block, Bitmap)
	if err == nil {
		c.bitmaps[i] = b
	}
	return b, err
}

// onDisk is the count of a block that the last commit left.
func (c *SpaceMapWriter) onDisk(block uint64) (uint32, error) {
	if block >= c.was.Total {
		return 0, fmt.Errorf("%w: a reference to block %d, of %d", ErrDamaged, block, c.was.Total)
	}
	b, err := c.bitmap(block / bitmapBlocks)
	if err != nil {
		return 0, err
	}
	if count := bitsOf(b, block%bitmapBlocks); count != inTree {
		return count, nil
	}
	return countInTree(c.was.counts(), block)
}

// Count is the count of a block now.
func (c *SpaceMapWriter) Count(block uint64) (uint32, error) {
	if count, ok := c.changed[block]; ok {
		return count, nil
	}
	return c.onDisk(block)
}

// Add changes the count of a block, and gives what it is then.
func (c *SpaceMapWriter) Add(block uint64, by int) (uint32, error) {
	onDisk, err := c.onDisk(block)
	if err != nil {
		return 0, err
	}
	count, ok := c.changed[block]
	if !ok {
		count = onDisk
	}
	next := int64(count) + int64(by)
	if next < 0 || next > 1<<32-1 {
		return 0, fmt.Errorf("%w: block %d has count %d, and %+d", ErrDamaged, block, count, by)
	}
	c.changed[block] = uint32(next)
	c.touched[block/bitmapBlocks] = true
	if count >= inTree || next >= inTree {
		c.inTree++
	}
	switch {
	case count < inTree && next >= inTree:
		c.high++
	case count >= inTree && next < inTree:
		c.high--
	}
	switch {
	case onDisk == 0 && count == 0 && next > 0:
		c.available--
	case onDisk == 0 && count > 0 && next == 0:
		c.available++
		c.full = false
	}
	return uint32(next), nil
}

// Allocate takes the next free blocks, at least one and at most n in a row, and gives each a count of 1. It fails
// with ErrNoRoom.
func (c *SpaceMapWriter) Allocate(n uint64) (first, count uint64, err error) {
	first, err = c.findFree()
	if err != nil {
		return 0, 0, err
	}
	for count < n && first+count < c.was.Total {
		free, err := c.isFree(first + count)
		if err != nil || !free {
			break
		}
		if _, err := c.Add(first+count, 1); err != nil {
			return 0, 0, err
		}
		count++
	}
	c.cursor = first + count
	return first, count, nil
}

func (c *SpaceMapWriter) isFree(block uint64) (bool, error) {
	b, err := c.bitmap(block / bitmapBlocks)
	if err != nil {
		return false, err
	}
	return bitsOf(b, block%bitmapBlocks) == 0 && c.changed[block] == 0, nil
}

func (c *SpaceMapWriter) findFree() (uint64, error) {
	if c.full || c.was.Total == 0 {
		return 0, ErrNoRoom
	}
	if c.cursor >= c.was.Total {
		c.cursor = 0
	}
	begin := c.cursor / bitmapBlocks
	bitmaps := c.was.bitmaps()
	for k := range bitmaps + 1 { // the first again, for what is before the cursor
		i := (begin + k) % bitmaps
		if c.bitmaps[i] == nil && c.index[i].free == 0 {
			continue
		}
		from := i * bitmapBlocks
		if k == 0 {
			from = c.cursor
		}
		for block := from; block < min(c.was.Total, (i+1)*bitmapBlocks); block++ {
			free, err := c.isFree(block)
			if err != nil {
				return 0, err
			}
			if free {
				return block, nil
			}
		}
	}
	c.full = true
	return 0, ErrNoRoom
}

// store brings what has changed into bitmaps and tree. These are kept in blocks of metadata, so storing changes the
// counts of those blocks. For the metadata it therefore goes on until nothing changes any more.
func (c *SpaceMapWriter) store() error {
	for {
		pending := false
		for _, block := range slices.Sorted(maps.Keys(c.changed)) {
			did, err := c.storeOne(block)
			if err != nil {
				return err
			}
			pending = pending || did
		}
		if !pending {
			return nil
		}
	}
}

func (c *SpaceMapWriter) storeOne(block uint64) (did bool, err error) {
	was, ok := c.stored[block]
	if !ok {
		if was, err = c.onDisk(block); err != nil {
			return false, err
		}
	}
	now := c.changed[block]
	if was == now {
		return false, nil
	}
	i, at := block/bitmapBlocks, block%bitmapBlocks
	b, err := c.shadowBitmap(i)
	if err != nil {
		return false, err
	}
	setBits(b, at, min(now, inTree))
	c.stored[block] = now
	e := &c.index[i]
	switch {
	case was == 0:
		c.now.Allocated++
		e.free -= min(e.free, 1)
	case now == 0:
		c.now.Allocated -= min(c.now.Allocated, 1)
		e.free++
		e.first = min(e.first, uint32(at))
	}
	counts := treeWriter{tx: c.tx, valueSize: countSize}
	switch {
	case now >= inTree:
		c.now.countRoot, _, err = counts.put(c.now.countRoot, block, binary.LittleEndian.AppendUint32(nil, now))
	case was >= inTree:
		c.now.countRoot, _, err = counts.remove(c.now.countRoot, block)
	}
	return true, err
}

// countsOfChange is the most counts that one change changes. A node that was shared is copied on each level of a
// tree; then all that it leads to has one reference more.
const countsOfChange = 5 * 252

// mostToStore bounds the blocks that store and storeIndex take after one more change.
func (c *SpaceMapWriter) mostToStore() uint64 {
	bitmaps := c.was.bitmaps()
	if c.was.ofMetadata { // a commit takes blocks anywhere
		return 1 + bitmaps + c.mostCountNodes()
	}
	touched := min(bitmaps, uint64(len(c.touched))+countsOfChange)
	return touched + min(maxLevels*touched, mostNodes(bitmaps, indexEntrySize)) + c.mostCountNodes()
}

// mostCountNodes bounds the nodes that the tree of counts takes: by those on the way to what has changed, and by
// those that the whole tree can have.
func (c *SpaceMapWriter) mostCountNodes() uint64 {
	changed := maxLevels * (uint64(c.inTree) + countsOfChange)
	return min(changed, mostNodes(min(max(c.high, c.wasHigh)+countsOfChange, c.was.Total), countSize))
}

// maxLevels is how deep a tree gets in which each node is as empty as it may be, with 2^32 entries.
const maxLevels = 6

// mostNodes bounds the nodes of a tree of n entries. Only the root may be emptier than a third.
func mostNodes(n uint64, valueSize int) uint64 {
	leaves := n/uint64(leastIn(roomFor(valueSize))) + 1
	return leaves + leaves/uint64(leastIn(roomFor(8))-1) + 1
}

func (c *SpaceMapWriter) shadowBitmap(i uint64) ([]byte, error) {
	if b := c.work[i]; b != nil {
		return b, nil
	}
	old, err := c.bitmap(i)
	if err != nil {
		return nil, err
	}
	number, b, err := c.tx.replace(c.index[i].block, Bitmap)
	if err != nil {
		return nil, err
	}
	copy(b[bitmapHeaderSize:], old[bitmapHeaderSize:])
	c.index[i].block = number
	c.work[i] = b
	return b, nil
}

// storeIndex is for the map of a data device: it brings the entries of changed bitmaps into the index.
func (c *SpaceMapWriter) storeIndex() (err error) {
	index := treeWriter{tx: c.tx, valueSize: indexEntrySize}
	for _, i := range slices.Sorted(maps.Keys(c.work)) {
		value := make([]byte, indexEntrySize)
		c.index[i].encode(value)
		if c.now.bitmapRoot, _, err = index.put(c.now.bitmapRoot, i, value); err != nil {
			return err
		}
	}
	return nil
}

// committed is for when the disk leads to what has been stored. It gives the blocks that are free since.
func (c *SpaceMapWriter) committed() (freed []uint64, err error) {
	for _, block := range slices.Sorted(maps.Keys(c.changed)) {
		if c.changed[block] > 0 {
			continue
		}
		was, err := c.onDisk(block)
		if err != nil {
			return nil, err
		}
		if was > 0 {
			freed = append(freed, block)
		}
	}
	c.available += uint64(len(freed))
	maps.Copy(c.bitmaps, c.work)
	c.was = c.now
	c.begin()
	return freed, nil
}
