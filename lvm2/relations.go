package lvm2

import (
	"errors"
	"iter"
	"slices"

	"lvm2fs/lvm2/internal/dm"
)

// mapping is that of the first segment. An LV of any type but linear, striped, mirror,
// error and zero has one segment only.
func (lv *LV) mapping() any {
	if len(lv.Segments) == 0 {
		return nil
	}
	return lv.Segments[0].Mapping
}

// Parent is the LV that lv is a component of: the RAID or mirror of a leg or log, the
// pool of its data and metadata; nil for any other LV.
func (lv *LV) Parent() *LV {
	u := lv.uses()
	for _, seg := range []*Segment{u.raidImage, u.raidMetadata, u.mirrorImage, u.mirrorLog, u.thinData, u.thinMetadata, u.cacheData, u.cacheMetadata} {
		if seg != nil {
			return seg.LV
		}
	}
	return nil
}

// Origin is the LV that lv is a snapshot, a cache or an integrity layer of; nil if it is none.
func (lv *LV) Origin() *LV {
	if seg := lv.snapshotOf(); seg != nil {
		return seg.Mapping.(*Snapshot).Origin
	}
	switch m := lv.mapping().(type) {
	case *Thin:
		if m.Origin != nil {
			return m.Origin
		}
		return m.ExternalOrigin
	case *Cache:
		return m.Origin
	case *Writecache:
		return m.Origin
	case *Integrity:
		return m.Origin
	}
	return nil
}

// OriginSize is the size in bytes of the LV whose blocks show through where lv has none:
// the origin of a snapshot, as it was when the snapshot was made, or the external origin of
// a thin LV; any other origin of snapshots counts as its own. It is 0 for other LVs.
func (lv *LV) OriginSize() int64 {
	if seg := lv.snapshotOf(); seg != nil {
		return int64(seg.ExtentCount) * lv.VG.ExtentSize
	}
	if m, ok := lv.mapping().(*Thin); ok && m.ExternalOrigin != nil {
		return m.ExternalOrigin.Size()
	}
	if len(lv.snapshots()) > 0 {
		return lv.Size()
	}
	return 0
}

// Pool is the thin, cache or VDO pool, or the cachevol, that lv uses; nil for none.
func (lv *LV) Pool() *LV {
	switch m := lv.mapping().(type) {
	case *Thin:
		return m.Pool
	case *Cache:
		return m.Pool
	case *Writecache:
		return m.Fast
	case *VDO:
		return m.Pool
	}
	return nil
}

// Data is the LV that holds the data of a pool; nil if lv is no pool.
func (lv *LV) Data() *LV {
	switch m := lv.mapping().(type) {
	case *ThinPool:
		return m.Data
	case *CachePool:
		return m.Data
	case *VDOPool:
		return m.Data
	}
	return nil
}

// Metadata is the LV that holds the metadata of a thin or cache pool; nil if lv is none.
func (lv *LV) Metadata() *LV {
	switch m := lv.mapping().(type) {
	case *ThinPool:
		return m.Metadata
	case *CachePool:
		return m.Metadata
	}
	return nil
}

// MetadataSize is the size in bytes of what Metadata holds, or of the metadata in the
// cachevol of a cache; 0 for other LVs.
func (lv *LV) MetadataSize() int64 {
	if md := lv.Metadata(); md != nil {
		return md.Size()
	}
	if m, ok := lv.mapping().(*Cache); ok && m.CacheVol {
		return m.MetadataLen
	}
	return 0
}

// ThinCount is the number of thin LVs in a thin pool.
func (lv *LV) ThinCount() int {
	n := 0
	for _, seg := range lv.users {
		if m, ok := seg.Mapping.(*Thin); ok && m.Pool == lv {
			n++
		}
	}
	return n
}

