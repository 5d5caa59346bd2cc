package metadata

import (
	"fmt"
)

// What an LV is depends on who refers to it: an LV of type striped may be a user's
// volume, a snapshot's COW store, a RAID leg or half of a pvmove.

// AreaExtents is the number of extents of each stripe or leg that lies on PVs.
func (seg *Segment) AreaExtents() uint64 {
	if m, ok := seg.Mapping.(*Striped); ok && len(m.Stripes) > 0 {
		return seg.ExtentCount / uint64(len(m.Stripes))
	}
	return seg.ExtentCount
}

// registerUses tells those that lv refers to. There can be as many users as the VG has LVs, so what is asked of an
// LV for each of them is noted.
func (lv *LV) registerUses() {
	for _, seg := range lv.Segments {
		for r := range seg.beneath {
			r.LV.users = append(r.LV.users, use{seg, r.Role, r.Optional})
		}
		switch m := seg.Mapping.(type) {
		case *Snapshot:
			if m.COW.cowOf == nil {
				m.COW.cowOf = seg
			}
			m.Origin.originOf = append(m.Origin.originOf, m)
		case *Thin:
			if m.ExternalOrigin != nil {
				m.ExternalOrigin.externalOrigin = true
			}
			if m.Merge != nil && m.Merge.mergesWith == nil {
				m.Merge.mergesWith = m
			}
		}
	}
}

// MaxDepth is how many LVs, one on another, an LV may lie on. lvm2 makes fewer, and so few may call one another.
const MaxDepth = 64

// limitDepth refuses LVs that lie on too many others, or on themselves.
func (vg *VG) limitDepth() {
	waitsFor := make(map[*LV]int, len(vg.LVs))
	var ready []*LV
	for _, lv := range vg.LVs {
		for _, seg := range lv.Segments {
			for r := range seg.beneath {
				if !r.Optional {
					waitsFor[lv]++
				}
			}
		}
		if waitsFor[lv] == 0 {
			ready = append(ready, lv)
		}
	}
	for range MaxDepth + 1 {
		var next []*LV
		for _, lv := range ready {
			for _, u := range lv.users {
				if u.optional {
					continue
				}
				if waitsFor[u.seg.LV]--; waitsFor[u.seg.LV] == 0 {
					next = append(next, u.seg.LV)
				}
			}
		}
		ready = next
	}
	for _, lv := range ready {
		waitsFor[lv] = 1
	}
	for _, lv := range vg.LVs {
		if waitsFor[lv] > 0 {
			lv.specialBeneath = nil // it is not read, and the way down may be long
			lv.fail(fmt.Errorf("it lies on itself, or on more than %d others", MaxDepth))
		}
	}
}

// SnapshotOf is the segment that makes lv the COW store of a snapshot, whose name it
// carries; nil if there is none.
func (lv *LV) SnapshotOf() *Segment { return lv.cowOf }

// Snapshots are the snapshot relations in which lv is the origin. Not to be changed.
func (lv *LV) Snapshots() []*Snapshot { return lv.originOf }

// IsExternalOrigin says whether thin LVs take unprovisioned blocks from lv.
func (lv *LV) IsExternalOrigin() bool { return lv.externalOrigin }

// MergesWith is the mapping of the thin LV that is to be merged into this one; nil if there is none.
func (lv *LV) MergesWith() *Thin { return lv.mergesWith }

// Visible says whether the LV is offered as a file by default: whether the kernel, with
// the LV active, has a block device of it that is the user's. Whether it can be activated, or
// read, does not matter: opening it says so.
func (lv *LV) Visible() bool {
	if seg := lv.cowOf; seg != nil {
		return !seg.Mapping.(*Snapshot).Merging
	}
	if !lv.shownStatus() {
		return false
	}
	if len(lv.Segments) == 0 {
		return true // it is damaged, or it would have one
	}
	if m, ok := lv.Segments[0].Mapping.(*Thin); ok {
		return m.Merge == nil
	}
	kind := lv.Segments[0].kind
	return !kind.Pool && !kind.Relation
}

// Listed says whether lvs without -a shows the LV.
func (lv *LV) Listed() bool {
	if seg := lv.cowOf; seg != nil {
		return !seg.Mapping.(*Snapshot).Merging
	}
	return !lv.IsSnapshotRelation() && lv.shownStatus()
}
