package rebuild

import (
	"encoding/binary"

	"lvm2fs/lvm2/internal/pdata"
)

// maxAges bounds the time that is spent on the metadata space maps of the past.
const maxAges = 256

// countsOf looks for the metadata space maps that may be of the age whose level 1 begins at a block. It gives what
// they agree on; nil if there is none. There is one for each of the latest transactions, and all that are whole are
// looked at.
func (f *facts) countsOf(level1 uint64) *pdata.Counts {
	for number := range f.of {
		f.settle(uint64(number), 0)
	}
	var all *pdata.Counts
	for i, index := range f.index {
		if i == maxAges {
			return nil
		}
		m, ok := pdata.MetadataSpaceMapAt(f.blocks, index)
		if !ok {
			continue
		}
		counts := m.Known(uint64(len(f.of)))
		if !f.suits(counts, index, level1, &m) {
			continue
		}
		if all == nil {
			all = &counts
		} else {
			all.Agree(counts)
		}
	}
	return all
}

// suits says whether a space map counts a level 1, its own index and the superblock once; and nothing that it or the
// level 1 leads to less often than that is referred to.
func (f *facts) suits(counts pdata.Counts, index, level1 uint64, m *pdata.SpaceMap) bool {
	c := newCensus(f)
	c.refer(0, toNothing, 0)
	c.root(level1, toTrees)
	c.count(index)
	m.EachBitmap(c.count)
	c.orphans(counts)
	return c.within(counts, 0, index, level1)
}

// countsWithoutIndex looks for the bitmap of a metadata space map whose index block is damaged. It is nil if the
// index is not damaged, had more than one bitmap, or no bitmap fits. What a transaction writes was free in the one
// before, so a bitmap of the past does not fit.
func (f *facts) countsWithoutIndex(age Age) *pdata.Counts {
	index, _ := age.Metadata.Roots()
	if x := f.get(index); x == nil || x.is(isOther) || age.Metadata.Bitmaps() != 1 {
		return nil
	}
	c := newCensus(f)
	c.age(age, nil)
	var all *pdata.Counts
	for _, bitmap := range f.bitmap {
		if counts, ok := age.Metadata.KnownBy(bitmap, uint64(len(f.of))); ok && c.within(counts, 0, index, bitmap) {
			if all == nil {
				all = &counts
			} else {
				all.Agree(counts)
			}
		}
	}
	return all
}

// within says whether a space map counts some blocks once, and none less often than it is referred to.
func (c *census) within(counts pdata.Counts, once ...uint64) bool {
	for _, number := range once {
		if count, exact := counts.Of(number); count != 1 || !exact {
			return false
		}
	}
	for number, refs := range c.refs {
		if count, exact := counts.Of(uint64(number)); exact && count < int(refs) {
			return false
		}
	}
	return true
}

// heldBy is the superblock that is kept for somebody, by the counts of a metadata space map; nil for none.
func (f *facts) heldBy(counts *pdata.Counts) (held *Held) {
	if counts == nil {
		return nil
	}
	for _, number := range f.held {
		if count, exact := counts.Of(number); exact && count == 0 {
			continue
		}
		if held != nil {
			return &Held{Block: number} // only one of them can be, and nothing says which
		}
		held = ReadHeld(f.blocks, number)
	}
	return held
}

// ReadHeld reads a superblock that is kept.
func ReadHeld(blocks *pdata.Blocks, number uint64) *Held {
	b, err := blocks.Read(number, pdata.ThinSuperblock)
	if err != nil {
		return &Held{Block: number}
	}
	return &Held{number, binary.LittleEndian.Uint64(b[320:]), binary.LittleEndian.Uint64(b[328:])}
}
