package raid

import (
	"slices"

	"github.com/klauspost/reedsolomon"
)

func (r *rows) members() legs { return r.legs }

// parity is the number of chunks of parity in a row.
func (r *rows) parity() int {
	switch rw := &r.table[0]; {
	case rw.p == none:
		return 0
	case rw.q == none:
		return 1
	}
	return 2
}

// lockRows holds rows [first, end).
func (r *rows) lockRows(first, end int64) (unlock func()) {
	if r.parity() == 0 {
		return func() {} // none depends on another
	}
	return r.locks.lock(first, end)
}

func (r *rows) writeAt(p []byte, off int64, t *Intent) (int, error) {
	done := 0
	for done < len(p) {
		start := off + int64(done)
		end := r.windowEnd(start, off+int64(len(p)))
		w := update{window: window{rows: r, p: p[done : done+int(end-start)], off: start}}
		if err := w.run(t); err != nil {
			return done, err
		}
		done += int(end - start)
	}
	return done, nil
}

func (r *rows) punch(off, n int64, t *Intent) error {
	write := func(p []byte, off int64) (int, error) { return r.writeAt(p, off, t) }
	end := off + n
	first, last := (off+r.stripe-1)/r.stripe, end/r.stripe
	if first >= last {
		return writeZeros(off, n, write)
	}
	if err := r.punchRows(first, last, t); err != nil {
		return err
	}
	if err := writeZeros(off, first*r.stripe-off, write); err != nil {
		return err
	}
	return writeZeros(last*r.stripe, end-last*r.stripe, write)
}

// punchRows clears rows [first, end). The parity of zeros is zero.
func (r *rows) punchRows(first, end int64, t *Intent) error {
	if err := t.Enter(first*r.chunk, end*r.chunk); err != nil {
		return err
	}
	unlock := r.lockRows(first, end)
	var err error
	for leg := range r.all {
		if r.out(leg) {
			continue
		}
		if err = r.clear(leg, first*r.chunk, (end-first)*r.chunk); err != nil {
			break
		}
	}
	unlock()
	t.Leave(first*r.chunk, end*r.chunk, r.serious(err))
	return err
}

// serious is err, or nil where legs need not agree.
func (r *rows) serious(err error) error {
	if r.parity() == 0 {
		return nil
	}
	return err
}

// update is one write of no more than windowMax bytes. All of it is computed before anything is written, so
// that what cannot be read fails without harm.
type update struct {
	window
	sums []sum
}

// sum is the parity to be computed for a range of x of a row, where the same chunks are written all along:
// either from the whole row, or from what changes.
type sum struct {
	row         int64
	a, b        int64 // of the chunk
	first, last int   // data chunks that are written
	change      bool
	rebuilt     bool // chunks that stay are lost, and rebuilt for it
	in          [][]byte
	from, to    int // of pieces: those that are read into in
	p, q        []byte
}

// encoderKey is what the weights of a sum depend on.
type encoderKey struct {
	row         int // of the table
	change      bool
	first, last int // of a change
}

func (u *update) run(t *Intent) error {
	defer u.arena.release()
	first, last := u.off/u.stripe, (u.off+int64(len(u.p))-1)/u.stripe
	x, end := first*u.chunk, (last+1)*u.chunk
	if _, _, at := u.locate(u.off); first == last && at%u.chunk+int64(len(u.p)) <= u.chunk {
		x, end = at, at+int64(len(u.p))
	}
	if err := t.Enter(x, end); err != nil {
		return err
	}
	defer u.lockRows(first, last+1)()
	var failure error
	defer func() { t.Leave(x, end, failure) }()

	if u.parity() > 0 {
		for n := first; n <= last; n++ {
			u.planSums(n)
		}
		u.gather(u.pieces)
		for i := range u.sums {
			if err := u.compute(&u.sums[i]); err != nil {
				return err
			}
		}
	}
	err := u.scatter(u.changes(first, last))
	failure = u.serious(err)
	return err
}

