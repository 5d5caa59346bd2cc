package metadata

import "slices"

// sortBottomUp puts the LVs of a VG in an order in which each follows those that it refers to, and an origin follows
// the COW stores of its snapshots. An LV of a circle follows all but one. Visits do not nest, as LVs may be piled up
// as high as the text has room for. Each LV is visited once.
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
		for r := range seg.beneath {
			lvs = append(lvs, r.LV)
		}
	}
	for _, m := range lv.originOf {
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
		for _, r := range seg.refs {
			switch {
			case r.PV != nil && !seenPV[r.PV]:
				seenPV[r.PV] = true
				lv.allPVs = append(lv.allPVs, r.PV)
			case r.LV != nil && !r.Optional && !seenLV[r.LV]:
				seenLV[r.LV] = true
				direct = append(direct, r.LV)
			}
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

// findSpecial skips LVs beneath that are nothing but extents of others. So a walk is no longer than there is
// something to find.
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
func (seg *Segment) special() bool { return !seg.kind.Plain }

// Through says whether a segment of lv, or a special one of an LV beneath, satisfies is. Each LV is visited
// once, and before those beneath.
func (lv *LV) Through(is func(*Segment) bool) bool {
	return lv.through(is, func(lv *LV) []*LV { return lv.specialBeneath })
}

// ThroughWritten is like Through, for what may change when lv is written: not for what lies beneath an external
// origin.
func (lv *LV) ThroughWritten(is func(*Segment) bool) bool {
	return lv.through(is, func(lv *LV) []*LV {
		if m, ok := lv.Mapping().(*Thin); ok && len(lv.Segments) == 1 {
			return []*LV{m.Pool}
		}
		return lv.specialBeneath
	})
}

func (lv *LV) through(is func(*Segment) bool, under func(*LV) []*LV) bool {
	if slices.ContainsFunc(lv.Segments, is) {
		return true
	}
	if len(under(lv)) == 0 {
		return false
	}
	seen := map[*LV]bool{lv: true}
	next := [][]*LV{under(lv)}
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
		next = append(next, under(beneath))
	}
	return false
}

// PVs are the PVs beneath the LV, each once, in the order of the VG. Not to be changed.
func (lv *LV) PVs() []*PV { return lv.allPVs }

// Partial are the LVs that are not whole: those with extents of a PV of which lacks says that they are not there,
// and those that lie on such LVs. With stores, an origin is not whole either without the COW stores of its
// snapshots.
func (vg *VG) Partial(lacks func(pv *PV, first, extents uint64) bool, stores bool) map[*LV]bool {
	return vg.partial(lacks, stores, func(*Segment) bool { return false })
}

// Lost are the LVs that are partial if every RAID counts as whole. Whether a RAID is whole without what is not there
// is for the RAID to say.
func (vg *VG) Lost(lacks func(pv *PV, first, extents uint64) bool) map[*LV]bool {
	return vg.partial(lacks, false, func(seg *Segment) bool {
		_, ok := seg.Mapping.(*RAID)
		return ok
	})
}

// partial is Partial, where segments of which whole says so lack nothing.
func (vg *VG) partial(lacks func(pv *PV, first, extents uint64) bool, stores bool, whole func(*Segment) bool) map[*LV]bool {
	partial := map[*LV]bool{}
	lacksPart := func(seg *Segment) bool {
		return !whole(seg) && slices.ContainsFunc(seg.refs, func(r Reference) bool {
			if r.PV != nil {
				return lacks(r.PV, r.Extent, seg.AreaExtents())
			}
			return partial[r.LV] && !r.Optional
		})
	}
	lacksStore := func(m *Snapshot) bool { return partial[m.COW] }
	for _, lv := range vg.bottomUp {
		if slices.ContainsFunc(lv.Segments, lacksPart) || stores && slices.ContainsFunc(lv.originOf, lacksStore) {
			partial[lv] = true
		}
	}
	return partial
}
