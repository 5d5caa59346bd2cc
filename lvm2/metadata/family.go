package metadata

import "slices"

// FamilyOf is the origin if lv is a snapshot or the origin of snapshots; else nil.
func (lv *LV) FamilyOf() *LV {
	if seg := lv.cowOf; seg != nil {
		return seg.Mapping.(*Snapshot).Origin
	}
	if len(lv.originOf) > 0 {
		return lv
	}
	return nil
}

// Family is an origin and its snapshots if lv is one of them; else lv alone.
func (lv *LV) Family() []*LV {
	origin := lv.FamilyOf()
	if origin == nil {
		return []*LV{lv}
	}
	family := []*LV{origin}
	for _, m := range origin.originOf {
		family = append(family, m.COW)
	}
	return family
}

// FamilyPVs are the PVs beneath the whole family, in the order of the VG.
func (lv *LV) FamilyPVs() []*PV {
	if lv.FamilyOf() == nil {
		return lv.allPVs
	}
	beneath := map[*PV]bool{}
	for _, member := range lv.Family() {
		for _, pv := range member.allPVs {
			beneath[pv] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(lv.VG.PVs), func(pv *PV) bool { return !beneath[pv] })
}
