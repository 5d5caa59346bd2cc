package raid

import (
	"sync"

	"github.com/klauspost/reedsolomon"

	"lvm2fs/mapping"
)

// rows reads the levels that keep each byte once, in rows of chunks with or without
// parity: RAID0, RAID4, RAID5 and RAID6.
type rows struct {
	legs
	synced synced // by x
	table  []row  // of the rows until they repeat
	chunk  int64
	stripe int64 // bytes of data in a row

	mu       sync.Mutex
	recipes  map[recipeKey]recipe
	encoders map[encoderKey]reedsolomon.Encoder // for writing
}

type recipeKey struct {
	row int
	loss
}

// recipesMax bounds the recipes kept; only an array with many faults at different places
// needs as many.
const recipesMax = 1 << 12

func newRows(l legs, s synced, table []row, chunk int64) *rows {
	return &rows{
		legs: l, synced: s, table: table, chunk: chunk, stripe: chunk * int64(len(table[0].data)),
		recipes: map[recipeKey]recipe{}, encoders: map[encoderKey]reedsolomon.Encoder{},
	}
}

func (r *rows) row(n int64) *row { return &r.table[n%int64(len(r.table))] }

// locate is the place of the byte at off: row, number of the data chunk in it, and x.
func (r *rows) locate(off int64) (n int64, k int, x int64) {
	n = off / r.stripe
	in := off % r.stripe
	return n, int(in / r.chunk), n*r.chunk + in%r.chunk
}

// recipe is the recipe for a loss in row n; false where there is none.
func (r *rows) recipe(n int64, l loss) (recipe, bool) {
	key := recipeKey{int(n % int64(len(r.table))), l}
	r.mu.Lock()
	defer r.mu.Unlock()
	if found, ok := r.recipes[key]; ok {
		return found, true
	}
	made, ok := recipeOf(*r.row(n), l)
	if ok {
		if len(r.recipes) >= recipesMax {
			clear(r.recipes)
		}
		r.recipes[key] = made
	}
	return made, ok
}

// rebuildable says what has to be done to rebuild data chunk k of row n at x, and for how
// many of max bytes that holds; false where too much is lost.
func (r *rows) rebuildable(n int64, k int, x, max int64, f *faults) (recipe, bool, int64) {
	rw := r.row(n)
	l := loss{a: none, b: none}
	if rw.p == none {
		return recipe{}, false, max
	}
	inSync, max := r.synced.at(x, max)
	lost := func(leg int) bool {
		e := r.look(leg, x, max, f)
		max = e.Length
		return e.Kind == mapping.Missing
	}
	count := 0
	for i, leg := range rw.data {
		if lost(leg) {
			l.add(i, i == k)
			count++
		}
	}
	l.p = lost(rw.p)
	l.q = rw.q == none || lost(rw.q)
	if !inSync || count > 2 {
		return recipe{}, false, max
	}
	out, ok := r.recipe(n, l)
	return out, ok, max
}

// add notes that data chunk k is lost too, where there are not two already; k grows.
func (l *loss) add(k int, wanted bool) {
	switch {
	case l.a == none:
		l.a, l.wantA = k, wanted
	case l.b == none:
		l.b, l.wantB = k, wanted
	}
}

func (r *rows) mapAt(off, max int64, f *faults) mapping.Extent {
	n, k, x := r.locate(off)
	e := r.look(r.row(n).data[k], x, min(max, r.chunk-x%r.chunk), f)
	if e.Kind != mapping.Missing {
		return e
	}
	_, ok, length := r.rebuildable(n, k, x, e.Length, f)
	e.Length = length
	if ok {
		e.Kind, e.Err = mapping.Computed, nil
	}
	return e
}

// windowMax is the number of bytes that are read and rebuilt at a time.
const windowMax = 2 << 20

func (r *rows) readAt(p []byte, off int64) (int, error) {
	if ok := r.readChunk(p, off); ok {
		return len(p), nil
	}
	done := 0
	for done < len(p) {
		start := off + int64(done)
		end := r.windowEnd(start, off+int64(len(p)))
		if r.chunk >= windowMax {
			end = min(end, (start/r.chunk+1)*r.chunk)
		}
		w := window{rows: r, p: p[done : done+int(end-start)], off: start}
		n, err := w.read()
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// windowEnd is where a window that begins at start ends: at the end of a row, if one is near enough.
func (r *rows) windowEnd(start, end int64) int64 {
	if end-start <= windowMax {
		return end
	}
	end = start + windowMax
	if rows := end / r.stripe * r.stripe; rows > start {
		return rows
	}
	return end
}

// readChunk reads p if it is within a chunk of a good leg.
func (r *rows) readChunk(p []byte, off int64) bool {
	n, k, x := r.locate(off)
	if int64(len(p)) > r.chunk-x%r.chunk {
		return false
	}
	leg := r.row(n).data[k]
	if !r.good(leg, x, int64(len(p))) {
		return false
	}
	_, err := r.read(leg, p, x, r.faults)
	return err == nil
}

// readAny reads p, which is within a chunk, from off: from its own leg or by rebuilding,
// whatever each leg can still give at each place.
func (r *rows) readAny(p []byte, off int64) (int, error) {
	f := r.faults
	var failure error
	done := 0
	for done < len(p) {
		n, k, x := r.locate(off + int64(done))
		leg := r.row(n).data[k]
		e := r.look(leg, x, int64(len(p)-done), f)
		if e.Kind != mapping.Missing {
			got, err := r.read(leg, p[done:done+int(e.Length)], x, f)
			if err != nil {
				failure = err
			}
			done += got
			continue
		}
		rec, ok, length := r.rebuildable(n, k, x, e.Length, f)
		switch {
		case ok:
			err := r.rebuild(p[done:done+int(length)], n, rec, x, f)
			if err != nil {
				failure = err // remembered by f, so the next turn goes another way
				continue
			}
			done += int(length)
		case f == r.faults:
			f = f.again()
		default:
			return done, lossError(off+int64(done), e.Err, failure)
		}
	}
	return done, nil
}

// rebuild computes one chunk's bytes at x of row n into p.
func (r *rows) rebuild(p []byte, n int64, rec recipe, x int64, f *faults) error {
	rw := r.row(n)
	var a arena
	defer a.release()
	var shards [][]byte
	for _, leg := range rec.inputs(rw) {
		buf := a.take(len(p))
		if _, err := r.read(leg, buf, x, f); err != nil {
			return err
		}
		shards = append(shards, buf)
	}
	return rec.enc.Encode(append(shards, p))
}

// inputs is the legs that go into the recipe, in its order.
func (rec recipe) inputs(rw *row) []int {
	var out []int
	for _, k := range rec.data {
		out = append(out, rw.data[k])
	}
	if rec.p {
		out = append(out, rw.p)
	}
	if rec.q {
		out = append(out, rw.q)
	}
	return out
}
