package dm

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"lvm2fs/mapping"
)

// ErrFull: there is no room left where copies of what is overwritten would have to be kept, or in a thin pool.
var ErrFull = fmt.Errorf("%w", mapping.ErrNoSpace)

// exceptions are the table of a store in memory, to which new ones can be added. The caller keeps others from looking at
// it meanwhile.
type exceptions struct {
	sorted sortedTable
	added  map[uint64]uint64 // old chunk to new, of those added since sorted was made

	end     position
	stride  uint64 // chunks from one area to the next
	chunks  uint64 // of the store
	perArea uint64 // exceptions in an area
}

// position is where the next exception goes: its number, and the chunk of the store after the last that was used.
type position struct{ count, next uint64 }

// firstData is the first chunk of a store that can hold data.
const firstData = 2

// newExceptions is a table as it was read from a store of the given chunks of chunkSize bytes.
func newExceptions(table []redirection, chunkSize int64, chunks uint64) (*exceptions, error) {
	perArea := uint64(chunkSize / exceptionSize)
	t := &exceptions{
		added:   map[uint64]uint64{},
		end:     position{uint64(len(table)), firstData},
		stride:  perArea + 1,
		chunks:  chunks,
		perArea: perArea,
	}
	for _, e := range table {
		t.end.next = max(t.end.next, e.store+1)
	}
	if chunk, ok := sortRedirections(table); !ok {
		return nil, fmt.Errorf("%w: two exceptions for chunk %d", ErrExceptions, chunk)
	}
	t.sorted = slices.Clip(sortedTable(table))
	return t, nil
}

func (t *exceptions) run(block uint64) (store, n uint64, ok bool) {
	store, n, ok = t.sorted.run(block)
	if ok || len(t.added) == 0 {
		return store, n, ok
	}
	end := min(n, maxRun)
	store, ok = t.added[block]
	for n = 1; n < end; n++ {
		next, has := t.added[block+n]
		if has != ok || ok && next != store+n {
			break
		}
	}
	return store, n, ok
}

// lacking calls visit for each chunk from first to last that has no exception, until visit returns false.
func (t *exceptions) lacking(first, last uint64, visit func(chunk uint64) bool) {
	for at := first; at <= last; {
		_, n, ok := t.run(at)
		for ; n > 0 && at <= last; n-- {
			if !ok && !visit(at) {
				return
			}
			if at == math.MaxUint64 {
				return
			}
			at++
		}
	}
}

// lacksAny says whether one of the chunks from first to last has no exception.
func (t *exceptions) lacksAny(first, last uint64) bool {
	for at := first; ; {
		_, n, ok := t.run(at)
		if !ok {
			return true
		}
		if n > last-at {
			return false
		}
		at += n
	}
}

// take gives the chunk for an exception at p, and the position after it. It fails with ErrFull if there is no chunk, or
// if no area would be left for the end of the table.
func (t *exceptions) take(p position) (chunk uint64, after position, err error) {
	chunk = p.next
	if chunk%t.stride == 1 {
		chunk++
	}
	fillsArea := p.count%t.perArea == t.perArea-1
	if chunk >= t.chunks || fillsArea && t.area(p.count/t.perArea+1) >= t.chunks || p.count >= maxExceptions {
		return 0, p, ErrFull
	}
	return chunk, position{p.count + 1, chunk + 1}, nil
}

// area is the chunk of the area of that number.
func (t *exceptions) area(number uint64) uint64 { return 1 + number*t.stride }

// plan gives an exception for each of the chunks, in order.
func (t *exceptions) plan(chunks []uint64) ([]redirection, error) {
	batch := make([]redirection, len(chunks))
	at := t.end
	for i, old := range chunks {
		chunk, after, err := t.take(at)
		if err != nil {
			return nil, err
		}
		batch[i], at = redirection{old, chunk}, after
	}
	return batch, nil
}

// fits says whether there is room for n more exceptions.
func (t *exceptions) fits(n uint64) bool {
	at := t.end
	for range n {
		_, after, err := t.take(at)
		if err != nil {
			return false
		}
		at = after
	}
	return true
}

// add adds what was planned.
func (t *exceptions) add(batch []redirection) {
	for _, e := range batch {
		t.added[e.origin] = e.store
		t.end = position{t.end.count + 1, e.store + 1}
	}
	// A map takes several times the memory of a sorted table, so it is not kept.
	if len(t.added) > 4096+len(t.sorted)/2 {
		t.sorted, t.added = t.all(), map[uint64]uint64{}
	}
}

// all is the whole table, in the order of the origin.
func (t *exceptions) all() sortedTable {
	all := slices.Grow(slices.Clone(t.sorted), len(t.added))
	for old, store := range t.added {
		all = append(all, redirection{old, store})
	}
	slices.SortFunc(all, func(a, b redirection) int { return cmp.Compare(a.origin, b.origin) })
	return all
}

// used is the number of chunks that are taken, by exceptions and what they need; 0 if there are none.
func (t *exceptions) used() uint64 {
	if t.end.count == 0 {
		return 0
	}
	if t.end.next%t.stride == 1 {
		return t.end.next + 1
	}
	return t.end.next
}
