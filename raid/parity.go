package raid

import "github.com/klauspost/reedsolomon"

// Parity lives in GF(2⁸) with the polynomial x⁸+x⁴+x³+x²+1, the field that the Reed-
// Solomon library works in too. Whatever is computed here, P, Q or lost data, is a sum
// of chunks with weights, so the library's encoder does all of it.
// (docs/format/03-mapping-linear-striped-raid.md, sections 5.4 and 6)

// power is 2 to the e.
func power(e int) byte { return exps[e%255] }

// exps is the powers of 2, logs their inverse.
var exps, logs = func() (exps [255]byte, logs [256]int) {
	x := byte(1)
	for e := range exps {
		exps[e], logs[x] = x, e
		carry := x & 0x80
		x <<= 1
		if carry != 0 {
			x ^= 0x1d
		}
	}
	return
}()

func times(a, b byte) byte {
	if a == 0 || b == 0 {
		return 0
	}
	return exps[(logs[a]+logs[b])%255]
}

// inverse is 1/a of an a that is not 0.
func inverse(a byte) byte { return exps[(255-logs[a])%255] }

// loss says what of a row is lost and which of it is wanted: data chunks a and b (none
// for fewer), P, Q.
type loss struct {
	a, b         int // a < b unless b is none
	p, q         bool
	wantA, wantB bool
}

// recipe says how to rebuild lost data of a row: which chunks go in, and the encoder that
// gives the wanted ones, a before b.
type recipe struct {
	data []int // data chunks, by their number in the row
	p, q bool
	enc  reedsolomon.Encoder
}

// recipeOf is the recipe for a loss; false where too much is lost.
func recipeOf(r row, l loss) (recipe, bool) {
	one := func(int) byte { return 1 }
	weight := func(k int) byte { return r.weights[k] }
	hasP, hasQ := r.p != none && !l.p, r.q != none && !l.q

	var out recipe
	// The weight in the sum for a (or b) of data chunk k, of P and of Q.
	type terms struct {
		data func(k int) byte
		p, q byte
	}
	var wanted []terms
	switch {
	case l.a == none:
		return recipe{}, false
	case l.b == none && hasP:
		out.p = true
		wanted = []terms{{one, 1, 0}}
	case l.b == none && hasQ:
		out.q = true
		scale := inverse(weight(l.a))
		wanted = []terms{{func(k int) byte { return times(scale, weight(k)) }, 0, scale}}
	case l.b != none && hasP && hasQ:
		out.p, out.q = true, true
		wa, wb := weight(l.a), weight(l.b)
		scale := inverse(wa ^ wb)
		solve := func(other byte) terms {
			return terms{func(k int) byte { return times(scale, weight(k)^other) }, times(scale, other), scale}
		}
		if l.wantA {
			wanted = append(wanted, solve(wb))
		}
		if l.wantB {
			wanted = append(wanted, solve(wa))
		}
	default:
		return recipe{}, false
	}
	for k := range r.data {
		if k != l.a && k != l.b {
			out.data = append(out.data, k)
		}
	}
	matrix := make([][]byte, len(wanted))
	for i, t := range wanted {
		for _, k := range out.data {
			matrix[i] = append(matrix[i], t.data(k))
		}
		if out.p {
			matrix[i] = append(matrix[i], t.p)
		}
		if out.q {
			matrix[i] = append(matrix[i], t.q)
		}
	}
	out.enc = encoder(matrix)
	return out, true
}

// encoder computes sums of chunks, with a row of weights for each.
func encoder(weights [][]byte) reedsolomon.Encoder {
	e, err := reedsolomon.New(len(weights[0]), len(weights),
		reedsolomon.WithCustomMatrix(weights), reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
	if err != nil {
		panic(err) // only for a number of chunks that check refuses
	}
	return e
}
