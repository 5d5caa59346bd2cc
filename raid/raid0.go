package raid

import "slices"

// RAID0 deals chunks out over the legs in turn, without parity:
//
//	row 0 | D0   D1   D2
//	row 1 | D3   D4   D5
//
// Legs of unequal size make zones: the first over all legs, up to the size of the
// smallest; the next over the legs that go on, and so forth:
//
//	row 0 | D0   D1   D2
//	row 1 | D3   D4   D5
//	row 2 | D6        D7      second zone: legs 0 and 2
//	row 3 | D8                third zone: leg 0
//
// Within a zone the original layout begins with the leg that the array's chunk number
// gives, the alternate one with the zone's first.
// (docs/format/03-mapping-linear-striped-raid.md, section 5.1;
// docs/format/04-below-lvm.md, section 4.5)

// The layouts of a RAID0 over legs of unequal size.
const (
	Original  = 1 // as before Linux 3.14
	Alternate = 2
)

// zone is a part of a RAID0 with the same legs in every row.
type zone struct {
	start, end int64 // of the array
	base       int64 // on each of the legs, from the data offset
	legs       []int
}

// zonesOf is the zones of a RAID0 with LegSizes, whose geometry has been checked.
func zonesOf(g Geometry) []zone {
	sizes := make([]int64, len(g.LegSizes))
	for i, size := range g.LegSizes {
		sizes[i] = size / g.Chunk * g.Chunk
	}
	ends := slices.Compact(slices.Sorted(slices.Values(sizes)))

	var zones []zone
	var start, base int64
	for _, end := range ends {
		var legs []int
		for i, size := range sizes {
			if size > base {
				legs = append(legs, i)
			}
		}
		if end == base {
			continue
		}
		size := (end - base) * int64(len(legs))
		if g.Layout == Original {
			first := int(start / g.Chunk % int64(len(legs)))
			legs = slices.Concat(legs[first:], legs[:first])
		}
		zones = append(zones, zone{start, start + size, base, legs})
		start, base = start+size, end
	}
	return zones
}

func raid0Row(legs []int) row { return row{data: legs, p: none, q: none} }

// LayoutsAgree says whether a RAID0 has its bytes in the same places in both layouts, Original and
// Alternate.
func (g Geometry) LayoutsAgree() bool {
	if g.LegSizes == nil || g.check() != nil {
		return true
	}
	original, alternate := g, g
	original.Layout, alternate.Layout = Original, Alternate
	return slices.EqualFunc(zonesOf(original), zonesOf(alternate), func(a, b zone) bool { return slices.Equal(a.legs, b.legs) })
}
