package md

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"

	"lvm2fs/mapping"
)

// badBlockList is where a member keeps the list of its bad blocks; of size 0 for none.
type badBlockList struct {
	offset, size int64
	shift        uint
}

// span is bytes of a member, from its start.
type span struct{ start, end int64 }

const maxBadBlockShift = 32

// read gives the bad blocks, in order and apart from each other.
// (docs/format/04-below-lvm.md, section 4.3)
func (l badBlockList) read(r io.ReaderAt) ([]span, error) {
	if l.size == 0 {
		return nil, nil
	}
	if l.shift > maxBadBlockShift {
		return nil, fmt.Errorf("bad blocks at byte %d: %w: shift of %d bits", l.offset, ErrDamaged, l.shift)
	}
	b := make([]byte, l.size)
	if _, err := mapping.ReadFull(r, b, l.offset); err != nil {
		return nil, fmt.Errorf("bad blocks at byte %d: %w", l.offset, err)
	}
	var found []span
	for ; len(b) >= 8; b = b[8:] {
		entry := binary.LittleEndian.Uint64(b)
		if entry == math.MaxUint64 {
			break
		}
		first, count := entry>>10, entry&(1<<10-1)
		if count == 0 {
			continue
		}
		if first > math.MaxInt64/sector>>l.shift-(1<<10) {
			return nil, fmt.Errorf("bad blocks at byte %d: %w: sector %d", l.offset, ErrDamaged, first)
		}
		unit := int64(sector) << l.shift
		found = append(found, span{int64(first) * unit, int64(first+count) * unit})
	}
	slices.SortFunc(found, func(a, b span) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return 0
	})
	merged := found[:0]
	for _, s := range found {
		if last := len(merged) - 1; last >= 0 && s.start <= merged[last].end {
			merged[last].end = max(merged[last].end, s.end)
			continue
		}
		merged = append(merged, s)
	}
	return merged, nil
}

// stale makes the spans what a leg whose data begins at base does not have.
func stale(bad []span, base int64) func(off, max int64) (bool, int64) {
	if len(bad) == 0 {
		return nil
	}
	return func(off, max int64) (bool, int64) {
		off += base
		i := sort.Search(len(bad), func(i int) bool { return bad[i].end > off })
		switch {
		case i == len(bad):
			return false, max
		case bad[i].start <= off:
			return true, min(max, bad[i].end-off)
		}
		return false, min(max, bad[i].start-off)
	}
}
