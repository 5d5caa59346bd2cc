package metadata

import (
	"iter"
	"slices"
)

// Mapping is that of the first segment; nil if there is none. An LV of any type but linear, striped, mirror,
// error and zero has one segment only.
func (lv *LV) Mapping() Mapping {
	if len(lv.Segments) == 0 {
		return nil
	}
	return lv.Segments[0].Mapping
}

// Kind is that of the first segment; all zeros if there is none.
func (lv *LV) Kind() *Kind {
	if len(lv.Segments) == 0 {
		return &Kind{}
	}
	return lv.Segments[0].kind
}

// refersTo is the LV in one of the roles to the first segment; nil if there is none.
func (lv *LV) refersTo(roles ...Role) *LV {
	if len(lv.Segments) == 0 {
		return nil
	}
	for _, role := range roles {
		for r := range lv.Segments[0].beneath {
			if r.Role == role {
				return r.LV
			}
		}
	}
	return nil
}

// Parent is the LV that lv is a component of: the RAID or mirror of a leg or log, the
// pool of its data and metadata; nil for any other LV.
func (lv *LV) Parent() *LV {
	u := lv.Uses()
	for _, seg := range []*Segment{
		u.As(RoleLeg, KindRAID), u.As(RoleLegMetadata, KindRAID), u.As(RoleLeg, KindMirror), u.As(RoleLog, KindMirror),
		u.As(RoleData, KindThinPool), u.As(RoleMetadata, KindThinPool), u.As(RoleData, KindCachePool), u.As(RoleMetadata, KindCachePool),
	} {
		if seg != nil {
			return seg.LV
		}
	}
	return nil
}

// Origin is the LV that lv is a snapshot, a cache or an integrity layer of; nil if it is none.
func (lv *LV) Origin() *LV {
	if seg := lv.cowOf; seg != nil {
		return seg.Mapping.(*Snapshot).Origin
	}
	if lv.Kind().Relation {
		return nil
	}
	return lv.refersTo(RoleOrigin, RoleExternalOrigin)
}

// OriginSize is the size in bytes of the LV whose blocks show through where lv has none:
// the origin of a snapshot, as it was when the snapshot was made, or the external origin of
// a thin LV; any other origin of snapshots counts as its own. It is 0 for other LVs.
func (lv *LV) OriginSize() int64 {
	if seg := lv.cowOf; seg != nil {
		return int64(seg.ExtentCount) * lv.VG.ExtentSize
	}
	if m, ok := lv.Mapping().(*Thin); ok && m.ExternalOrigin != nil {
		return m.ExternalOrigin.Size()
	}
	if len(lv.originOf) > 0 {
		return lv.Size()
	}
	return 0
}

// Pool is the thin, cache or VDO pool, or the cachevol, that lv uses; nil for none.
func (lv *LV) Pool() *LV { return lv.refersTo(RolePool) }

// Data is the LV that holds the data of a pool; nil if lv is no pool.
func (lv *LV) Data() *LV { return lv.refersTo(RoleData) }

// Metadata is the LV that holds the metadata of a thin or cache pool; nil if lv is none.
func (lv *LV) Metadata() *LV {
	if !lv.Kind().Pool {
		return nil
	}
	return lv.refersTo(RoleMetadata)
}

// MetadataSize is the size in bytes of what Metadata holds, or of the metadata in the
// cachevol of a cache; 0 for other LVs.
func (lv *LV) MetadataSize() int64 {
	if md := lv.Metadata(); md != nil {
		return md.Size()
	}
	if m, ok := lv.Mapping().(*Cache); ok && m.CacheVol {
		return m.MetadataLen
	}
	return 0
}

// ThinCount is the number of thin LVs in a thin pool.
func (lv *LV) ThinCount() int {
	n := 0
	for range lv.InPool() {
		n++
	}
	return n
}

// InPool are the segments of thin LVs in a thin pool.
func (lv *LV) InPool() iter.Seq[*Segment] {
	return func(yield func(*Segment) bool) {
		for _, u := range lv.users {
			if u.role == RolePool && Is[*Thin](u.seg) && !yield(u.seg) {
				return
			}
		}
	}
}

// Merging says whether lv is a snapshot that is to be merged into its origin, or an
// origin into which a COW snapshot is to be merged.
func (lv *LV) Merging() bool {
	if seg := lv.cowOf; seg != nil && seg.Mapping.(*Snapshot).Merging {
		return true
	}
	if m, ok := lv.Mapping().(*Thin); ok && m.Merge != nil {
		return true
	}
	return slices.ContainsFunc(lv.originOf, func(m *Snapshot) bool { return m.Merging })
}

// Ancestors are the LV that lv was made from as a snapshot, the one that that was made
// from, and so on. With removed, the chain goes on through LVs that the metadata
// remembers although they are gone; only those still there are returned. It takes no longer than what is asked for
// of it.
func (lv *LV) Ancestors(removed bool) iter.Seq[*LV] {
	return func(yield func(*LV) bool) {
		seen := map[*LV]bool{lv: true}
		for at := lv; ; {
			next := at.SnapshotParent()
			if next == nil && removed {
				next = lv.VG.history().parent(at)
			}
			if next == nil || seen[next] || !yield(next) {
				return
			}
			seen[next] = true
			at = next
		}
	}
}

