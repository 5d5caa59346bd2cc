package lvm2

import (
	"fmt"
	"slices"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// ReadOnlyError is why an LV cannot be written. It wraps ErrReadOnly.
type ReadOnlyError struct {
	LV     *LV
	Reason string // a phrase
	Own    bool   // it is about this LV, and not about its VG, its devices or all segments of a type
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("LV %s: %v: %s", e.LV, ErrReadOnly, e.Reason)
}

// Unwrap makes the error one of [ErrReadOnly].
func (e *ReadOnlyError) Unwrap() error { return ErrReadOnly }

// ReadOnlyReason says why the LV cannot be written, with a [*ReadOnlyError]; nil when it can.
func (lv *LV) ReadOnlyReason() error {
	if reason, own := lv.readOnlyReason(); reason != "" {
		return &ReadOnlyError{lv, reason, own}
	}
	return nil
}

// readOnlyReason is why the LV cannot be written, as a phrase; "" if it can be. own says whether that is about this
// LV and not about its VG, its devices or all segments of a type.
func (lv *LV) readOnlyReason() (reason string, own bool) {
	if reason := lv.VG.readOnlyReason(); reason != "" {
		return reason, false
	}
	switch {
	case !lv.Writable():
		return "the LV is read-only", true
	case !lv.Visible():
		return "the LV is internal", true
	case lv.IsExternalOrigin():
		return "it is the external origin of a thin LV", true
	case slices.ContainsFunc(lv.Family(), func(lv *metadata.LV) bool { return lv.HasStatus("PVMOVE") || lv.HasStatus("LOCKED") }):
		return "a pvmove is not finished", true
	}
	if reason := lv.VG.doubt(); reason != "" {
		return reason, false
	}
	lost := slices.ContainsFunc(lv.Family(), func(m *metadata.LV) bool { return lv.VG.lost()[m] })
	for _, m := range lv.FamilyPVs() {
		pv := lv.VG.pvs[m]
		if pv.Missing() {
			if lost {
				return pv.missing(), false
			}
			continue // a RAID is degraded
		}
		if _, ok := pv.Device.(mapping.WritableDevice); !ok {
			return fmt.Sprintf("writing to %s is unsupported", pv), false
		}
		if err := mapping.Unwritable(pv.Device); err != nil {
			return err.Error(), false
		}
	}
	return lv.VG.assembly.ReadOnlyReason(lv.LV)
}

// readOnlyReason is why no LV of the VG is to be written, as a phrase; "" if nothing keeps all of them from it.
func (vg *VG) readOnlyReason() string {
	switch {
	case vg.past != nil:
		return "the VG is shown as it was: " + vg.past.From
	case vg.Exported():
		return "the VG is exported"
	case vg.SystemID != "":
		return fmt.Sprintf("the VG belongs to the host with system ID %q", vg.SystemID)
	case vg.LockType != "" && vg.LockType != "none", vg.Clustered(), slices.Contains(vg.Status, "SHARED"):
		return "the VG is shared with other hosts"
	case vg.ambiguous:
		return "copies of the VG's metadata differ"
	case vg.Damage() != nil:
		return "the VG's metadata is damaged"
	case !vg.Writable():
		return "the VG is read-only"
	}
	return ""
}

// doubt is why it is uncertain which extents of the VG are in use, as a phrase; "" if it is certain.
func (vg *VG) doubt() string {
	switch {
	case vg.Contested() != nil:
		return fmt.Sprintf("the metadata give extents of %s to more than one segment", vg.pvs[vg.Contested()])
	case vg.HasBroken():
		return "the metadata of an LV of the VG make no sense"
	}
	for _, pv := range vg.PVs {
		if reason := pv.doubt(); reason != "" {
			return reason
		}
	}
	return ""
}

func (pv *PV) doubt() string {
	switch {
	case pv.Broken() != nil:
		return fmt.Sprintf("the metadata of PV %s is damaged", pv.Label)
	case pv.FlaggedMissing() && !pv.Missing():
		return pv.missing() // and yet it is read
	case pv.told:
		return fmt.Sprintf("%s has no label that says that it is the PV", pv)
	case pv.Shortfall() > 0:
		return fmt.Sprintf("%s is smaller than its PV", pv)
	case pv.duplicate:
		return fmt.Sprintf("the PV on %s is on another device too", pv)
	case pv.damaged:
		return fmt.Sprintf("the metadata on %s is damaged, so there may be newer", pv)
	case pv.Exported():
		return fmt.Sprintf("%s is exported", pv)
	}
	return ""
}

// missing is why the PV is not used, or should not be.
func (pv *PV) missing() string {
	if pv.Device == nil {
		return fmt.Sprintf("%s is missing", pv)
	}
	return fmt.Sprintf("%s was missing when the VG was changed", pv)
}

// Inherit keeps the knowledge that old's cache was clean before we wrote; the superblock no longer shows it.
// old is the same LV of an earlier reading of the metadata. What has changed on disk since is not inherited.
// Call it before lv is used, while nobody writes to old.
func (lv *LV) Inherit(old *LV) { lv.VG.assembly.Inherit(lv.LV, old.VG.assembly, old.LV) }
