package raid

import (
	"slices"
	"sync"

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

	mu      sync.Mutex
	recipes map[recipeKey]recipe
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
		recipes: map[recipeKey]recipe{},
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
		end := off + int64(len(p))
		if end-start > windowMax {
			end = start + windowMax
			if rows := end / r.stripe * r.stripe; rows > start {
				end = rows
			}
		}
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

// persist reads p, which is within a chunk, from off: from its own leg or by rebuilding,
// whatever each leg can still give at each place.
func (r *rows) persist(p []byte, off int64) (int, error) {
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

// window is one read of no more than windowMax bytes.
type window struct {
	*rows
	p   []byte
	off int64

	lost   [][]span // by leg, in x
	pieces []piece
	jobs   []job
	holes  []hole
	arena  arena
}

// job rebuilds wanted chunks of a row over a range of x where the same legs are lost.
type job struct {
	row    int64
	enc    interface{ Encode([][]byte) error }
	shards [][]byte // inputs, then outputs
	wanted []hole   // the outputs
}

func (w *window) read() (int, error) {
	defer w.arena.release()
	end := w.off + int64(len(w.p))
	first, last := w.off/w.stripe, (end-1)/w.stripe
	from, n := first*w.chunk, (last-first+1)*w.chunk // in x, of the rows
	if _, _, x := w.locate(w.off); x%w.chunk+int64(len(w.p)) <= w.chunk {
		from, n = x, int64(len(w.p))
	}
	w.lost = make([][]span, len(w.all))
	someLost := false
	for leg := range w.all {
		w.lost[leg] = w.legs.lost(leg, from, n, w.faults, nil)
		someLost = someLost || w.lost[leg] != nil
	}
	w.pieces = make([]piece, 0, len(w.p)/int(w.chunk)+2)
	for n := first; n <= last; n++ {
		w.plan(n, someLost)
	}
	w.gather(w.pieces)

	var failed map[int64]bool
	for _, p := range w.pieces {
		if p.failed {
			if failed == nil {
				failed = map[int64]bool{}
			}
			failed[p.off/w.stripe] = true
			if !p.extra {
				w.holes = append(w.holes, hole{p.off, p.buf})
			}
		}
	}
	for _, j := range w.jobs {
		if failed[j.row] || j.enc.Encode(j.shards) != nil {
			w.holes = append(w.holes, j.wanted...)
		}
	}
	if at, err := fill(w.holes, w.persist); err != nil {
		return int(at - w.off), err
	}
	return len(w.p), nil
}

// bytes is what of chunk k of row n is asked for, between a and b of the chunk.
func (w *window) bytes(n int64, k int, a, b int64) hole {
	off := n*w.stripe + int64(k)*w.chunk
	return hole{off + a, w.p[off+a-w.off : off+b-w.off]}
}

// asked is the range of chunk k of row n that is asked for.
func (w *window) asked(n int64, k int) (a, b int64) {
	off := n*w.stripe + int64(k)*w.chunk
	return max(w.off-off, 0), min(w.off+int64(len(w.p))-off, w.chunk)
}

// plan says what is to be read and rebuilt of row n.
func (w *window) plan(n int64, someLost bool) {
	rw := w.row(n)
	from := n * w.chunk // x of the row
	var edges []int64   // of the ranges that are asked for and lost
	for k, leg := range rw.data {
		a, b := w.asked(n, k)
		if a >= b {
			continue
		}
		good := a
		if someLost {
			for _, s := range within(w.lost[leg], from+a, from+b) {
				w.fetch(n, k, good, s.start-from)
				edges = append(edges, s.start-from, s.end-from)
				good = s.end - from
			}
		}
		w.fetch(n, k, good, b)
	}
	if edges == nil {
		return
	}
	// Between two edges, the same legs are lost and the same chunks asked for.
	least, most := from+slices.Min(edges), from+slices.Max(edges)
	for _, spans := range w.lost {
		for _, s := range within(spans, least, most) {
			edges = append(edges, s.start-from, s.end-from)
		}
	}
	for k := range rw.data {
		if a, b := w.asked(n, k); a < b {
			edges = append(edges, a, b)
		}
	}
	for x := least; x < most; {
		_, run := w.synced.at(x, most-x)
		x += run
		edges = append(edges, x-from)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	for i := range len(edges) - 1 {
		w.planRebuild(n, edges[i], edges[i+1])
	}
}

func (w *window) fetch(n int64, k int, a, b int64) {
	if a < b {
		h := w.bytes(n, k, a, b)
		w.pieces = append(w.pieces, piece{off: h.off, leg: w.row(n).data[k], x: n*w.chunk + a, buf: h.buf})
	}
}

// planRebuild says how the lost chunks of row n that are asked for are rebuilt between a
// and b of the chunk, where the same legs are lost all along.
func (w *window) planRebuild(n int64, a, b int64) {
	rw := w.row(n)
	x := n*w.chunk + a
	isLost := func(leg int) bool { return len(within(w.lost[leg], x, x+1)) > 0 }
	asked := func(k int) bool {
		from, to := w.asked(n, k)
		return from <= a && b <= to
	}
	l := loss{a: none, b: none}
	var wanted []hole
	count := 0
	for k, leg := range rw.data {
		if isLost(leg) {
			count++
			l.add(k, asked(k))
			if asked(k) {
				wanted = append(wanted, w.bytes(n, k, a, b))
			}
		}
	}
	if wanted == nil {
		return
	}
	l.p = rw.p == none || isLost(rw.p)
	l.q = rw.q == none || isLost(rw.q)
	inSync, _ := w.synced.at(x, 1)
	rec, ok := recipe{}, false
	if inSync && count <= 2 {
		rec, ok = w.recipe(n, l)
	}
	if !ok {
		w.holes = append(w.holes, wanted...)
		return
	}
	j := job{row: n, enc: rec.enc, wanted: wanted}
	for i, leg := range rec.inputs(rw) {
		if i < len(rec.data) && asked(rec.data[i]) {
			j.shards = append(j.shards, w.bytes(n, rec.data[i], a, b).buf)
			continue
		}
		buf := w.arena.take(int(b - a))
		w.pieces = append(w.pieces, piece{off: n * w.stripe, extra: true, leg: leg, x: x, buf: buf})
		j.shards = append(j.shards, buf)
	}
	for _, h := range wanted {
		j.shards = append(j.shards, h.buf)
	}
	w.jobs = append(w.jobs, j)
}

// within is the parts of spans, which are sorted, between start and end.
func within(spans []span, start, end int64) []span {
	var out []span
	for _, s := range spans {
		if s.end <= start {
			continue
		}
		if s.start >= end {
			break
		}
		out = append(out, span{max(s.start, start), min(s.end, end)})
	}
	return out
}

// arena hands out scratch memory that is given back as a whole.
type arena struct {
	held []*[]byte
	free []byte
}

func (a *arena) take(n int) []byte {
	if len(a.free) < n {
		buf := scratch(max(n, 256<<10))
		a.held = append(a.held, buf)
		a.free = *buf
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	return out
}

func (a *arena) release() {
	for _, buf := range a.held {
		release(buf)
	}
	*a = arena{}
}
