package lvm2

import (
	"fmt"
	"slices"
)

// familyOf is the origin if lv is a snapshot or the origin of snapshots; else nil.
func (lv *LV) familyOf() *LV {
	if seg := lv.snapshotOf(); seg != nil {
		return seg.Mapping.(*Snapshot).Origin
	}
	if len(lv.snapshots()) > 0 {
		return lv
	}
	return nil
}

// family is an origin and its snapshots if lv is one of them; else lv alone.
func (lv *LV) family() []*LV {
	origin := lv.familyOf()
	if origin == nil {
		return []*LV{lv}
	}
	family := []*LV{origin}
	for _, m := range origin.snapshots() {
		family = append(family, m.COW)
	}
	return family
}

// written are the LVs whose own segments change when lv is written: of an origin also the COW stores of its snapshots, but
// for invalid ones.
func (lv *LV) written() []*LV {
	written := []*LV{lv}
	if lv.familyOf() != lv {
		return written
	}
	for _, m := range lv.snapshots() {
		if !lv.VG.assembly.invalid(m) {
			written = append(written, m.COW)
		}
	}
	return written
}

// invalid says whether a snapshot is known to be.
func (a *assembly) invalid(m *Snapshot) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.family(m.Origin)
	return err == nil && f.members[m] != nil && !f.members[m].Valid()
}

// claimed are the PVs that nobody else may write while lv is written, in the order of the VG. They are those of the whole
// family: who writes one of it has to know what the others are.
func (lv *LV) claimed() []*PV {
	if lv.familyOf() == nil {
		return lv.pvs()
	}
	beneath := map[*PV]bool{}
	for _, member := range lv.family() {
		for _, pv := range member.pvs() {
			beneath[pv] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(lv.VG.PVs), func(pv *PV) bool { return !beneath[pv] })
}

// readOnlyInFamily is why lv cannot be written although its segments can be, as a phrase; "" if it can be. It is for an LV
// that has been assembled.
func (lv *LV) readOnlyInFamily() string {
	origin := lv.familyOf()
	if origin == nil {
		return ""
	}
	if origin.Merging() {
		return "a snapshot is being merged into " + which(lv == origin)
	}
	if origin.snapshotOf() != nil {
		return "its origin is the COW store of another snapshot"
	}
	a := lv.VG.assembly
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.family(origin)
	if err != nil {
		return "its origin cannot be read"
	}
	for _, m := range origin.snapshots() {
		switch {
		case len(m.COW.snapshots()) > 0:
			return fmt.Sprintf("the COW store of snapshot %s is the origin of another", m.COW.Name)
		case lv == origin && f.members[m] == nil:
			return fmt.Sprintf("its snapshot %s cannot be read", m.COW.Name)
		}
	}
	return ""
}

func which(itself bool) string {
	if itself {
		return "it"
	}
	return "its origin"
}
