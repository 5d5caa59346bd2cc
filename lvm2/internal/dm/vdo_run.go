package dm

import "slices"

// What one answer of Map looks at.
const (
	vdoRunLeaves = 4       // leaf pages of which all entries are looked at
	vdoRunSteps  = 1 << 12 // leaf pages that are found not to be there, one by one
)

// dataRun is how many blocks from block on, at most most, lie one behind the other. The first lies at first.
func (c *vdoCursor) dataRun(block uint64, first vdoEntry, most uint64) uint64 {
	most = min(most, vdoRunLeaves*vdoPageEntries)
	n := uint64(1)
	for ; n < most; n++ {
		next, err := c.lookup(block + n)
		if err != nil || next.compressed() || next.block != first.block+n {
			break
		}
	}
	return n
}

// zeroRun is the number of blocks from block on, at most most, that are zeros. The first one is.
//
// Leaf page p belongs to root p mod R, and is number p / R of it. A subtree that is not there is a gap among the
// leaves of one root, so a row, which has a leaf of each root, is skipped once all roots have a gap there:
//
//	root 0   | leaf 0 | leaf R   |    gap     | leaf 4R |
//	root 1   | leaf 1 |          gap          | …
//	row      0        1          2 and 3: skipped
func (v *vdo) zeroRun(block, most uint64) uint64 {
	gaps := make([]uint64, v.rootCount) // by root, the row at which its gap ends
	n, leaves := uint64(0), 0
	for steps := 0; n < most && leaves < vdoRunLeaves && steps < vdoRunSteps; steps++ {
		leaf, slot := (block+n)/vdoPageEntries, int((block+n)%vdoPageEntries)
		root, row := leaf%v.rootCount, leaf/v.rootCount
		if gaps[root] <= row {
			at, level, err := v.descend(leaf)
			if err != nil {
				break
			}
			if level == 0 {
				zeros := v.zerosIn(at.page, slot)
				n += uint64(zeros)
				if slot+zeros < vdoPageEntries {
					break
				}
				leaves++
				continue
			}
			gaps[root] = v.gapEnd(row, at, level)
		}
		next := leaf + 1
		if root == v.rootCount-1 {
			next = max(next, slices.Min(gaps)*v.rootCount)
		}
		n = next*vdoPageEntries - block
	}
	return min(max(n, 1), most)
}

// zerosIn is the number of entries of a leaf page from slot on that lead to zeros.
func (v *vdo) zerosIn(page uint64, slot int) int {
	entries, err := v.entries(page)
	if err != nil {
		return 0
	}
	n := 0
	for ; slot+n < vdoPageEntries; n++ {
		if e, err := entries.entry(slot + n); err != nil || e.compressed() || !e.zero() {
			break
		}
	}
	return n
}

// gapEnd is the row at which the gap ends that an entry, in a page of a level above 0, leaves in its root's leaves.
// It begins at row or before, and does not go beyond the page.
func (v *vdo) gapEnd(row uint64, at vdoSlot, level int) uint64 {
	span := uint64(1) // rows of an entry
	for range level - 1 {
		span *= vdoPageEntries
	}
	end := row / span * span
	for slot := at.slot; slot < vdoPageEntries; slot++ {
		if e, err := v.entry(vdoSlot{at.page, slot}); err != nil || e.state != 0 {
			break
		}
		end += span
	}
	return end
}
