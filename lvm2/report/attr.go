package report

import (
	"fmt"
	"slices"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/raid"
)

// The attribute strings, as the manual pages lvs(8), vgs(8) and pvs(8) define them.

// subject is an LV, with what it is to others.
type subject struct {
	*lvm2.LV
	*metadata.Uses
}

// is says whether others of a kind use the LV in a role.
func (lv subject) is(role metadata.Role, kind *metadata.Kind) bool { return lv.As(role, kind) != nil }

// LVAttr is lvm's lv_attr. Characters 5 (state) and 6 (open) are "-": nothing is active. Superblocks tell which legs
// of a RAID are out of sync.
func LVAttr(of *lvm2.LV) string {
	lv := subject{of, of.Uses()}
	attr := []byte("----------")
	attr[0] = lv.typeAttr()
	attr[1] = lv.permissionAttr()
	attr[2] = allocationAttr(lv.AllocationPolicy)
	if lv.AllocationLocked() {
		attr[2] -= 'a' - 'A'
	}
	if lv.FixedMinor() {
		attr[3] = 'm'
	}
	attr[6] = lv.targetAttr()
	if lv.zeroes() {
		attr[7] = 'z'
	}
	attr[8] = lv.healthAttr()
	if lv.SkipActivation() {
		attr[9] = 'k'
	}
	return string(attr)
}

// typeAttr is what the LV is for those that use it, or what it is made of. Where several
// apply the first counts.
func (lv subject) typeAttr() byte {
	thin, isThin := lv.Mapping().(*metadata.Thin)
	switch {
	case lv.Uses.Merging:
		return 'O'
	case isThin && thin.Merge != nil:
		return 'S'
	case len(lv.Uses.Snapshots) > 0, lv.ExtSnapshots > 0:
		return 'o'
	case lv.HasStatus("PVMOVE"):
		return 'p'
	case lv.is(metadata.RoleLegMetadata, metadata.KindRAID), lv.is(metadata.RoleMetadata, metadata.KindThinPool),
		lv.is(metadata.RoleMetadata, metadata.KindCachePool), lv.is(metadata.RoleMetadata, metadata.KindIntegrity), lv.PoolSpare():
		return 'e'
	case lv.isCacheVolume(), lv.is(metadata.RoleData, metadata.KindCachePool):
		return 'C'
	}
	if kind := lv.Kind(); kind.Letter != 0 {
		if kind.Synced && lv.HasStatus("NOTSYNCED") {
			return kind.Letter - ('a' - 'A')
		}
		return kind.Letter
	}
	switch {
	case lv.Snapshot != nil && lv.Snapshot.Merging:
		return 'S'
	case lv.Snapshot != nil:
		return 's'
	case lv.virtual(), lv.unknownType():
		return 'v'
	case lv.is(metadata.RoleData, metadata.KindThinPool):
		return 'T'
	case lv.is(metadata.RoleData, metadata.KindVDOPool):
		return 'D'
	case lv.is(metadata.RoleOrigin, metadata.KindCache), lv.is(metadata.RoleOrigin, metadata.KindWritecache):
		return 'o'
	case lv.is(metadata.RoleLeg, metadata.KindRAID):
		// The legs of a RAID 0 have nothing to be in sync with.
		if typ, _ := lv.As(metadata.RoleLeg, metadata.KindRAID).RAIDType(); typ.Level != raid.RAID0 && (lv.lost() || lv.OutOfSync()) {
			return 'I'
		}
		return 'i'
	case lv.is(metadata.RoleLeg, metadata.KindMirror), lv.is(metadata.RoleOrigin, metadata.KindIntegrity):
		return 'i'
	case lv.is(metadata.RoleLog, metadata.KindMirror):
		return 'l'
	}
	return '-'
}

