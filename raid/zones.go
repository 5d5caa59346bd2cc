package raid

import "slices"

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
