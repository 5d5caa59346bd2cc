package dm

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	"lvm2fs/mapping"
)

// redirection says that a block of the origin is read from a block of the store. Each side counts its blocks from 0.
type redirection struct{ origin, store uint64 }

// redirections says which blocks are redirected.
type redirections interface {
	// run is about block and the n-1 blocks behind it: either they are redirected to store and the blocks behind that, or
	// none of them is. Runs next to each other may be alike.
	run(block uint64) (store, n uint64, redirected bool)
}

// maxRun bounds the work for one answer of a table, in blocks.
const maxRun = 1024

// sortedTable is a table in the order of the origin.
type sortedTable []redirection

// sortRedirections puts a table in the order that sortedTable needs. It fails if a block of
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

func (t sortedTable) run(block uint64) (store, n uint64, ok bool) {
	i := sort.Search(len(t), func(i int) bool { return t[i].origin >= block })
	switch {
	case i == len(t):
		return 0, math.MaxUint64 - block, false
	case t[i].origin > block:
		return 0, t[i].origin - block, false
	}
	store, n = t[i].store, 1
	for rest := t[i+1 : min(len(t), i+maxRun)]; n <= uint64(len(rest)) && rest[n-1] == (redirection{block + n, store + n}); n++ {
	}
	return store, n, true
}

// redirected is size bytes of origin, with the blocks in table taken from store.
//
//	origin  | 0 | 1 | 2 | 3 | 4 |      table  1 → 0, 3 → 2
//	store   | 1'| … | 3'|
//	view    | 0 | 1'| 2 | 3'| 4 |
func redirected(origin, store mapping.Volume, blockSize, size int64, table redirections) *remapped {
	beyond := &missing{size, fmt.Errorf("beyond the end of the origin at %d: %w", origin.Size(), mapping.ErrMissing)}
	return &remapped{
		size: size,
		locate: func(off int64) (mapping.Volume, int64, int64) {
			block, within := uint64(off/blockSize), off%blockSize
			first, n, ok := table.run(block)
			length := size - off
			if n <= uint64(length/blockSize)+1 { // else a view longer than the origin would go beyond its end
				length = min(length, int64(n)*blockSize-within)
			}
			switch {
			case ok:
				return store, int64(first)*blockSize + within, length
			case off >= origin.Size():
				return beyond, off, length
			}
			return origin, off, min(length, origin.Size()-off)
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
