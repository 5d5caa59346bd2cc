package lvm2

import (
	"slices"

	"lvm2fs/raid"
)

// The attribute strings of lvm's reports, as the manual pages lvs(8), vgs(8) and pvs(8)
// define them. What depends on a kernel is as for an LV that is not active.

// Attr is lvm's lv_attr. Characters 5 (state) and 6 (open) are "-": nothing is active.
// Which legs of a RAID are out of sync its superblocks tell.
func (lv *LV) Attr() string {
	u := lv.uses()
	attr := []byte("----------")
	attr[0] = lv.typeAttr(u)
	attr[1] = lv.permissionAttr()
	attr[2] = allocationAttr(lv.AllocationPolicy)
	if lv.AllocationLocked() {
		attr[2] -= 'a' - 'A'
	}
	if lv.hasStatus("FIXED_MINOR") {
		attr[3] = 'm'
	}
	attr[6] = lv.targetAttr(u)
	if lv.zeroes() {
		attr[7] = 'z'
	}
	attr[8] = lv.healthAttr(u)
	if lv.SkipActivation() {
		attr[9] = 'k'
	}
	return string(attr)
}

// typeAttr is what the LV is for those that use it, or what it is made of. Where several
// apply the first counts.
func (lv *LV) typeAttr(u *uses) byte {
	thin, isThin := lv.mapping().(*Thin)
	switch {
	case u.merging:
		return 'O'
	case isThin && thin.Merge != nil:
		return 'S'
	case len(u.snapshots) > 0, u.extSnapshots > 0:
		return 'o'
	case lv.hasStatus("PVMOVE"):
		return 'p'
	case u.raidMetadata != nil, u.thinMetadata != nil, u.cacheMetadata != nil, u.tags != nil, lv.poolSpare():
		return 'e'
	case lv.isCacheVolume(u), u.cacheData != nil:
		return 'C'
	}
	switch lv.mapping().(type) {
	case *Mirror:
		return unlessSynced('m', 'M', lv)
	case *RAID:
		return unlessSynced('r', 'R', lv)
	case *Thin:
		return 'V'
	case *ThinPool:
		return 't'
	case *Cache, *CachePool, *Writecache:
		return 'C'
	case *Integrity:
		return 'g'
	case *VDOPool:
		return 'd'
	}
	switch {
	case u.snapshot != nil && u.snapshot.Merging:
		return 'S'
	case u.snapshot != nil:
		return 's'
	case lv.virtual(), lv.unknownType():
		return 'v'
	case u.thinData != nil:
		return 'T'
	case u.vdoData != nil:
		return 'D'
	case u.cacheOrigin != nil, u.writecacheOrigin != nil:
		return 'o'
	case u.raidImage != nil:
		// The legs of a RAID 0 have nothing to be in sync with.
		if s, leg := lv.superblocksOf(); raidTypes[u.raidImage.Type].level != raid.RAID0 && (lv.lost() || s.outOfSync(leg)) {
			return 'I'
		}
		return 'i'
	case u.mirrorImage != nil, u.integrityOrigin != nil:
		return 'i'
	case u.mirrorLog != nil:
		return 'l'
	}
	return '-'
}

func unlessSynced(synced, notSynced byte, lv *LV) byte {
	if lv.hasStatus("NOTSYNCED") {
		return notSynced
	}
	return synced
}

func (lv *LV) permissionAttr() byte {
	switch {
	case lv.hasStatus("PVMOVE"):
		return '-'
	case allowsWriting(lv.Status, lv.Flags):
		return 'w'
	}
	return 'r'
}

func allocationAttr(policy string) byte {
	switch policy {
	case "contiguous":
		return 'c'
	case "cling", "cling_by_tags":
		return 'l'
	case "normal":
		return 'n'
	case "anywhere":
		return 'a'
	}
	return 'i'
}

// targetAttr groups LVs by the kernel's target that makes them what they are.
func (lv *LV) targetAttr(u *uses) byte {
	if u.cacheOrigin != nil || u.writecacheOrigin != nil || lv.isCacheVolume(u) {
		return 'C'
	}
	switch lv.mapping().(type) {
	case *Thin, *ThinPool:
		return 't'
	case *Cache, *CachePool, *Writecache:
		return 'C'
	case *RAID:
		return 'r'
	case *Mirror:
		return 'm'
	}
	switch {
	case u.raidImage != nil, u.raidMetadata != nil:
		return 'r'
	case len(u.snapshots) > 0, u.snapshot != nil:
		return 's'
	case u.mirrorImage != nil, u.mirrorLog != nil:
		return 'm'
	case lv.unknownType():
		return 'u'
	case lv.virtual():
		return 'v'
	}
	return '-'
}

