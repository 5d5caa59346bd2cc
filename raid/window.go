package raid

import "slices"

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
	if someLost {
		defer w.lockRows(first, last+1)() // what is rebuilt while a row changes is neither old nor new
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
	if len(w.holes) > 0 && !someLost {
		defer w.lockRows(first, last+1)()
	}
	if at, err := fill(w.holes, w.readAny); err != nil {
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
