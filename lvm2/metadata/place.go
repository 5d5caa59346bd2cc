package metadata

import (
	"cmp"
	"slices"
	"sort"
)

// Place is a run of bytes of a PV that belongs to one LV, and what of the LV lies there.
type Place struct {
	PV         UUID
	Start, End int64 // bytes from the start of the device
	LV         *LV
	Extent     Origin
}

// Origin says what of an LV begins at a place. Two places of the same origin are for the same bytes of the same LV.
type Origin struct {
	LV      UUID
	logical int64 // bytes from the start of the LV, or of a column
	// Of stripes: the first extent of their segment, and which of how many columns of what chunks it is.
	segment uint64
	column  int
	columns int // 0 for what is one run
	chunk   int64
}

// places are where the LV lies on PVs.
func (lv *LV) places() (places []Place) {
	size := lv.VG.ExtentSize
	for _, seg := range lv.Segments {
		columns := 0
		if m, ok := seg.Mapping.(*Striped); ok && len(m.Stripes) > 1 {
			columns = len(m.Stripes)
		}
		for i, r := range seg.refs {
			if r.PV == nil || r.PV.broken != nil {
				continue
			}
			start := r.PV.DataStart + int64(r.Extent)*size
			o := Origin{LV: lv.UUID, logical: int64(seg.StartExtent) * size}
			if columns > 0 {
				o = Origin{LV: lv.UUID, segment: seg.StartExtent, column: i, columns: columns, chunk: seg.sizes().Stripe}
			}
			places = append(places, Place{PV: r.PV.UUID, Start: start, End: start + int64(seg.AreaExtents())*size, LV: lv, Extent: o})
		}
	}
	return places
}

// cut is the part of a place from start to end.
func (p Place) cut(start, end int64) Place {
	p.Extent.logical += start - p.Start
	p.Start, p.End = start, end
	return p
}

// sameBytes says whether o, where it overlaps p, is for the same bytes of the same LV.
func (p Place) sameBytes(o Place) bool {
	a, b := p.Extent, o.Extent
	a.logical -= p.Start
	b.logical -= o.Start
	return a == b
}

// places are the places of a text, by PV, in order of their starts. Those of LVs whose metadata make sense do not
// overlap.
type places map[UUID][]Place

func newPlaces(list []Place) places {
	all := places{}
	for _, p := range list {
		all[p.PV] = append(all[p.PV], p)
	}
	for _, of := range all {
		slices.SortStableFunc(of, func(a, b Place) int { return cmp.Compare(a.Start, b.Start) })
	}
	return all
}

// places are those of all LVs of the VG whose metadata make sense.
func (vg *VG) places() places {
	var list []Place
	for _, lv := range vg.LVs {
		if lv.broken == nil {
			list = append(list, lv.places()...)
		}
	}
	return newPlaces(list)
}

// overlapping are the places that have bytes in common with p.
func (all places) overlapping(p Place) []Place {
	of := all[p.PV]
	first := sort.Search(len(of), func(i int) bool { return of[i].End > p.Start })
	last := sort.Search(len(of), func(i int) bool { return of[i].Start >= p.End })
	if first >= last {
		return nil
	}
	return of[first:last]
}

// lack are the parts of p that are not there as the same bytes of the same LV.
func (all places) lack(p Place) (parts []Place) {
	at := p.Start
	for _, o := range all.overlapping(p) {
		if !p.sameBytes(o) {
			continue
		}
		if o.Start > at {
			parts = append(parts, p.cut(at, o.Start))
		}
		at = max(at, o.End)
	}
	if at < p.End {
		parts = append(parts, p.cut(at, p.End))
	}
	return parts
}