func (lv *LV) healthAttr(u *uses) byte {
	switch lv.health(u) {
	case "partial":
		return 'p'
	case "refresh needed":
		return 'r'
	case "writemostly":
		return 'w'
	}
	if lv.RAID() != nil && lv.VG.derive().superblocks[lv].reshaping() {
		return 's'
	}
	return '-'
}

// HealthStatus is lvm's lv_health_status as far as the metadata tells: partial, refresh
// needed (of a RAID with a leg of type error), writemostly, or "". See also [LV.Health].
func (lv *LV) HealthStatus() string { return lv.health(lv.uses()) }

func (lv *LV) health(u *uses) string {
	// Where the checksums of integrity are on a missing PV, lvm does not say so.
	if lv.VG.derive().traits[lv].partial && u.tags == nil {
		return "partial"
	}
	switch {
	case u.raidImage != nil || u.raidMetadata != nil:
		if lv.errorOnly() {
			return "refresh needed"
		}
		if lv.hasStatus("WRITEMOSTLY") {
			return "writemostly"
		}
	default:
		if m, ok := lv.mapping().(*RAID); ok && slices.ContainsFunc(m.Legs, RAIDLeg.replacedByErrors) {
			return "refresh needed"
		}
	}
	return ""
}

func (leg RAIDLeg) replacedByErrors() bool {
	return leg.Data != nil && leg.Data.errorOnly() || leg.Meta != nil && leg.Meta.errorOnly()
}

func (lv *LV) errorOnly() bool {
	return len(lv.Segments) > 0 && !slices.ContainsFunc(lv.Segments, func(seg *Segment) bool { return seg.Type != "error" })
}

// lost says whether an extent of the LV's own is on a device that was not given, or beyond the end of its device.
func (lv *LV) lost() bool {
	return slices.ContainsFunc(lv.Segments, func(seg *Segment) bool {
		return slices.ContainsFunc(seg.areas(), func(a Area) bool {
			return a.PV != nil && (a.PV.Device == nil || !a.PV.FlaggedMissing() && a.PV.lacks(a.Extent, seg.areaExtents()))
		})
	})
}

// virtual says whether a part of the LV lies on nothing of its own.
func (lv *LV) virtual() bool {
	return slices.ContainsFunc(lv.Segments, func(seg *Segment) bool {
		return seg.Type == "zero" || seg.Type == "error" || seg.Type == "vdo"
	})
}

func (lv *LV) unknownType() bool {
	return slices.ContainsFunc(lv.Segments, (*Segment).unknownType)
}

func (lv *LV) isCacheVolume(u *uses) bool {
	return u.writecacheVolume != nil || slices.Contains(lv.Flags, "CACHE_VOL") || lv.hasStatus("CACHE_VOL")
}

// zeroes says whether new blocks of a thin pool, or of a thin LV, are zeroed.
func (lv *LV) zeroes() bool {
	switch m := lv.mapping().(type) {
	case *ThinPool:
		return m.ZeroNewBlocks
	case *Thin:
		pool, _ := m.Pool.mapping().(*ThinPool)
		return pool != nil && pool.ZeroNewBlocks
	}
	return false
}

// AllocationLocked says whether the extents may not be moved or changed in number now.
func (lv *LV) AllocationLocked() bool { return lv.hasStatus("LOCKED") }

// SkipActivation says whether lvm2 leaves the LV out when it activates a VG.
func (lv *LV) SkipActivation() bool { return slices.Contains(lv.Flags, "ACTIVATION_SKIP") }

// Writable says whether the metadata lets the LV be written. See also [LV.ReadOnlyReason].
func (lv *LV) Writable() bool { return allowsWriting(lv.Status, lv.Flags) }

// FixedMinor says whether the LV keeps its device number, in Major and Minor.
func (lv *LV) FixedMinor() bool { return lv.hasStatus("FIXED_MINOR") }

// AutoActivation says whether lvm2 may activate the LV by itself.
func (lv *LV) AutoActivation() bool { return !slices.Contains(lv.Flags, "NOAUTOACTIVATE") }

