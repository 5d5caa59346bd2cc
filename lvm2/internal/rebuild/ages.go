package rebuild

import (
	"lvm2fs/lvm2/internal/pdata"
)

// maxAges bounds the time that is spent on the metadata space maps of the past.
const maxAges = 256

// countsOf looks for the metadata space maps that may be of the age in which the level 1 begins at a block, and gives what they agree on; nil if
// there is none. All that are whole are looked at, of which there is one for each of the latest transactions.
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

// suits says whether a space map counts all that a level 1 leads to, and itself, and not more often than they are referred to.
func (f *facts) suits(counts pdata.Counts, index, level1 uint64, m *pdata.SpaceMap) bool {
	for _, once := range []uint64{0, index, level1} {
		if count, exact := counts.Of(once); count != 1 || !exact {
			return false
		}
	}
	c := newCensus(f)
	c.refer(0, toNothing, 0)
	c.root(level1, toTrees)
	c.count(index)
	m.EachBitmap(c.count)
	c.orphans(counts)
	for number, refs := range c.refs {
		if count, exact := counts.Of(uint64(number)); exact && count < int(refs) {
			return false
		}
	}
	return true
}
