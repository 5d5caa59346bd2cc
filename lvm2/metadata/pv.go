package metadata

import (
	"fmt"
	"slices"
)

// PV is a physical volume as its VG's metadata describes it.
type PV struct {
	VG     *VG    // nil for one that belongs to no VG
	Label  string // pv0, pv1, ...: what areas of this metadata call it
	UUID   UUID
	Status []string
	Flags  []string
	Tags   []string

	DeviceHint    string // path at the time of writing
	DevSize       int64  // bytes, at the time of writing
	DataStart     int64  // bytes from the start of the device to extent 0 (pe_start)
	ExtentCount   uint64
	BootAreaStart int64 // bytes; 0 with BootAreaSize 0 for none
	BootAreaSize  int64 // bytes

	allocated uint64 // extents in use
	broken    error  // what is wrong with its metadata
}

// AllocatedExtentCount is the number of extents that LVs use.
func (pv *PV) AllocatedExtentCount() uint64 { return pv.allocated }

// FlaggedMissing says whether the metadata remembers that the PV was absent while
// the VG was changed. Its contents are suspect until vgextend --restoremissing, even
// when the device is back.
func (pv *PV) FlaggedMissing() bool {
	return slices.Contains(pv.Flags, "MISSING") || slices.Contains(pv.Status, "MISSING")
}

// Broken is what is wrong with the metadata of the PV, which can then not be used; it wraps
// ErrMetadata. Nil if nothing is.
func (pv *PV) Broken() error { return pv.broken }

// fail records what is wrong with the metadata of a PV: the first thing counts.
func (pv *PV) fail(err error) {
	if pv.broken == nil {
		pv.broken = fmt.Errorf("%w: PV %s: %w", ErrMetadata, pv.Label, err)
	}
}

// Allocatable says whether lvm may place new extents on the PV.
func (pv *PV) Allocatable() bool { return slices.Contains(pv.Status, "ALLOCATABLE") }

// Exported says whether the PV was given away with its VG by vgexport.
func (pv *PV) Exported() bool { return slices.Contains(pv.Status, "EXPORTED") }