// InitialSync says whether the legs of a mirror or RAID were made equal when it was made;
// false for other LVs.
func (lv *LV) InitialSync() bool {
	switch lv.mapping().(type) {
	case *Mirror, *RAID:
		return !lv.hasStatus("NOTSYNCED")
	}
	return false
}

// WhenFull is what a thin pool does with writes when it is full: queue or error; "" for
// other LVs.
func (lv *LV) WhenFull() string {
	switch {
	case lv.ThinPool() == nil:
		return ""
	case slices.Contains(lv.Flags, "ERROR_WHEN_FULL"):
		return "error"
	}
	return "queue"
}

// Missing says whether lvm would treat the PV as absent: it is, or its metadata says that
// it was while the VG was changed.
func (pv *PV) Missing() bool { return pv.Device == nil || pv.FlaggedMissing() }

// Allocatable says whether lvm may place new extents on the PV.
func (pv *PV) Allocatable() bool { return slices.Contains(pv.Status, "ALLOCATABLE") }

// Exported says whether the PV was given away with its VG by vgexport.
func (pv *PV) Exported() bool { return slices.Contains(pv.Status, "EXPORTED") }

// Attr is lvm's pv_attr.
func (pv *PV) Attr() string {
	attr := []byte("---")
	switch {
	case pv.Allocatable():
		attr[0] = 'a'
	case pv.VG != nil || pv.InUse:
		attr[0] = 'u'
	}
	if pv.Exported() {
		attr[1] = 'x'
	}
	if pv.VG != nil && pv.Missing() {
		attr[2] = 'm'
	}
	return string(attr)
}

// Attr is lvm's vg_attr.
func (vg *VG) Attr() string {
	attr := []byte("r----" + "-")
	if vg.Writable() {
		attr[0] = 'w'
	}
	if vg.Resizeable() {
		attr[1] = 'z'
	}
	if vg.Exported() {
		attr[2] = 'x'
	}
	if vg.MissingPVCount() > 0 {
		attr[3] = 'p'
	}
	attr[4] = allocationAttr(vg.Allocation())
	switch {
	case vg.Clustered():
		attr[5] = 'c'
	case vg.Shared():
		attr[5] = 's'
	}
	return string(attr)
}

// Writable says whether the metadata lets the VG be changed.
func (vg *VG) Writable() bool { return allowsWriting(vg.Status, vg.Flags) }

// Resizeable says whether PVs may be added to the VG.
func (vg *VG) Resizeable() bool { return slices.Contains(vg.Status, "RESIZEABLE") }

// AutoActivation says whether lvm2 may activate the VG by itself.
func (vg *VG) AutoActivation() bool { return !slices.Contains(vg.Flags, "NOAUTOACTIVATE") }

// Clustered says whether clvmd guarded the VG, in lvm2 before 2.03.
func (vg *VG) Clustered() bool { return slices.Contains(vg.Status, "CLUSTERED") }

// Shared says whether lvmlockd guards the VG, since several hosts use it. A VG may be of use to several hosts for
// other reasons too, and then [LV.ReadOnlyReason] says so.
func (vg *VG) Shared() bool {
	return slices.Contains([]string{"sanlock", "dlm", "idm"}, vg.LockType)
}

// Allocation is the allocation policy; normal if the metadata names none.
func (vg *VG) Allocation() string {
	if vg.AllocationPolicy == "" {
		return "normal"
	}
	return vg.AllocationPolicy
}

// MissingPVCount is the number of PVs that are [PV.Missing].
func (vg *VG) MissingPVCount() int {
	n := 0
	for _, pv := range vg.PVs {
		if pv.Missing() {
			n++
		}
	}
	return n
}

// Free is the number of bytes that the next text of the metadata may grow by: half of the
// area holds a text while the other half gets the next. It is in whole sectors.
// (docs/format/01-label-and-metadata-area.md, section 6)
func (m *MetadataArea) Free() int64 {
	const header = 512
	largest := (m.Size-header)/2 - sectorSize
	return max(0, largest-m.TextSize) / sectorSize * sectorSize
}

// HasDevice says whether lvm2 would make a device of the LV's name when it activates it or
// what it is part of.
func (lv *LV) HasDevice() bool {
	switch lv.mapping().(type) {
	case *CachePool, *VDOPool, *Snapshot:
		return false
	}
	return !lv.poolSpare() && !lv.hasStatus("PVMOVE")
}
