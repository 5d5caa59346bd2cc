package lvm2

import (
	"slices"
	"sync"
	"time"
)

// VG is a volume group as its newest metadata describes it. It does not change:
// to see what others have changed, [Open] the devices again.
type VG struct {
	Name             string // as in the metadata; see DirName for one that is fit for a path
	UUID             UUID
	Seqno            uint64
	Format           string // "lvm2"
	Status           []string
	Flags            []string
	Tags             []string
	SystemID         string // the host that owns the VG; empty for none
	LockType         string // of a shared VG: sanlock, dlm, idm
	LockArgs         string
	ExtentSize       int64 // bytes
	MaxLV, MaxPV     uint64
	AllocationPolicy string
	Profile          string
	MetadataCopies   uint64 // 0: all metadata areas are in use

	Description  string    // the command that wrote the metadata
	CreationHost string    // where it ran
	CreationTime time.Time // when

	PVs           []*PV // in the order of the metadata
	LVs           []*LV // in the order of the metadata
	HistoricalLVs []*HistoricalLV

	dirName   string
	ambiguous bool // copies with the same seqno differ
	oddities  oddities
	contested *PV   // the first with extents that belong to several segments, or twice to one; nil if there is none
	hasBroken bool  // the metadata of an LV make no sense
	bottomUp  []*LV // each LV follows those that it refers to
	assembly  *assembly

	partialOnce sync.Once
	partial     map[*LV]bool // see partialLVs

	deriveOnce sync.Once
	derived    *derived
}

// DirName is the name of the VG's directory: its name; NAME@XXXXXX, with the first
// group of the UUID, where two VGs of a scan share the name; @UUID where the name is
// not one that lvm would allow.
func (vg *VG) DirName() string { return vg.dirName }

// LV finds a logical volume by its name, visible or not; nil if there is none.
func (vg *VG) LV(name string) *LV {
	for _, lv := range vg.LVs {
		if lv.Name == name {
			return lv
		}
	}
	return nil
}

// Exported says whether the VG was given away by vgexport. lvm2 activates none of
// its LVs until vgimport.
func (vg *VG) Exported() bool { return slices.Contains(vg.Status, "EXPORTED") }

// Partial says whether a PV of the VG was not found.
func (vg *VG) Partial() bool {
	return slices.ContainsFunc(vg.PVs, func(pv *PV) bool { return pv.Device == nil })
}

// ExtentCount is the number of extents of all PVs, found and missing.
func (vg *VG) ExtentCount() uint64 {
	var n uint64
	for _, pv := range vg.PVs {
		n += pv.ExtentCount
	}
	return n
}

// FreeExtentCount is the number of extents that no LV uses.
func (vg *VG) FreeExtentCount() uint64 {
	var n uint64
	for _, pv := range vg.PVs {
		n += pv.ExtentCount - pv.AllocatedExtentCount()
	}
	return n
}
