package metadata

import (
	"slices"
	"strings"
)

// AllocationLocked says whether the extents may not be moved or changed in number now.
func (lv *LV) AllocationLocked() bool { return lv.HasStatus("LOCKED") }

// SkipActivation says whether lvm2 leaves the LV out when it activates a VG.
func (lv *LV) SkipActivation() bool { return slices.Contains(lv.Flags, "ACTIVATION_SKIP") }

// Writable says whether the metadata lets the LV be written. See also ReadOnlyReason of package lvm2.
func (lv *LV) Writable() bool { return allowsWriting(lv.Status, lv.Flags) }

// FixedMinor says whether the LV keeps its device number, in Major and Minor.
func (lv *LV) FixedMinor() bool { return lv.HasStatus("FIXED_MINOR") }

// AutoActivation says whether lvm2 may activate the LV by itself.
func (lv *LV) AutoActivation() bool { return !slices.Contains(lv.Flags, "NOAUTOACTIVATE") }

// InitialSync says whether the legs of a mirror or RAID were made equal when it was made;
// false for other LVs.
func (lv *LV) InitialSync() bool {
	return lv.Kind().Synced && !lv.HasStatus("NOTSYNCED")
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

// HasDevice says whether lvm2 would make a device of the LV's name when it activates it or
// what it is part of.
func (lv *LV) HasDevice() bool {
	return !lv.Kind().NoDevice && !lv.PoolSpare() && !lv.HasStatus("PVMOVE")
}

// PoolSpare says whether the LV is kept for the repair of a pool's metadata. Nothing refers
// to it; lvm goes by the name. (docs/format/02-metadata-text.md, section 8)
func (lv *LV) PoolSpare() bool {
	return strings.HasSuffix(lv.Name, "_pmspare") && !lv.HasStatus("VISIBLE")
}

// Writable says whether the metadata lets the VG be changed.
func (vg *VG) Writable() bool { return allowsWriting(vg.Status, vg.Flags) }

// Resizeable says whether PVs may be added to the VG.
func (vg *VG) Resizeable() bool { return slices.Contains(vg.Status, "RESIZEABLE") }

// AutoActivation says whether lvm2 may activate the VG by itself.
func (vg *VG) AutoActivation() bool { return !slices.Contains(vg.Flags, "NOAUTOACTIVATE") }

// Clustered says whether clvmd guarded the VG, in lvm2 before 2.03.
func (vg *VG) Clustered() bool { return slices.Contains(vg.Status, "CLUSTERED") }

// Shared says whether lvmlockd guards the VG, since several hosts use it. Several hosts may use a VG for other
// reasons too; then ReadOnlyReason of package lvm2 says so.
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
