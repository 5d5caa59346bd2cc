package lvm2

import (
	"fmt"
)

// What an LV is depends on who refers to it: an LV of type striped may be a user's
// volume, a snapshot's COW store, a RAID leg or half of a pvmove.

// areas are the places that a segment shares out between its stripes or legs.
func (seg *Segment) areas() []Area {
	switch m := seg.Mapping.(type) {
	case *Striped:
		return m.Stripes
	case *Mirror:
		return m.Legs
	}
	return nil
}

// areaExtents is the number of extents that each of areas has.
func (seg *Segment) areaExtents() uint64 {
	if m, ok := seg.Mapping.(*Striped); ok && len(m.Stripes) > 0 {
		return seg.ExtentCount / uint64(len(m.Stripes))
	}
	return seg.ExtentCount
}

// references are the LVs that a segment refers to, whatever for.
func (seg *Segment) references() []*LV {
	var lvs []*LV
	add := func(more ...*LV) {
		for _, lv := range more {
			if lv != nil {
				lvs = append(lvs, lv)
			}
		}
	}
	for _, a := range seg.areas() {
		add(a.LV)
	}
	switch m := seg.Mapping.(type) {
	case *Mirror:
		add(m.Log)
	case *RAID:
		for _, leg := range m.Legs {
			add(leg.Meta, leg.Data)
		}
	case *Snapshot:
		add(m.Origin, m.COW)
	case *ThinPool:
		add(m.Data, m.Metadata)
	case *Thin:
		add(m.Pool, m.ExternalOrigin, m.Origin, m.Merge)
	case *CachePool:
		add(m.Data, m.Metadata)
	case *Cache:
		add(m.Origin, m.Pool)
	case *Writecache:
		add(m.Origin, m.Fast)
	case *Integrity:
		add(m.Origin, m.Meta)
	case *VDOPool:
		add(m.Data)
	case *VDO:
		add(m.Pool)
	}
	return lvs
}

// registerUses tells those that lv refers to. What is asked of an LV for each that uses it is noted, since
// there can be as many as the VG has LVs.
func (lv *LV) registerUses() {
	for _, seg := range lv.Segments {
		for _, used := range seg.references() {
			used.users = append(used.users, seg)
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

// maxDepth is the number of LVs, one on another, that an LV may lie on: more than lvm2 makes, and few
// enough for one to call the next.
const maxDepth = 64

// limitDepth refuses LVs that lie on too many others, or on themselves.
func (vg *VG) limitDepth() {
	waitsFor := make(map[*LV]int, len(vg.LVs))
	var ready []*LV
	for _, lv := range vg.LVs {
		for _, seg := range lv.Segments {
			for _, beneath := range seg.references() {
				if seg.needs(beneath) {
					waitsFor[lv]++
				}
			}
		}
		if waitsFor[lv] == 0 {
			ready = append(ready, lv)
		}
	}
	for range maxDepth + 1 {
		var next []*LV
		for _, lv := range ready {
			for _, seg := range lv.users {
				if !seg.needs(lv) {
					continue
				}
				if waitsFor[seg.LV]--; waitsFor[seg.LV] == 0 {
					next = append(next, seg.LV)
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
			lv.fail(fmt.Errorf("it lies on itself, or on more than %d others", maxDepth))
		}
	}
}

// snapshotOf is the segment that makes lv the COW store of a snapshot, whose name it
// carries; nil if there is none.
func (lv *LV) snapshotOf() *Segment { return lv.cowOf }

// snapshots are the snapshot relations in which lv is the origin. Not to be changed.
func (lv *LV) snapshots() []*Snapshot { return lv.originOf }

// externalOriginOf says whether thin LVs take unprovisioned blocks from lv.
func (lv *LV) externalOriginOf() bool { return lv.externalOrigin }

// Visible says whether the LV is offered as a file by default: whether the kernel, with
// the LV active, has a block device of it that is the user's. Whether it can be activated, or
// read, does not matter: opening it says so.
func (lv *LV) Visible() bool {
	if seg := lv.snapshotOf(); seg != nil {
		return !seg.Mapping.(*Snapshot).Merging
	}
	if !lv.shownStatus() {
		return false
	}
	if len(lv.Segments) == 0 {
		return true // it is damaged, or it would have one
	}
	switch m := lv.Segments[0].Mapping.(type) {
	case *Snapshot, *ThinPool, *CachePool, *VDOPool:
		return false
	case *Thin:
		return m.Merge == nil
	}
	return true
}

// Listed says whether lvs without -a shows the LV.
func (lv *LV) Listed() bool {
	if seg := lv.snapshotOf(); seg != nil {
		return !seg.Mapping.(*Snapshot).Merging
	}
	if len(lv.Segments) > 0 {
		if _, ok := lv.Segments[0].Mapping.(*Snapshot); ok {
			return false
		}
	}
	return lv.shownStatus()
}
