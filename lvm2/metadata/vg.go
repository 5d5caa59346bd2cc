package metadata

import (
	"slices"
	"time"
)

// VG is a volume group as a metadata text describes it.
type VG struct {
	Name             string // as in the metadata: any bytes
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

	oddities  oddities
	contested *PV   // the first with extents that belong to several segments, or twice to one; nil if there is none
	hasBroken bool  // the metadata of an LV make no sense
	bottomUp  []*LV // each LV follows those that it refers to

	// Most commands do without.
	byName  func() map[string]*LV // of those that share a name, the last
	history func() *history
	modules func() map[*LV]modules
}

func (vg *VG) findNames() map[string]*LV {
	byName := make(map[string]*LV, len(vg.LVs))
	for _, lv := range vg.LVs {
		byName[lv.Name] = lv
	}
	return byName
}

// LV finds a logical volume by its name, visible or not; nil if there is none.
func (vg *VG) LV(name string) *LV {
	for _, lv := range vg.LVs {
		if lv.Name == name {
			return lv
		}
	}
	return nil
}

// PV finds a physical volume by its UUID; nil if there is none.
func (vg *VG) PV(uuid UUID) *PV {
	for _, pv := range vg.PVs {
		if pv.UUID == uuid {
			return pv
		}
	}
	return nil
}

// Exported says whether the VG was given away by vgexport. lvm2 activates none of
// its LVs until vgimport.
func (vg *VG) Exported() bool { return slices.Contains(vg.Status, "EXPORTED") }

// HasBroken says whether the metadata of an LV make no sense.
func (vg *VG) HasBroken() bool { return vg.hasBroken }

// Contested is a PV of which the metadata give extents to more than one segment; nil if there is none.
func (vg *VG) Contested() *PV { return vg.contested }

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
