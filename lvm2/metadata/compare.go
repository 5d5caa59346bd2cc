package metadata

import (
	"cmp"
	"slices"
	"strings"
)

// ChangeKind is what has become of a PV, LV or VG between two texts.
type ChangeKind string

// The kinds of changes. A VG is only renamed.
const (
	Made       ChangeKind = "made" // of a PV: added to the VG
	Removed    ChangeKind = "removed"
	Renamed    ChangeKind = "renamed"
	Grown      ChangeKind = "grown"
	Shrunk     ChangeKind = "shrunk"
	Moved      ChangeKind = "moved"       // some of its extents lie elsewhere
	Converted  ChangeKind = "converted"   // to other types of segments, or other legs
	Lost       ChangeKind = "missing"     // of a PV: flagged as missing
	BackAgain  ChangeKind = "not missing" // of a PV: no longer flagged
	Unreadable ChangeKind = "unreadable"  // what the metadata say of it makes no sense
)

// Change is one difference between two texts of a VG.
type Change struct {
	Kind   ChangeKind
	What   string // "vg", "pv" or "lv"
	Name   string // of a PV the path that it had
	UUID   UUID
	Was    string // the former name, of Renamed; the former type, of Converted
	Before int64  // bytes, of LVs and PVs; 0 for what was not there
	After  int64  // bytes; 0 for what is not there
	Hidden bool   // an LV that lvs shows only with -a
}

func (c Change) String() string {
	s := strings.ToUpper(c.What) + " " + c.Name + " " + string(c.Kind)
	switch c.Kind {
	case Renamed, Converted:
		s += " from " + c.Was
	}
	return s
}

// Compare tells what is different in after, in the order VG, PVs, LVs; before is nil for nothing. It goes by UUIDs,
// so that names may change. Tags and the like are not compared.
func Compare(before, after *VG) []Change {
	if before == nil {
		before = &VG{Name: after.Name, ExtentSize: after.ExtentSize}
	}
	var changes []Change
	if before.Name != after.Name {
		changes = append(changes, Change{Kind: Renamed, What: "vg", Name: after.Name, UUID: after.UUID, Was: before.Name})
	}
	return slices.Concat(changes, comparePVs(before, after), compareLVs(before, after))
}

func comparePVs(before, after *VG) (changes []Change) {
	old := byUUID(before.PVs, func(pv *PV) UUID { return pv.UUID })
	now := byUUID(after.PVs, func(pv *PV) UUID { return pv.UUID })
	change := func(kind ChangeKind, pv *PV, was, is int64) {
		changes = append(changes, Change{Kind: kind, What: "pv", Name: cmp.Or(pv.DeviceHint, pv.Label), UUID: pv.UUID, Before: was, After: is})
	}
	for _, pv := range before.PVs {
		if now[pv.UUID] == nil {
			change(Removed, pv, pv.size(), 0)
		}
	}
	for _, pv := range after.PVs {
		was := old[pv.UUID]
		if was == nil {
			change(Made, pv, 0, pv.size())
			continue
		}
		if kind := sizeChange(was.size(), pv.size()); kind != "" {
			change(kind, pv, was.size(), pv.size())
		}
		if pv.FlaggedMissing() != was.FlaggedMissing() {
			kind := Lost
			if was.FlaggedMissing() {
				kind = BackAgain
			}
			change(kind, pv, was.size(), pv.size())
		}
	}
	return changes
}

func (pv *PV) size() int64 { return int64(pv.ExtentCount) * pv.VG.ExtentSize }

func sizeChange(before, after int64) ChangeKind {
	switch {
	case after > before:
		return Grown
	case after < before:
		return Shrunk
	}
	return ""
}

func compareLVs(before, after *VG) (changes []Change) {
	old := byUUID(before.LVs, func(lv *LV) UUID { return lv.UUID })
	now := byUUID(after.LVs, func(lv *LV) UUID { return lv.UUID })
	change := func(kind ChangeKind, lv *LV, was string, before, after int64) {
		changes = append(changes, Change{Kind: kind, What: "lv", Name: lv.Name, UUID: lv.UUID, Was: was, Before: before, After: after, Hidden: !lv.Listed()})
	}
	for _, lv := range before.LVs {
		if now[lv.UUID] == nil && !lv.IsSnapshotRelation() {
			change(Removed, lv, "", lv.DeviceSize(), 0)
		}
	}
	for _, lv := range after.LVs {
		was := old[lv.UUID]
		switch {
		case lv.IsSnapshotRelation():
			continue
		case was == nil:
			change(Made, lv, "", 0, lv.DeviceSize())
			continue
		case lv.Broken() != nil && was.Broken() == nil:
			change(Unreadable, lv, "", was.DeviceSize(), lv.DeviceSize())
			continue
		}
		sizes := []int64{was.DeviceSize(), lv.DeviceSize()}
		if was.Name != lv.Name {
			change(Renamed, lv, was.Name, sizes[0], sizes[1])
		}
		if kind := sizeChange(sizes[0], sizes[1]); kind != "" {
			change(kind, lv, "", sizes[0], sizes[1])
		}
		if a, b := was.typeNames(), lv.typeNames(); a != b {
			change(Converted, lv, a, sizes[0], sizes[1])
		} else if was.movedTo(lv) {
			change(Moved, lv, "", sizes[0], sizes[1])
		}
	}
	return changes
}

// typeNames are the types of the LV's segments, each once.
func (lv *LV) typeNames() string {
	var names []string
	for _, seg := range lv.Segments {
		if name := seg.TypeName(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if lv.cowOf != nil {
		names = append(names, "snapshot")
	}
	return strings.Join(names, ",")
}

// movedTo says whether extents of the LV that lay on PVs lie elsewhere in a later text.
func (lv *LV) movedTo(later *LV) bool {
	now := newPlaces(later.places())
	for _, p := range lv.places() {
		end := p
		if p.Extent.columns == 0 { // what is cut off has not moved
			size := int64(later.extentCount) * later.VG.ExtentSize
			end.End = min(p.End, p.Start+max(0, size-p.Extent.logical))
		} else if later.extentCount < lv.extentCount {
			continue
		}
		if len(now.lack(end)) > 0 {
			return true
		}
	}
	return false
}

// byUUID finds what has a UUID; what has none, or shares one, is not found.
func byUUID[T any](list []T, uuid func(T) UUID) map[UUID]T {
	m := make(map[UUID]T, len(list))
	for _, item := range list {
		m[uuid(item)] = item
	}
	var none T
	m[""] = none
	return m
}
