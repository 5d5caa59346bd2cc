package raid

// row is the places of the chunks of a row: the legs of the data in the order of the
// array, and those of the parity.
type row struct {
	data    []int
	weights []byte // of each data chunk in Q
	p, q    int    // none if the level has none
}

const none = -1

// rowsOf is the rows of a geometry that is not RAID10, over legs 0 to n-1, until they repeat.
func rowsOf(g Geometry) ([]row, error) {
	n := g.Legs
	if g.Level == RAID1 {
		return nil, nil
	}
	if g.Level == RAID0 {
		legs := make([]int, n)
		for i := range legs {
			legs[i] = i
		}
		return []row{raid0Row(legs)}, nil
	}
	period := n
	if g.Level == RAID6 && g.Layout >= LeftAsymmetric6 {
		period = n - 1
	}
	out := make([]row, period)
	for r := range out {
		var err error
		switch g.Level {
		case RAID4:
			out[r], err = raid4Row(n, r)
		case RAID5:
			out[r], err = raid5Row(g.Layout, n, r)
		case RAID6:
			out[r], err = raid6Row(g.Layout, n, r)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
