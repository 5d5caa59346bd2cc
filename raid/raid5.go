package raid

import "fmt"

// RAID5 has one chunk of parity in each row: P is the XOR of the data. With 4 legs:
//
//	        left asymmetric       right asymmetric
//	row 0 | D0   D1   D2   P      P    D0   D1   D2
//	row 1 | D3   D4   P    D5     D3   P    D4   D5
//	row 2 | D6   P    D7   D8     D6   D7   P    D8
//	row 3 | P    D9   D10  D11    D9   D10  D11  P
//
//	        left symmetric        right symmetric
//	row 0 | D0   D1   D2   P      P    D0   D1   D2
//	row 1 | D4   D5   P    D3     D5   P    D3   D4
//	row 2 | D8   P    D6   D7     D7   D8   P    D6
//	row 3 | P    D9   D10  D11    D9   D10  D11  P
//
// ParityFirst and ParityLast are drawn in raid4.go.
// (docs/format/03-mapping-linear-striped-raid.md, sections 5.3 and 5.5)

// The layouts of RAID5 and RAID6. Those from ZeroRestart on are RAID6 alone.
const (
	LeftAsymmetric  = 0
	RightAsymmetric = 1
	LeftSymmetric   = 2
	RightSymmetric  = 3
	ParityFirst     = 4
	ParityLast      = 5

	ZeroRestart      = 8
	NRestart         = 9
	NContinue        = 10
	LeftAsymmetric6  = 16
	RightAsymmetric6 = 17
	LeftSymmetric6   = 18
	RightSymmetric6  = 19
	ParityFirst6     = 20
)

// raid5Row is row r, of the rows that repeat after n, over legs 0 to n-1.
func raid5Row(layout uint32, n, r int) (row, error) {
	switch layout {
	case LeftAsymmetric:
		return around(n, n-1-r%n), nil
	case RightAsymmetric:
		return around(n, r%n), nil
	case LeftSymmetric:
		return after(n, n-1-r%n), nil
	case RightSymmetric:
		return after(n, r%n), nil
	case ParityFirst:
		return around(n, 0), nil
	case ParityLast:
		return around(n, n-1), nil
	}
	return row{}, fmt.Errorf("%w: raid5 layout %d", ErrGeometry, layout)
}

// around is a row with parity on leg p and the data on the other legs, from the first to
// the last.
func around(n, p int) row {
	out := row{p: p, q: none}
	for leg := range n {
		if leg != p {
			out.data = append(out.data, leg)
		}
	}
	return out
}

// after is a row with parity on leg p and the data from the next leg on, back to the
// first after the last.
func after(n, p int) row {
	out := row{p: p, q: none}
	for k := range n - 1 {
		out.data = append(out.data, (p+1+k)%n)
	}
	return out
}