// SnapshotParent is the origin if lv is a snapshot of any kind; nil otherwise.
func (lv *LV) SnapshotParent() *LV {
	if seg := lv.cowOf; seg != nil {
		return seg.Mapping.(*Snapshot).Origin
	}
	if _, ok := lv.Mapping().(*Thin); ok {
		return lv.Origin()
	}
	return nil
}

// Descendants are the snapshots of lv, each followed by its own. Where lv has COW
// snapshots they alone count, as in lvm. With removed, those follow that were made from
// LVs which the metadata remembers although they are gone. It takes no longer than what is asked for of it.
func (lv *LV) Descendants(removed bool) iter.Seq[*LV] {
	return func(yield func(*LV) bool) {
		seen := map[*LV]bool{lv: true}
		next := [][]*LV{lv.children(removed)}
		for len(next) > 0 {
			last := &next[len(next)-1]
			if len(*last) == 0 {
				next = next[:len(next)-1]
				continue
			}
			child := (*last)[0]
			*last = (*last)[1:]
			if seen[child] {
				continue
			}
			seen[child] = true
			if !yield(child) {
				return
			}
			next = append(next, child.children(removed))
		}
	}
}

func (lv *LV) children(removed bool) []*LV {
	u := lv.Uses()
	var children []*LV
	for _, m := range u.Snapshots {
		children = append(children, m.COW)
	}
	if len(children) > 0 {
		return children
	}
	children = u.ThinChildren
	if removed {
		children = append(children, lv.VG.history().children(lv)...)
	}
	return children
}

// IsSnapshotRelation says whether lv is one that lvm shows to nobody: it only ties a COW
// store, which carries the snapshot's name, to its origin.
func (lv *LV) IsSnapshotRelation() bool {
	_, ok := lv.Mapping().(*Snapshot)
	return ok
}

// ThinPool is the mapping of a thin pool; nil if lv is none.
func (lv *LV) ThinPool() *ThinPool {
	m, _ := lv.Mapping().(*ThinPool)
	return m
}

// RAID is the mapping of a RAID; nil if lv is none.
func (lv *LV) RAID() *RAID {
	m, _ := lv.Mapping().(*RAID)
	return m
}

// Integrity is the mapping of type integrity, of a RAID leg or of the first leg of a RAID;
// nil if there is none.
func (lv *LV) Integrity() *Integrity {
	if m := lv.RAID(); m != nil && len(m.Legs) > 0 && m.Legs[0].Data != nil {
		lv = m.Legs[0].Data
	}
	m, _ := lv.Mapping().(*Integrity)
	return m
}

// MirrorLog is the LV with the log of a mirror; nil for none.
func (lv *LV) MirrorLog() *LV {
	if m, ok := lv.Mapping().(*Mirror); ok {
		return m.Log
	}
	return nil
}

// MoveSource is the PV whose extents are being moved away, if lv is a pvmove; nil if not. A pvmove
// that moves all at once has an LV of each side's extents.
func (lv *LV) MoveSource() *PV {
	m, ok := lv.Mapping().(*Mirror)
	if !ok || !lv.HasStatus("PVMOVE") || len(m.Legs) == 0 {
		return nil
	}
	if side := m.Legs[0].LV; side != nil {
		if m, ok := side.Mapping().(*Striped); ok && len(m.Stripes) > 0 {
			return m.Stripes[0].PV
		}
	}
	return m.Legs[0].PV
}

// WritecacheBlockSize is the block size in bytes of a writecache; 0 for other LVs.
func (lv *LV) WritecacheBlockSize() int64 {
	if m, ok := lv.Mapping().(*Writecache); ok {
		return m.BlockSize
	}
	return 0
}

// Beneath are the PVs and the LVs that lv lies on directly, each once. A snapshot lies on its
// COW store, which has its name, and on its origin; a thin LV on its pool.
func (lv *LV) Beneath() ([]*PV, []*LV) {
	var pvs []*PV
	var lvs []*LV
	seenPV, seenLV := map[*PV]bool{}, map[*LV]bool{}
	add := func(lv *LV) {
		if !seenLV[lv] {
			seenLV[lv] = true
			lvs = append(lvs, lv)
		}
	}
	if seg := lv.cowOf; seg != nil {
		add(seg.Mapping.(*Snapshot).Origin)
	}
	for _, seg := range lv.Segments {
		for _, r := range seg.refs {
			switch {
			case r.PV != nil && !seenPV[r.PV]:
				seenPV[r.PV] = true
				pvs = append(pvs, r.PV)
			case r.LV != nil && !r.Optional:
				add(r.LV)
			}
		}
	}
	return pvs, lvs
}

// Stateful says whether more than the VG's metadata tells where the LV's bytes are: superblocks, tables
// and trees on its devices.
func (lv *LV) Stateful() bool {
	if lv.cowOf != nil || len(lv.originOf) > 0 {
		return true
	}
	return lv.Through(func(seg *Segment) bool { return !seg.kind.Stateless })
}