// Merging says whether lv is a snapshot that is to be merged into its origin, or an
// origin into which a COW snapshot is to be merged.
func (lv *LV) Merging() bool {
	if seg := lv.snapshotOf(); seg != nil && seg.Mapping.(*Snapshot).Merging {
		return true
	}
	if m, ok := lv.mapping().(*Thin); ok && m.Merge != nil {
		return true
	}
	return slices.ContainsFunc(lv.snapshots(), func(m *Snapshot) bool { return m.Merging })
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
				next = lv.VG.derive().history.parent(at)
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
	if seg := lv.snapshotOf(); seg != nil {
		return seg.Mapping.(*Snapshot).Origin
	}
	if _, ok := lv.mapping().(*Thin); ok {
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
	u := lv.uses()
	var children []*LV
	for _, m := range u.snapshots {
		children = append(children, m.COW)
	}
	if len(children) > 0 {
		return children
	}
	children = u.thinChildren
	if removed {
		children = append(children, lv.VG.derive().history.children(lv)...)
	}
	return children
}

// IsSnapshotRelation says whether lv is one that lvm shows to nobody: it only ties a COW
// store, which carries the snapshot's name, to its origin.
func (lv *LV) IsSnapshotRelation() bool {
	_, ok := lv.mapping().(*Snapshot)
	return ok
}

// ThinPool is the mapping of a thin pool; nil if lv is none.
func (lv *LV) ThinPool() *ThinPool {
	m, _ := lv.mapping().(*ThinPool)
	return m
}

// RAID is the mapping of a RAID; nil if lv is none.
func (lv *LV) RAID() *RAID {
	m, _ := lv.mapping().(*RAID)
	return m
}

// Integrity is the mapping of type integrity, of a RAID leg or of the first leg of a RAID;
// nil if there is none.
func (lv *LV) Integrity() *Integrity {
	if m := lv.RAID(); m != nil && len(m.Legs) > 0 && m.Legs[0].Data != nil {
		lv = m.Legs[0].Data
	}
	m, _ := lv.mapping().(*Integrity)
	return m
}

// MirrorLog is the LV with the log of a mirror; nil for none.
func (lv *LV) MirrorLog() *LV {
	if m, ok := lv.mapping().(*Mirror); ok {
		return m.Log
	}
	return nil
}

// MoveSource is the PV whose extents are being moved away, if lv is a pvmove; nil if not. A pvmove
// that moves all at once has an LV of each side's extents.
func (lv *LV) MoveSource() *PV {
	m, ok := lv.mapping().(*Mirror)
	if !ok || !lv.hasStatus("PVMOVE") || len(m.Legs) == 0 {
		return nil
	}
	if side := m.Legs[0].LV; side != nil {
		if m, ok := side.mapping().(*Striped); ok && len(m.Stripes) > 0 {
			return m.Stripes[0].PV
		}
	}
	return m.Legs[0].PV
}

// WritecacheBlockSize is the block size in bytes of a writecache; 0 for other LVs.
func (lv *LV) WritecacheBlockSize() int64 {
	if m, ok := lv.mapping().(*Writecache); ok {
		return m.BlockSize
	}
	return 0
}

// Beneath are the PVs and the LVs that lv lies on directly, each once. A snapshot lies on its
// COW store, which has its name, and on its origin; a thin LV on its pool.
func (lv *LV) Beneath() ([]*PV, []*LV) {
	var pvs []*PV
	var lvs []*LV
	seenPV, seenLV := map[*PV]bool{}, map[*LV]bool{nil: true}
	add := func(lv *LV) {
		if !seenLV[lv] {
			seenLV[lv] = true
			lvs = append(lvs, lv)
		}
	}
	if seg := lv.snapshotOf(); seg != nil {
		add(seg.Mapping.(*Snapshot).Origin)
	}
	for _, seg := range lv.Segments {
		for _, a := range seg.areas() {
			if a.PV != nil && !seenPV[a.PV] {
				seenPV[a.PV] = true
				pvs = append(pvs, a.PV)
			}
		}
		for _, other := range seg.references() {
			if seg.needs(other) {
				add(other)
			}
		}
	}
	return pvs, lvs
}

// InvalidSnapshot says whether lv is a COW snapshot that has overflowed, and so shows nothing
// any more. It reads the header of the COW store.
func (lv *LV) InvalidSnapshot() bool {
	if lv.snapshotOf() == nil {
		return false
	}
	v, err := lv.Open()
	if err != nil {
		return errors.Is(err, ErrInvalidSnapshot)
	}
	s, ok := v.contents.(*dm.Snapshot)
	return ok && !s.Valid() // given up since
}
