package pdata

import (
	"encoding/binary"
	"errors"
)

// Sight is what a block looks like, by its checksum and its number.
type Sight uint8

// The sights of blocks. Whatever is no block of thin metadata is Damaged, since nothing tells a damaged block from
// one that was never written.
const (
	Damaged Sight = iota
	SeenSuperblock
	SeenNode
	SeenBitmap
	SeenIndexBlock
)

// surveyRun is how many blocks are read at once.
const surveyRun = 256

// Survey calls visit for each block of the device, in order, with what it looks like. n is the node, if it is one.
// Blocks that cannot be read are Damaged. Survey reads all of the device once, and stops at an error of visit.
func (s *Blocks) Survey(visit func(number uint64, seen Sight, n RawNode) error) error {
	buf := make([]byte, surveyRun*BlockSize)
	for first := uint64(0); first < s.count; first += surveyRun {
		run := buf[:min(surveyRun, s.count-first)*BlockSize]
		_, err := s.r.ReadAt(run, int64(first)*BlockSize)
		for i := uint64(0); i < uint64(len(run)/BlockSize); i++ {
			b := run[i*BlockSize:][:BlockSize]
			if err != nil {
				if _, err := s.r.ReadAt(b, int64(first+i)*BlockSize); err != nil {
					clear(b)
				}
			}
			seen, n := look(b, first+i)
			if err := visit(first+i, seen, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// look says what block number looks like. The node is good until b changes.
func look(b []byte, number uint64) (Sight, RawNode) {
	if own := binary.LittleEndian.Uint64(b[Node.numberAt:]); own != number {
		return Damaged, RawNode{}
	}
	switch binary.LittleEndian.Uint32(b) ^ (Kind{}).sum(b) {
	case Node.salt:
		n, err := decodeNode(b, number)
		if err != nil {
			return Damaged, RawNode{}
		}
		return SeenNode, RawNode{n}
	case Bitmap.salt:
		return SeenBitmap, RawNode{}
	case SpaceMapIndex.salt:
		return SeenIndexBlock, RawNode{}
	case ThinSuperblock.salt:
		return SeenSuperblock, RawNode{}
	}
	return Damaged, RawNode{}
}

// Len is the number of entries of the node.
func (n RawNode) Len() int { return n.n.entries }

// Key is the key of entry i.
func (n RawNode) Key(i int) uint64 { return n.n.key(i) }

// Uint64 is the value of entry i, of a node whose values are 8 bytes.
func (n RawNode) Uint64(i int) uint64 { return binary.LittleEndian.Uint64(n.n.value(i)) }

// Within is the part of the leaf with the keys from <= key <= to, as a leaf that speaks of no others.
func (l Leaf) Within(from, to uint64) Leaf {
	first, end := l.Search(from), l.node.entries
	for end > first && l.Key(end-1) > to {
		end--
	}
	if first == 0 && end == l.node.entries {
		return Leaf{l.node, max(l.From, from), min(l.To, to)}
	}
	part := &node{number: l.node.number, leaf: true, entries: end - first, room: end - first, valueSize: l.node.valueSize}
	part.b = make([]byte, nodeHeaderSize+part.room*(keySize+part.valueSize))
	copy(part.b[nodeHeaderSize:], l.node.b[nodeHeaderSize+first*keySize:nodeHeaderSize+end*keySize])
	for i := range part.entries {
		copy(part.value(i), l.node.value(first+i))
	}
	return Leaf{part, max(l.From, from), min(l.To, to)}
}

// NoKeys is a leaf that says that none of the keys from <= key <= to is there.
func NoKeys(from, to uint64, valueSize int) Leaf {
	return Leaf{&node{leaf: true, valueSize: valueSize}, from, to}
}

// Counts are the counts of a space map, as far as it can be read.
type Counts struct {
	counts []uint8
}

// What is kept of a count. Beyond exactCounts only that it is at least as high is known.
const (
	exactCounts = 253
	someCount   = 254 // 3 or more: the tree of counts is damaged
	noCount     = 255 // its bitmap is damaged
)

// Known reads all that is whole of the map. Blocks beyond those that the map counts are not in use. Its memory is a
// byte for each of total blocks.
func (m *SpaceMap) Known(total uint64) Counts {
	c := Counts{make([]uint8, total)}
	for i := range min(m.Total, total) {
		c.counts[i] = noCount
	}
	_ = m.eachEntry(func(i uint64, e indexEntry) {
		b, err := m.Blocks.Read(e.block, Bitmap)
		if err != nil {
			return
		}
		for block := i * bitmapBlocks; block < min((i+1)*bitmapBlocks, m.Total, total); block++ {
			c.counts[block] = m.known(b, block)
		}
	})
	return c
}

func (m *SpaceMap) known(bitmap []byte, block uint64) uint8 {
	count := bitsOf(bitmap, block%bitmapBlocks)
	if count != inTree {
		return uint8(count)
	}
	count, err := countInTree(m.counts(), block)
	if err != nil || count < inTree {
		return someCount
	}
	return uint8(min(count, exactCounts+1))
}

// eachEntry is entries as far as the index can be read.
func (m *SpaceMap) eachEntry(visit func(i uint64, e indexEntry)) error {
	if m.ofMetadata {
		return m.entries(func(i uint64, e indexEntry) error {
			visit(i, e)
			return nil
		})
	}
	for next := uint64(0); next < m.bitmaps(); {
		leaf, err := m.index().Leaf(next)
		var damage *Damage
		if errors.As(err, &damage) {
			next = damage.To
		}
		if err == nil {
			for i := leaf.Search(next); i < leaf.Len() && leaf.Key(i) < m.bitmaps(); i++ {
				visit(leaf.Key(i), decodeIndexEntry(leaf.Value(i)))
			}
			next = leaf.To
		}
		if next++; next == 0 {
			break
		}
	}
	return nil
}

// Of is the count of a block; exact is false where no more is known than that it is at least as high.
func (c Counts) Of(block uint64) (count int, exact bool) {
	switch n := c.counts[block]; n {
	case noCount:
		return 0, false
	case someCount:
		return inTree, false
	default:
		return int(n), n <= exactCounts
	}
}

// Roots are the blocks at which the index and the tree of counts begin.
func (m *SpaceMap) Roots() (index, counts uint64) { return m.bitmapRoot, m.countRoot }

// EachBitmap calls visit with the blocks of the bitmaps, as far as the index can be read.
func (m *SpaceMap) EachBitmap(visit func(number uint64)) {
	_ = m.eachEntry(func(_ uint64, e indexEntry) { visit(e.block) })
}

// IndexedBlock is the block of the bitmap to which an entry of an index leads.
func IndexedBlock(entry []byte) uint64 { return decodeIndexEntry(entry).block }

// NoCounts are the counts of a space map of which nothing can be read.
func NoCounts(total uint64) Counts {
	c := Counts{make([]uint8, total)}
	for i := range c.counts {
		c.counts[i] = noCount
	}
	return c
}

// Agree forgets the counts that are not the same in other.
func (c Counts) Agree(other Counts) {
	for i, n := range other.counts {
		if c.counts[i] != n {
			c.counts[i] = noCount
		}
	}
}

// MetadataSpaceMapAt is the metadata space map with the index in a block to which nothing leads. It is false if the
// map has no bitmaps. The tree of counts is not known.
func MetadataSpaceMapAt(blocks *Blocks, index uint64) (SpaceMap, bool) {
	b, err := blocks.Read(index, SpaceMapIndex)
	if err != nil {
		return SpaceMap{}, false
	}
	n := uint64(0)
	for n < maxIndexEntries && decodeIndexEntry(b[bitmapHeaderSize+n*indexEntrySize:]).block != 0 {
		n++
	}
	return SpaceMap{Blocks: blocks, Total: min(n*bitmapBlocks, blocks.Count()), bitmapRoot: index, ofMetadata: true}, n > 0
}

// Bitmaps is the number of bitmaps that the map needs.
func (m *SpaceMap) Bitmaps() uint64 { return m.bitmaps() }

// KnownBy is Known for a map with a single bitmap, in a block to which nothing leads. It is false if that block is
// no bitmap, or has another number of blocks in use than the map.
func (m *SpaceMap) KnownBy(bitmap, total uint64) (Counts, bool) {
	b, err := m.Blocks.Read(bitmap, Bitmap)
	if err != nil {
		return Counts{}, false
	}
	c, used := Counts{make([]uint8, total)}, uint64(0)
	for block := range min(m.Total, total, bitmapBlocks) {
		c.counts[block] = m.known(b, block)
		if c.counts[block] > 0 {
			used++
		}
	}
	return c, used == m.Allocated
}
