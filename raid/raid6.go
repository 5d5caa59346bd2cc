package raid

import "fmt"

// RAID6 has two chunks of parity in each row. P is the XOR of the data, and Q the sum of
// the data with weights that are powers of 2 in GF(2⁸). With 5 legs:
//
//	        ZeroRestart                NRestart                   NContinue
//	row 0 | P    Q    D0   D1   D2     D0   D1   D2   P    Q      D0   D1   D2   Q    P
//	row 1 | D3   P    Q    D4   D5     D3   D4   P    Q    D5     D4   D5   Q    P    D3
//	row 2 | D6   D7   P    Q    D8     D6   P    Q    D7   D8     D8   Q    P    D6   D7
//	row 3 | D9   D10  D11  P    Q      P    Q    D9   D10  D11    Q    P    D9   D10  D11
//	row 4 | Q    D12  D13  D14  P      Q    D12  D13  D14  P      P    D12  D13  D14  Q
//
//	        LeftAsymmetric             RightAsymmetric            ParityFirst
//	row 0 | Q    D0   D1   D2   P      P    Q    D0   D1   D2     P    Q    D0   D1   D2
//	row 1 | D3   D4   D5   P    Q      D3   P    Q    D4   D5     P    Q    D3   D4   D5
//
//	        LeftSymmetric              RightSymmetric             ParityLast
//	row 0 | Q    D0   D1   D2   P      P    Q    D0   D1   D2     D0   D1   D2   P    Q
//	row 1 | D3   D4   D5   P    Q      D5   P    Q    D3   D4     D3   D4   D5   P    Q
//
// The layouts with a 6 at the end are those of RAID5 on all legs but the last, which has
// all of Q:
//
//	        LeftSymmetric6
//	row 0 | D0   D1   D2   P    Q
//	row 1 | D4   D5   P    D3   Q
//
// The power of 2 of a data chunk is the number of its leg in ZeroRestart, NRestart and
// NContinue; in the others it counts the data legs from the one behind Q.
// (docs/format/03-mapping-linear-striped-raid.md, sections 5.3 to 5.5)
func raid6Row(layout uint32, n, r int) (row, error) {
	var out row
	switch layout {
	case ZeroRestart, RightAsymmetric:
		out = aroundPair(n, r%n)
	case NRestart:
		out = aroundPair(n, n-1-(r+1)%n)
	case LeftAsymmetric:
		out = aroundPair(n, n-1-r%n)
	case NContinue:
		out = after(n, n-1-r%n)
		out.q = (out.p + n - 1) % n
		out.data = out.data[:n-2]
	case LeftSymmetric:
		out = afterPair(n, n-1-r%n)
	case RightSymmetric:
		out = afterPair(n, r%n)
	case ParityFirst:
		out = aroundPair(n, 0)
	case ParityLast, LeftAsymmetric6, RightAsymmetric6, LeftSymmetric6, RightSymmetric6, ParityFirst6:
		five := layout
		if layout != ParityLast {
			five = layout - LeftAsymmetric6
		}
		out, _ = raid5Row(five, n-1, r)
		out.q = n - 1
	default:
		return row{}, fmt.Errorf("%w: raid6 layout %d", ErrGeometry, layout)
	}
	out.weights = make([]byte, len(out.data))
	switch layout {
	case ZeroRestart, NRestart, NContinue:
		for k, leg := range out.data {
			out.weights[k] = power(leg)
		}
	default:
		exponent := make([]int, n)
		for i, e := 1, 0; i <= n; i++ {
			leg := (out.q + i) % n
			if leg != out.p && leg != out.q {
				exponent[leg] = e
				e++
			}
		}
		for k, leg := range out.data {
			out.weights[k] = power(exponent[leg])
		}
	}
	return out, nil
}

// aroundPair is a row with P on leg p and Q on the next, and the data on the other legs
// from the first to the last.
func aroundPair(n, p int) row {
	out := row{p: p, q: (p + 1) % n}
	for leg := range n {
		if leg != out.p && leg != out.q {
			out.data = append(out.data, leg)
		}
	}
	return out
}

// afterPair is a row with P on leg p, Q on the next, and the data behind, back to the
// first leg after the last.
func afterPair(n, p int) row {
	out := row{p: p, q: (p + 1) % n}
	for k := range n - 2 {
		out.data = append(out.data, (p+2+k)%n)
	}
	return out
}