// planSums says what parity of row n is to be computed, and what has to be read for that.
func (u *update) planSums(n int64) {
	rw := u.row(n)
	parity := 0
	for _, leg := range [2]int{rw.p, rw.q} {
		if leg != none && !u.out(leg) {
			parity++
		}
	}
	if parity == 0 {
		return
	}
	edges := make([]int64, 0, 4)
	for k := range rw.data {
		if a, b := u.asked(n, k); a < b {
			edges = append(edges, a, b)
		}
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	for i := range len(edges) - 1 {
		s := sum{row: n, a: edges[i], b: edges[i+1], first: none}
		for k := range rw.data {
			if a, b := u.asked(n, k); a <= s.a && s.b <= b {
				if s.first == none {
					s.first = k
				}
				s.last = k // they are neighbours
			}
		}
		if s.first == none {
			continue
		}
		s.from = len(u.pieces)
		u.planSum(&s, parity)
		s.to = len(u.pieces)
		u.sums = append(u.sums, s)
	}
}

// planSum says how the parity, of which so many chunks are written, is computed: from what changes or from what stays,
// whichever is less to read. The old bytes of a lost chunk that is written are not needed, those of one that stays are in
// the old parity.
func (u *update) planSum(s *sum, parity int) {
	rw := u.row(s.row)
	written, before, behind := rw.data[s.first:s.last+1], rw.data[:s.first], rw.data[s.last+1:]
	lost, lostStay := u.lostAmong(written), u.lostAmong(before) || u.lostAmong(behind)
	switch {
	case lost && lostStay:
		s.rebuilt = true
	case lost || !lostStay && len(written)+parity >= len(before)+len(behind):
		u.old(s, before...)
		u.old(s, behind...)
	default:
		s.change = true
		u.old(s, written...)
		u.old(s, rw.p)
		if rw.q != none {
			u.old(s, rw.q)
		}
	}
}

func (u *update) lostAmong(legs []int) bool { return slices.ContainsFunc(legs, u.out) }

// old has the bytes of legs read. Of parity that is lost they may be any.
func (u *update) old(s *sum, legs ...int) {
	for _, leg := range legs {
		buf := u.arena.take(int(s.b - s.a))
		s.in = append(s.in, buf)
		if !u.out(leg) {
			u.pieces = append(u.pieces, piece{off: s.row * u.stripe, extra: true, leg: leg, x: s.row*u.chunk + s.a, buf: buf})
		}
	}
}

// compute computes P and Q of a sum.
func (u *update) compute(s *sum) error {
	if s.rebuilt || slices.ContainsFunc(u.pieces[s.from:s.to], func(p piece) bool { return p.failed }) {
		return u.computeWhole(s)
	}
	read := s.in
	var shards [][]byte
	if s.change {
		written := s.last - s.first + 1
		shards = append(shards, read[:written]...)
		shards = append(shards, u.written(s)...)
		shards = append(shards, read[written:]...)
	} else {
		shards = append(shards, read[:s.first]...)
		shards = append(shards, u.written(s)...)
		shards = append(shards, read[s.first:]...)
	}
	return u.encode(s, shards)
}

// computeWhole computes P and Q from the whole row, however hard that is to read.
func (u *update) computeWhole(s *sum) error {
	s.change = false
	var shards [][]byte
	for k := range u.row(s.row).data {
		if k >= s.first && k <= s.last {
			shards = append(shards, u.bytes(s.row, k, s.a, s.b).buf)
			continue
		}
		buf := u.arena.take(int(s.b - s.a))
		if _, err := u.readAny(buf, s.row*u.stripe+int64(k)*u.chunk+s.a); err != nil {
			return err
		}
		shards = append(shards, buf)
	}
	return u.encode(s, shards)
}

// written are the new bytes of the data chunks that are written.
func (u *update) written(s *sum) [][]byte {
	var out [][]byte
	for k := s.first; k <= s.last; k++ {
		out = append(out, u.bytes(s.row, k, s.a, s.b).buf)
	}
	return out
}

func (u *update) encode(s *sum, shards [][]byte) error {
	s.p = u.arena.take(int(s.b - s.a))
	shards = append(shards, s.p)
	if u.parity() == 2 {
		s.q = u.arena.take(int(s.b - s.a))
		shards = append(shards, s.q)
	}
	return u.sumEncoder(s).Encode(shards)
}

// changes is all that has to be written, on legs that are there.
func (u *update) changes(first, last int64) []piece {
	pieces := make([]piece, 0, len(u.p)/int(u.chunk)+2+2*len(u.sums))
	for n := first; n <= last; n++ {
		for k, leg := range u.row(n).data {
			if a, b := u.asked(n, k); a < b && !u.out(leg) {
				h := u.bytes(n, k, a, b)
				pieces = append(pieces, piece{off: h.off, leg: leg, x: n*u.chunk + a, buf: h.buf})
			}
		}
	}
	for i := range u.sums {
		s := &u.sums[i]
		rw, x := u.row(s.row), s.row*u.chunk+s.a
		if !u.out(rw.p) {
			pieces = append(pieces, piece{leg: rw.p, x: x, buf: s.p})
		}
		if rw.q != none && !u.out(rw.q) {
			pieces = append(pieces, piece{leg: rw.q, x: x, buf: s.q})
		}
	}
	return pieces
}

// sumEncoder computes P, and Q if there is one: of a whole row from its data; of a change from the old
// data, the new, the old P and the old Q.
func (r *rows) sumEncoder(s *sum) reedsolomon.Encoder {
	key := encoderKey{row: int(s.row % int64(len(r.table))), change: s.change}
	if s.change {
		key.first, key.last = s.first, s.last
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.encoders[key]; e != nil {
		return e
	}
	rw := r.row(s.row)
	ones := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = 1
		}
		return out
	}
	var p, q []byte
	if s.change {
		written := s.last - s.first + 1
		p = append(ones(2*written), 1)
		if rw.q != none {
			weights := rw.weights[s.first : s.last+1]
			p = append(p, 0)
			q = append(append(append(q, weights...), weights...), 0, 1)
		}
	} else {
		p = ones(len(rw.data))
		q = rw.weights
	}
	matrix := [][]byte{p}
	if rw.q != none {
		matrix = append(matrix, q)
	}
	if len(r.encoders) >= recipesMax {
		clear(r.encoders)
	}
	e := encoder(matrix)
	r.encoders[key] = e
	return e
}
