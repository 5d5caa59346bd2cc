package lvm2

import "slices"

// sortBottomUp puts the LVs of a VG in an order in which each follows those that it refers to, and an origin
// the COW stores of its snapshots. An LV of a circle follows all but one. Each LV is visited once, and
// none from within another: there can be as many on one another as the text has room for.
func (vg *VG) sortBottomUp() {
	type visit struct {
		lv   *LV
		next []*LV
	}
	vg.bottomUp = make([]*LV, 0, len(vg.LVs))
	begun := make(map[*LV]bool, len(vg.LVs))
	var open []visit
	enter := func(lv *LV) {
		if !begun[lv] {
			begun[lv] = true
			open = append(open, visit{lv, lv.prerequisites()})
		}
	}
	for _, lv := range vg.LVs {
		enter(lv)
		for len(open) > 0 {
			top := &open[len(open)-1]
			if len(top.next) == 0 {
				vg.bottomUp = append(vg.bottomUp, top.lv)
				open = open[:len(open)-1]
				continue
			}
			next := top.next[0]
			top.next = top.next[1:]
			enter(next)
		}
	}
}

func (lv *LV) prerequisites() []*LV {
	var lvs []*LV
	for _, seg := range lv.Segments {
		lvs = append(lvs, seg.references()...)
	}
	for _, m := range lv.snapshots() {
		lvs = append(lvs, m.COW)
	}
	return lvs
}

// BottomUp are the LVs in an order in which each follows those that it refers to, but in a circle. The
// caller does not change the slice.
func (vg *VG) BottomUp() []*LV { return vg.bottomUp }

// findBeneath works out for each LV what is beneath it, from the bottom up.
func (vg *VG) findBeneath() {
	place := make(map[*PV]int, len(vg.PVs))
	for i, pv := range vg.PVs {
		place[pv] = i
	}
	for _, lv := range vg.bottomUp {
		lv.findBeneath(place)
	}
}

func (lv *LV) findBeneath(place map[*PV]int) {
	seenPV, seenLV := map[*PV]bool{}, map[*LV]bool{}
	var direct []*LV
	for _, seg := range lv.Segments {
		for _, a := range seg.areas() {
			if a.PV != nil && !seenPV[a.PV] {
				seenPV[a.PV] = true
				lv.allPVs = append(lv.allPVs, a.PV)
			}
		}
		for _, beneath := range seg.references() {
			if !seg.needs(beneath) || seenLV[beneath] {
				continue
			}
			seenLV[beneath] = true
			direct = append(direct, beneath)
		}
	}
	if len(direct) == 1 && len(lv.allPVs) == 0 {
		lv.allPVs = direct[0].allPVs
	} else {
		for _, beneath := range direct {
			for _, pv := range beneath.allPVs {
				if !seenPV[pv] {
					seenPV[pv] = true
					lv.allPVs = append(lv.allPVs, pv)
				}
			}
		}
		slices.SortFunc(lv.allPVs, func(a, b *PV) int { return place[a] - place[b] })
	}
	lv.findSpecial(direct)
}

// findSpecial goes past LVs beneath that are nothing but extents of others, so that a walk is not longer
// than there is something to find.
func (lv *LV) findSpecial(direct []*LV) {
	seen := map[*LV]bool{}
	for _, beneath := range direct {
		if !slices.ContainsFunc(beneath.Segments, (*Segment).special) {
			switch len(beneath.specialBeneath) {
			case 0:
				continue
			case 1:
				beneath = beneath.specialBeneath[0]
			}
		}
		if !seen[beneath] {
			seen[beneath] = true
			lv.specialBeneath = append(lv.specialBeneath, beneath)
		}
	}
}

// special says whether a segment is more than extents that lie elsewhere, or are lost.
func (seg *Segment) special() bool {
	_, striped := seg.Mapping.(*Striped)
	return !striped && seg.Type != "error"
}

// through says whether a segment of lv, or a special one of an LV beneath, satisfies is. Each LV is visited
// once, and before those beneath.
func (lv *LV) through(is func(*Segment) bool) bool {
	if slices.ContainsFunc(lv.Segments, is) {
		return true
	}
	if len(lv.specialBeneath) == 0 {
		return false
	}
	seen := map[*LV]bool{lv: true}
	next := [][]*LV{lv.specialBeneath}
	for len(next) > 0 {
		last := &next[len(next)-1]
		if len(*last) == 0 {
			next = next[:len(next)-1]
			continue
		}
		beneath := (*last)[0]
		*last = (*last)[1:]
		if seen[beneath] {
			continue
		}
		seen[beneath] = true
		if slices.ContainsFunc(beneath.Segments, is) {
			return true
		}
		next = append(next, beneath.specialBeneath)
	}
	return false
}

// partialLVs are the LVs that are not whole, and those that lie on them, found once, from the bottom up.
func (vg *VG) partialLVs() map[*LV]bool {
	vg.partialOnce.Do(func() {
		vg.partial = map[*LV]bool{}
		for _, lv := range vg.bottomUp {
			if slices.ContainsFunc(lv.Segments, vg.lacksPart) {
				vg.partial[lv] = true
			}
		}
	})
	return vg.partial
}

// lacksPart says whether something of what a segment lies on is not there.
func (vg *VG) lacksPart(seg *Segment) bool {
	lost := func(a Area) bool { return a.PV != nil && a.PV.lacks(a.Extent, seg.areaExtents()) }
	return slices.ContainsFunc(seg.areas(), lost) ||
		slices.ContainsFunc(seg.references(), func(beneath *LV) bool { return vg.partial[beneath] && seg.needs(beneath) })
}
