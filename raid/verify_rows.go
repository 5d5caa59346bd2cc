package raid

import (
	"bytes"
	"crypto/subtle"
	"slices"

	"github.com/klauspost/reedsolomon"
)

func (r *rows) batches(v *verifier, start, end int64) func(yield func(*batch) bool) {
	return func(yield func(*batch) bool) {
		if start == end {
			return
		}
		window := verifyWindow(len(r.all))
		if r.chunk <= window {
			window = window / r.chunk * r.chunk
		}
		c := &rowsComparison{rows: r, verifier: v, start: start, end: end, encoders: make([]reedsolomon.Encoder, len(r.table))}
		last := ((end-1)/r.stripe + 1) * r.chunk
		for x := start / r.stripe * r.chunk; x < last; {
			to := min(x+window, last)
			if r.chunk > window {
				to = min(to, (x/r.chunk+1)*r.chunk)
			}
			if !yield(c.batch(x, to)) {
				return
			}
			x = to
		}
	}
}

// rowsComparison compares the parity of the rows between start and end with their data.
type rowsComparison struct {
	*rows
	*verifier
	start, end int64
	encoders   []reedsolomon.Encoder // by row of the table
	fresh      [2][]byte             // parity as it should be
	syndrome   [2][]byte             // of a sector: what is there, XOR what should be
}

// batch is all legs between x and to.
func (c *rowsComparison) batch(x, to int64) *batch {
	n := to - x
	b := &batch{legs: c.legs, end: min(to/c.chunk*c.stripe, c.end)}
	slab := c.slab(n * int64(len(c.all)))
	known := newFaults(len(c.all), nil)
	bufs := make([][]byte, len(c.all))
	unusable := make([][]span, len(c.all))
	for leg := range c.all {
		bufs[leg] = slab[int64(leg)*n : int64(leg+1)*n]
		unusable[leg] = c.legs.lost(leg, x, n, known, nil)
		at := x
		for _, s := range append(slices.Clip(unusable[leg]), span{to, to}) {
			if at < s.start {
				b.pieces = append(b.pieces, &verified{piece: piece{leg: leg, x: at, buf: bufs[leg][at-x : s.start-x]}})
			}
			at = s.end
		}
	}
	b.compare = func() error { return c.compare(x, to, bufs, unusable, b.pieces) }
	return b
}

func (c *rowsComparison) compare(x, to int64, bufs [][]byte, unusable [][]span, pieces []*verified) error {
	// Between two edges all is of one kind.
	edges := []int64{to}
	for _, spans := range unusable {
		for _, s := range spans {
			edges = append(edges, s.start, s.end)
		}
	}
	for _, p := range pieces {
		if err := c.unreadable(p, func(x int64) (Place, int64) { return c.place(p.leg, x), c.chunk - x%c.chunk }); err != nil {
			return err
		}
		for _, l := range p.lost {
			unusable[p.leg] = append(unusable[p.leg], l.span)
			edges = append(edges, l.start, l.end)
		}
	}
	slices.Sort(edges)
	for at := x; at < to; {
		for edges[0] <= at {
			edges = edges[1:]
		}
		row := at / c.chunk
		inSync, n := c.synced.at(at, min(edges[0], (row+1)*c.chunk)-at)
		if inSync && c.table[0].p != none && row*c.stripe >= c.start && (row+1)*c.stripe <= c.end && !anyCovers(unusable, at) {
			if err := c.compareRow(at, n, x, bufs); err != nil {
				return err
			}
			c.compared += n * int64(len(c.table[0].data))
		}
		at += n
	}
	return nil
}

// anyCovers says whether one of the spans of any leg has x in it.
func anyCovers(spans [][]span, x int64) bool {
	return slices.ContainsFunc(spans, func(spans []span) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.start <= x && x < s.end })
	})
}

// place is what leg has at x.
func (c *rowsComparison) place(leg int, x int64) Place {
	n := x / c.chunk
	rw := c.row(n)
	p := Place{Leg: leg, LegOffset: c.base + x, Offset: n * c.stripe}
	switch leg {
	case rw.p:
		p.Role = P
	case rw.q:
		p.Role = Q
	default:
		p.Offset += int64(slices.Index(rw.data, leg))*c.chunk + x%c.chunk
	}
	return p
}

// compareRow compares n bytes at x, of one row. bufs are the legs' bytes from first on.
func (c *rowsComparison) compareRow(x, n, first int64, bufs [][]byte) error {
	row := x / c.chunk
	rw := c.row(row)
	of := func(leg int) []byte { return bufs[leg][x-first : x-first+n] }
	var shards [][]byte
	for _, leg := range rw.data {
		shards = append(shards, of(leg))
	}
	parity := [][]byte{of(rw.p)}
	if rw.q != none {
		parity = append(parity, of(rw.q))
	}
	for i := range parity {
		if int64(len(c.fresh[i])) < n {
			c.fresh[i], c.syndrome[i] = make([]byte, n), make([]byte, sector)
		}
		shards = append(shards, c.fresh[i][:n])
	}
	if err := c.encoder(row).Encode(shards); err != nil {
		return err
	}
	same := true
	for i := range parity {
		same = same && bytes.Equal(parity[i], c.fresh[i][:n])
	}
	if same {
		return nil
	}
	for at := int64(0); at < n; {
		// Sectors begin where they do on the leg's data.
		size := min(sector-(x+at)%sector, n-at)
		f := Finding{Problem: ParityDiffers, Length: size, Blamed: Unknown}
		var wrong [2][]byte
		for i := range parity {
			wrong[i] = c.syndrome[i][:size]
			subtle.XORBytes(wrong[i], parity[i][at:at+size], c.fresh[i][at:at+size])
		}
		f.P = !zero(wrong[0])
		f.Q = rw.q != none && !zero(wrong[1])
		if f.P || f.Q {
			for _, leg := range rw.data {
				f.Places = append(f.Places, c.place(leg, x+at))
			}
			f.Places = append(f.Places, c.place(rw.p, x+at))
			if rw.q != none {
				f.Places = append(f.Places, c.place(rw.q, x+at))
				f.Blamed = blame(rw, f, wrong)
			}
			if err := c.found(f); err != nil {
				return err
			}
		}
		at += size
	}
	return nil
}

// blame is the number of the one place of a row with P and Q that explains what is wrong with both:
// an error e in data with weight w makes P wrong by e and Q by w times e.
func blame(rw *row, f Finding, wrong [2][]byte) int {
	switch {
	case !f.P:
		return len(rw.data) + 1
	case !f.Q:
		return len(rw.data)
	}
	at := slices.IndexFunc(wrong[0], func(b byte) bool { return b != 0 })
	if wrong[1][at] == 0 {
		return Unknown
	}
	weight := times(wrong[1][at], inverse(wrong[0][at]))
	k := slices.Index(rw.weights, weight)
	for i := range wrong[0] {
		if k < 0 || times(weight, wrong[0][i]) != wrong[1][i] {
			return Unknown
		}
	}
	return k
}

func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

var zeros [sector]byte

// encoder makes P and Q of a row.
func (c *rowsComparison) encoder(row int64) reedsolomon.Encoder {
	i := int(row % int64(len(c.table)))
	if c.row(row).q == none {
		i = 0
	}
	if c.encoders[i] == nil {
		rw := c.row(row)
		weights := [][]byte{slices.Repeat([]byte{1}, len(rw.data))}
		if rw.q != none {
			weights = append(weights, rw.weights)
		}
		c.encoders[i] = encoder(weights)
	}
	return c.encoders[i]
}
