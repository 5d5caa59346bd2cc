package report

import (
	"strconv"

	"lvm2fs/lvm2"
)

// The fields of vgs and pvs. What they mean says lvm: vgs -o help, pvs -o help.

// VGRow is a row of vgs.
func VGRow(vg *lvm2.VG) Row {
	var r Row
	r.text("vg_fmt", "lvm2")
	r.text("vg_uuid", vg.UUID.String())
	r.text("vg_name", vg.Name)
	r.text("vg_attr", VGAttr(vg))
	r.text("vg_permissions", permissions(vg.Writable()))
	r.flag("vg_extendable", "extendable", vg.Resizeable())
	r.flag("vg_exported", "exported", vg.Exported())
	r.flag("vg_autoactivation", "enabled", vg.AutoActivation())
	r.flag("vg_partial", "partial", MissingPVs(vg) > 0)
	r.text("vg_allocation_policy", allocationPolicy(vg.Allocation()))
	r.flag("vg_clustered", "clustered", vg.Clustered())
	r.flag("vg_shared", "shared", vg.Shared())
	r.size("vg_size", int64(vg.ExtentCount())*vg.ExtentSize)
	r.size("vg_free", int64(vg.FreeExtentCount())*vg.ExtentSize)
	r.text("vg_sysid", vg.SystemID)
	r.text("vg_systemid", vg.SystemID)
	r.flag("vg_lock_type", vg.LockType, vg.LockType != "none")
	r.text("vg_lock_args", vg.LockArgs)
	r.size("vg_extent_size", vg.ExtentSize)
	r.number("vg_extent_count", vg.ExtentCount())
	r.number("vg_free_count", vg.FreeExtentCount())
	r.number("max_lv", vg.MaxLV)
	r.number("max_pv", vg.MaxPV)
	r.count("pv_count", len(vg.PVs))
	r.count("vg_missing_pv_count", MissingPVs(vg))
	lvs, snapshots := 0, 0
	for _, lv := range vg.LVs {
		if lv.Listed() {
			lvs++
		}
		if lv.IsSnapshotRelation() {
			snapshots++
		}
	}
	r.count("lv_count", lvs)
	r.count("snap_count", snapshots)
	r.number("vg_seqno", vg.Seqno)
	r.text("vg_tags", Tags(vg.Tags))
	r.text("vg_profile", vg.Profile)
	var areas metadataAreas
	for _, pv := range vg.PVs {
		areas.add(pv)
	}
	areas.counts(&r, "vg")
	r.size("vg_mda_free", areas.free)
	r.size("vg_mda_size", areas.usedSize)
	copies := "unmanaged"
	if vg.MetadataCopies > 0 {
		copies = strconv.FormatUint(vg.MetadataCopies, 10)
	}
	r.text("vg_mda_copies", copies)
	return r
}

// PVRow is a row of pvs.
func PVRow(pv *lvm2.PV) Row {
	var areas metadataAreas
	areas.add(pv)
	var r Row
	r.text("pv_fmt", "lvm2")
	r.text("pv_uuid", pv.UUID.String())
	var size int64
	if pv.Device != nil {
		size = pv.Device.Size()
	}
	r.size("dev_size", size)
	r.text("pv_name", PVName(pv))
	free := areas.free
	if areas.used < areas.count {
		free = 0 // lvm does not look at one that is ignored, and takes it for full
	}
	r.size("pv_mda_free", free)
	r.size("pv_mda_size", areas.size)
	if pv.HeaderVersion > 0 {
		r.number("pv_ext_vsn", uint64(pv.HeaderVersion))
	}
	r.size("pe_start", pv.DataStart)
	used := int64(0)
	if pv.VG != nil {
		size = int64(pv.ExtentCount) * pv.VG.ExtentSize
		used = int64(pv.AllocatedExtentCount()) * pv.VG.ExtentSize
	}
	r.size("pv_size", size)
	r.size("pv_free", size-used)
	r.size("pv_used", used)
	r.text("pv_attr", PVAttr(pv))
	r.flag("pv_allocatable", "allocatable", pv.Allocatable())
	r.flag("pv_exported", "exported", pv.Exported())
	r.flag("pv_missing", "missing", pv.Missing())
	r.number("pv_pe_count", pv.ExtentCount)
	r.number("pv_pe_alloc_count", pv.AllocatedExtentCount())
	r.text("pv_tags", Tags(pv.Tags))
	areas.counts(&r, "pv")
	r.size("pv_ba_start", pv.BootAreaStart)
	r.size("pv_ba_size", pv.BootAreaSize)
	r.flag("pv_in_use", "used", pv.VG != nil || pv.InUse)
	if pv.VG != nil {
		r.text("vg_name", pv.VG.Name)
	}
	return r
}

// DuplicateRow is all that pvs says of a device whose PV is used from another.
func DuplicateRow(pv *lvm2.PV) Row {
	var r Row
	r.text("pv_fmt", "lvm2")
	r.text("pv_uuid", pv.UUID.String())
	r.size("dev_size", pv.Device.Size())
	r.text("pv_name", PVName(pv))
	for _, name := range []string{"pv_mda_free", "pv_mda_size", "pe_start", "pv_size", "pv_free", "pv_used"} {
		r.size(name, 0)
	}
	r.text("pv_attr", "d--")
	for _, name := range []string{"pv_pe_count", "pv_pe_alloc_count", "pv_mda_count", "pv_mda_used_count"} {
		r.count(name, 0)
	}
	r.size("pv_ba_start", 0)
	r.size("pv_ba_size", 0)
	r.flag("pv_in_use", "used", pv.VG != nil || pv.InUse)
	r.text("pv_duplicate", "duplicate")
	if pv.VG != nil {
		r.text("vg_name", pv.VG.Name)
	}
	return r
}

// metadataAreas sums up the metadata areas of a PV, or of all PVs of a VG that are there.
type metadataAreas struct {
	count, used int
	size        int64 // bytes, of the smallest
	usedSize    int64 // of the smallest that is not ignored
	free        int64 // of the fullest that is not ignored
}

func (m *metadataAreas) add(pv *lvm2.PV) {
	for _, area := range pv.MetadataAreas {
		if area.Err != nil {
			continue // lvm does not count what it cannot read
		}
		if m.count == 0 || area.Size < m.size {
			m.size = area.Size
		}
		m.count++
		if area.Ignored {
			continue
		}
		if m.used == 0 || area.Size < m.usedSize {
			m.usedSize = area.Size
		}
		if m.used == 0 || area.Free() < m.free {
			m.free = area.Free()
		}
		m.used++
	}
}

func (m *metadataAreas) counts(r *Row, prefix string) {
	r.count(prefix+"_mda_count", m.count)
	r.count(prefix+"_mda_used_count", m.used)
}

func permissions(writable bool) string {
	if writable {
		return "writeable"
	}
	return "read-only"
}

// allocationPolicy is the policy as lvm reports it, which knows no tags.
func allocationPolicy(policy string) string {
	if policy == "cling_by_tags" {
		return "cling"
	}
	return policy
}