func (lv subject) permissionAttr() byte {
	switch {
	case lv.HasStatus("PVMOVE"):
		return '-'
	case lv.Writable():
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
func (lv subject) targetAttr() byte {
	if lv.is(metadata.RoleOrigin, metadata.KindCache) || lv.is(metadata.RoleOrigin, metadata.KindWritecache) || lv.isCacheVolume() {
		return 'C'
	}
	if kind := lv.Kind(); kind.Target != 0 {
		return kind.Target
	}
	switch {
	case lv.is(metadata.RoleLeg, metadata.KindRAID), lv.is(metadata.RoleLegMetadata, metadata.KindRAID):
		return 'r'
	case len(lv.Uses.Snapshots) > 0, lv.Snapshot != nil:
		return 's'
	case lv.is(metadata.RoleLeg, metadata.KindMirror), lv.is(metadata.RoleLog, metadata.KindMirror):
		return 'm'
	case lv.unknownType():
		return 'u'
	case lv.virtual():
		return 'v'
	}
	return '-'
}

func (lv subject) healthAttr() byte {
	switch lv.health() {
	case "partial":
		return 'p'
	case "refresh needed":
		return 'r'
	case "writemostly":
		return 'w'
	}
	if lv.Reshaping() {
		return 's'
	}
	return '-'
}

// HealthStatus is lvm's lv_health_status as far as the metadata tells: partial, refresh
// needed (of a RAID with a leg of type error), writemostly, or "". See also [lvm2.LV.Health].
func HealthStatus(lv *lvm2.LV) string { return subject{lv, lv.Uses()}.health() }

func (lv subject) health() string {
	// Where the checksums of integrity are on a missing PV, lvm does not say so.
	if lv.Incomplete() && !lv.is(metadata.RoleMetadata, metadata.KindIntegrity) {
		return "partial"
	}
	switch {
	case lv.is(metadata.RoleLeg, metadata.KindRAID), lv.is(metadata.RoleLegMetadata, metadata.KindRAID):
		if errorOnly(lv.LV.LV) {
			return "refresh needed"
		}
		if lv.HasStatus("WRITEMOSTLY") {
			return "writemostly"
		}
	default:
		if m := lv.RAID(); m != nil && slices.ContainsFunc(m.Legs, replacedByErrors) {
			return "refresh needed"
		}
	}
	return ""
}

func replacedByErrors(leg metadata.RAIDLeg) bool {
	return leg.Data != nil && errorOnly(leg.Data) || leg.Meta != nil && errorOnly(leg.Meta)
}

func errorOnly(lv *metadata.LV) bool {
	return len(lv.Segments) > 0 && !slices.ContainsFunc(lv.Segments, func(seg *metadata.Segment) bool { return !metadata.Is[*metadata.Error](seg) })
}

// lost says whether an extent of the LV's own is on a device that was not given, or beyond the end of its device.
func (lv subject) lost() bool {
	return slices.ContainsFunc(lv.Segments, func(seg *metadata.Segment) bool {
		return slices.ContainsFunc(seg.References(), func(r metadata.Reference) bool {
			pv := lv.VG.PVOf(r.PV)
			return pv != nil && (pv.Device == nil || !pv.FlaggedMissing() && pv.Lacks(r.Extent, seg.AreaExtents()))
		})
	})
}

// virtual says whether a part of the LV lies on nothing of its own.
func (lv subject) virtual() bool {
	return slices.ContainsFunc(lv.Segments, func(seg *metadata.Segment) bool { return seg.Kind().Virtual })
}

func (lv subject) unknownType() bool {
	return slices.ContainsFunc(lv.Segments, (*metadata.Segment).UnknownType)
}

func (lv subject) isCacheVolume() bool {
	return lv.is(metadata.RolePool, metadata.KindWritecache) || slices.Contains(lv.Flags, "CACHE_VOL") || lv.HasStatus("CACHE_VOL")
}

// zeroes says whether new blocks of a thin pool, or of a thin LV, are zeroed.
func (lv subject) zeroes() bool {
	pool := lv.ThinPool()
	if m, ok := lv.Mapping().(*metadata.Thin); ok {
		pool = m.Pool.ThinPool()
	}
	return pool != nil && pool.ZeroNewBlocks
}

// PVAttr is lvm's pv_attr.
func PVAttr(pv *lvm2.PV) string {
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

// VGAttr is lvm's vg_attr.
func VGAttr(vg *lvm2.VG) string {
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
	if MissingPVs(vg) > 0 {
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

// MissingPVs is the number of PVs that are [lvm2.PV.Missing].
func MissingPVs(vg *lvm2.VG) int {
	n := 0
	for _, pv := range vg.PVs {
		if pv.Missing() {
			n++
		}
	}
	return n
}

// Percent is a share as lvm prints it: 0.00 and 100.00 only for nothing and all.
func Percent(s lvm2.Share) string {
	if s.Part == 0 || s.Whole == 0 {
		return "0.00"
	}
	if s.Part >= s.Whole {
		return "100.00"
	}
	return fmt.Sprintf("%.2f", min(max(100*float64(s.Part)/float64(s.Whole), 0.01), 99.99))
}
