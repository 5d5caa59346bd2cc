package pdata

import (
	"encoding/binary"
	"fmt"
)

const (
	bitmapHeaderSize = 16
	// bitmapBlocks is the number of blocks that one bitmap counts.
	bitmapBlocks   = (BlockSize - bitmapHeaderSize) * 4
	indexEntrySize = 16
	countSize      = 4 // bytes of a value in the tree of counts
	// inTree is what a bitmap says of a block whose count is in the tree of counts.
	inTree = 3
	// maxIndexEntries is the room in the index block of a metadata space map.
	maxIndexEntries = (BlockSize - bitmapHeaderSize) / indexEntrySize
	// SpaceMapRootSize is the size in bytes of the root of a space map.
	SpaceMapRootSize = 32
)

// SpaceMap counts the references to each block of a device:
//
//	root ─┬─ index: bitmap → its block ─── bitmap: 2 bits for each block, a count of 0 to 2, or 3 for more
//	      └─ tree of counts: block → count, of those of 3 and more
//
// The index is a b-tree for the blocks of the data device, and one block for those of the metadata device.
// (docs/format/06-thin.md, section 6)
type SpaceMap struct {
	Blocks     *Blocks
	Total      uint64 // blocks that it counts
	Allocated  uint64 // those in use, by its root; a hint
	bitmapRoot uint64
	countRoot  uint64
	ofMetadata bool
}

// DataSpaceMap decodes the root of the space map of a data device: 0 u64 blocks, 8 u64 in use, 16 u64 root of the
// index, 24 u64 root of the tree of counts.
func DataSpaceMap(blocks *Blocks, root []byte) SpaceMap {
	le := binary.LittleEndian
	return SpaceMap{Blocks: blocks, Total: le.Uint64(root), Allocated: le.Uint64(root[8:]), bitmapRoot: le.Uint64(root[16:]), countRoot: le.Uint64(root[24:])}
}

// MetadataSpaceMap is like DataSpaceMap for the metadata device itself.
func MetadataSpaceMap(blocks *Blocks, root []byte) SpaceMap {
	m := DataSpaceMap(blocks, root)
	m.ofMetadata = true
	return m
}

func (m *SpaceMap) encode(root []byte) {
	le := binary.LittleEndian
	le.PutUint64(root, m.Total)
	le.PutUint64(root[8:], m.Allocated)
	le.PutUint64(root[16:], m.bitmapRoot)
	le.PutUint64(root[24:], m.countRoot)
}

func (m *SpaceMap) bitmaps() uint64 { return m.Total/bitmapBlocks + min(m.Total%bitmapBlocks, 1) }

func (m *SpaceMap) index() Tree {
	return Tree{Blocks: m.Blocks, Root: m.bitmapRoot, ValueSize: indexEntrySize}
}

func (m *SpaceMap) counts() Tree {
	return Tree{Blocks: m.Blocks, Root: m.countRoot, ValueSize: countSize}
}

// indexEntry is where a bitmap is: 0 u64 block, 8 u32 free blocks, 12 u32 none of those before is free.
// All but the block are hints.
type indexEntry struct {
	block       uint64
	free, first uint32
}

func decodeIndexEntry(b []byte) indexEntry {
	le := binary.LittleEndian
	return indexEntry{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

func (e indexEntry) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, e.block)
	le.PutUint32(b[8:], e.free)
	le.PutUint32(b[12:], e.first)
}

// entries calls visit for each bitmap that the map needs, in order.
func (m *SpaceMap) entries(visit func(i uint64, e indexEntry) error) error {
	if !m.ofMetadata {
		return m.treeEntries(visit)
	}
	if m.bitmaps() > maxIndexEntries {
		return fmt.Errorf("%w: the metadata space map counts %d blocks, its index has room for %d", ErrDamaged, m.Total, maxIndexEntries*bitmapBlocks)
	}
	b, err := m.Blocks.Read(m.bitmapRoot, SpaceMapIndex)
	if err != nil {
		return err
	}
	for i := range m.bitmaps() {
		if err := visit(i, decodeIndexEntry(b[bitmapHeaderSize+i*indexEntrySize:])); err != nil {
			return err
		}
	}
	return nil
}

func (m *SpaceMap) treeEntries(visit func(i uint64, e indexEntry) error) error {
	for next := uint64(0); next < m.bitmaps(); {
		leaf, err := m.index().Leaf(next)
		if err != nil {
			return err
		}
		i := leaf.Search(next)
		if i == leaf.Len() || leaf.Key(i) != next {
			return fmt.Errorf("%w: space map index at block %d: bitmap %d is missing", ErrDamaged, m.bitmapRoot, next)
		}
		for ; i < leaf.Len() && leaf.Key(i) == next && next < m.bitmaps(); i++ {
			if err := visit(next, decodeIndexEntry(leaf.Value(i))); err != nil {
				return err
			}
			next++
		}
	}
	return nil
}

// bitsOf is what a bitmap says of its block i: 0, 1, 2 or inTree. The first of the two bits is the higher.
func bitsOf(bitmap []byte, i uint64) uint32 {
	t := bitmap[bitmapHeaderSize+i/4] >> (2 * (i % 4)) & 3
	return uint32(t&1<<1 | t>>1)
}

func setBits(bitmap []byte, i uint64, bits uint32) {
	t := byte(bits&1<<1 | bits>>1)
	b := &bitmap[bitmapHeaderSize+i/4]
	*b = *b&^(3<<(2*(i%4))) | t<<(2*(i%4))
}

// countInTree is the count of a block whose bits say that it is in the tree of counts.
func countInTree(counts Tree, block uint64) (uint32, error) {
	v, found, err := counts.Find(block)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("%w: the count of block %d is in no bitmap, and not in the tree of counts at block %d", ErrDamaged, block, counts.Root)
	}
	return binary.LittleEndian.Uint32(v), nil
}

// Each calls visit with the count of each block, in order. from and to bound the blocks: from <= block < to.
func (m *SpaceMap) Each(from, to uint64, visit func(block uint64, count uint32) error) error {
	to = min(to, m.Total)
	return m.entries(func(i uint64, e indexEntry) error {
		first, end := max(from, i*bitmapBlocks), min(to, (i+1)*bitmapBlocks)
		if first >= end {
			return nil
		}
		b, err := m.Blocks.Read(e.block, Bitmap)
		if err != nil {
			return err
		}
		for block := first; block < end; block++ {
			count := bitsOf(b, block%bitmapBlocks)
			if count == inTree {
				if count, err = countInTree(m.counts(), block); err != nil {
					return err
				}
			}
			if err := visit(block, count); err != nil {
				return err
			}
		}
		return nil
	})
}

// MaxMetadataBlocks is the most that a metadata space map can count.
const MaxMetadataBlocks = maxIndexEntries * bitmapBlocks
