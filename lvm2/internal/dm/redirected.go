package dm

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"lvm2fs/mapping"
)

// redirection says that a block of the origin is to be read from a block of the store. Blocks
// are numbered from 0, each side by its own count.
type redirection struct{ origin, store uint64 }

// sortRedirections puts a table in the order that redirected needs. It fails if a block of
// the origin is in it twice, with the block.
func sortRedirections(table []redirection) (twice uint64, ok bool) {
	slices.SortFunc(table, func(a, b redirection) int { return cmp.Compare(a.origin, b.origin) })
	for i := 1; i < len(table); i++ {
		if table[i].origin == table[i-1].origin {
			return table[i].origin, false
		}
	}
	return 0, true
}

// redirected is size bytes of origin, with the blocks in table taken from store.
//
//	origin  | 0 | 1 | 2 | 3 | 4 |      table  1 → 0, 3 → 2
//	store   | 1'| … | 3'|
//	view    | 0 | 1'| 2 | 3'| 4 |
func redirected(origin, store mapping.Volume, blockSize, size int64, table []redirection) *remapped {
	beyond := &missing{size, fmt.Errorf("beyond the end of the origin at %d: %w", origin.Size(), mapping.ErrMissing)}
	return &remapped{
		size: size,
		locate: func(off int64) (mapping.Volume, int64, int64) {
			block, within, end := uint64(off/blockSize), off%blockSize, size
			i := sort.Search(len(table), func(i int) bool { return table[i].origin >= block })
			if i < len(table) && table[i].origin == block {
				first := table[i].store
				// Blocks that follow each other in both places are one run, up
				// to a bound on the work for one answer.
				n := uint64(1)
				for rest := table[i+1 : min(len(table), i+1024)]; n <= uint64(len(rest)) && rest[n-1] == (redirection{block + n, first + n}); n++ {
				}
				return store, int64(first)*blockSize + within, min(int64(n)*blockSize-within, end-off)
			}
			if i < len(table) {
				end = min(end, int64(table[i].origin)*blockSize)
			}
			if off >= origin.Size() {
				return beyond, off, end - off
			}
			return origin, off, min(end, origin.Size()) - off
		},
		beneath: distinct([]mapping.Volume{origin, store}),
	}
}

// lazy is a read-only volume that is made when it is first used.
type lazy struct {
	size int64
	make func() (mapping.Volume, error) // safe for concurrent use, like that of once
}

func (l *lazy) Size() int64 { return l.size }

func (l *lazy) Map(off, max int64) (mapping.Extent, error) {
	v, err := l.make()
	if err != nil {
		return mapping.Extent{}, err
	}
	return v.Map(off, max)
}

func (l *lazy) ReadAt(p []byte, off int64) (int, error) {
	v, err := l.make()
	if err != nil {
		return 0, err
	}
	return v.ReadAt(p, off)
}
