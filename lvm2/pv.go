package lvm2

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"lvm2fs/mapping"
)

// Device is what a PV is read from; see [mapping.Device]. One that is also a
// [mapping.WritableDevice] can be written.
type Device = mapping.Device

// PV is a physical volume: as its VG's metadata describes it, with the device it was
// found on, or an orphan that belongs to no VG.
type PV struct {
	VG     *VG    // nil for an orphan
	Label  string // pv0, pv1, ...: what areas of this metadata call it
	UUID   UUID
	Device Device // nil if the PV is missing
	Status []string
	Flags  []string
	Tags   []string

	DeviceHint    string // path at the time of writing
	DevSize       int64  // bytes, at the time of writing
	DataStart     int64  // bytes from the start of the device to extent 0 (pe_start)
	ExtentCount   uint64
	BootAreaStart int64  // bytes; 0 with BootAreaSize 0 for none
	BootAreaSize  int64  // bytes
	HeaderVersion uint32 // of the PV header's extension; 0 for none
	InUse         bool   // the header says that a VG uses the PV
	MetadataAreas []MetadataArea

	allocated   uint64            // extents in use
	holder      string            // who else uses the device
	labelSize   int64             // bytes of the PV by its label
	copies      []Device          // with which the device is compared at each read
	duplicate   bool              // on another device too
	broken      error             // what is wrong with its metadata
	damaged     bool              // none of its metadata areas can be read
	fingerprint [sha256.Size]byte // of label and metadata, as Open read them
}

// MetadataArea is one of the up to two places of a PV that hold copies of the VG's
// metadata.
type MetadataArea struct {
	Offset   int64  // bytes from the start of the device
	Size     int64  // bytes
	Ignored  bool   // kept out of use (vgchange --metadatacopies)
	Seqno    uint64 // of the text in it; 0 if there is none or it is damaged
	TextSize int64  // bytes of the text in use
	Err      error  // what is wrong with it
}

// AllocatedExtentCount is the number of extents that LVs use.
func (pv *PV) AllocatedExtentCount() uint64 { return pv.allocated }

// FlaggedMissing says whether the metadata remembers that the PV was absent while
// the VG was changed. Its contents are suspect until vgextend --restoremissing, even
// when the device is back.
func (pv *PV) FlaggedMissing() bool {
	return slices.Contains(pv.Flags, "MISSING") || slices.Contains(pv.Status, "MISSING")
}

// fail records what is wrong with the metadata of a PV: the first thing counts.
func (pv *PV) fail(err error) {
	if pv.broken == nil {
		pv.broken = fmt.Errorf("%w: PV %s: %w", ErrMetadata, pv.Label, err)
	}
}

// MetadataLost is why none of the PV's copies of its VG's metadata can be read, so that which VG it is of is not
// known from it; nil if one can be read, or it has none.
func (pv *PV) MetadataLost() error {
	if !pv.damaged {
		return nil
	}
	var errs []error
	for _, area := range pv.MetadataAreas {
		if area.Err != nil {
			errs = append(errs, area.Err)
		}
	}
	return fmt.Errorf("its metadata cannot be read: %w", errors.Join(errs...))
}

// Shortfall is by how many bytes the device is smaller than the PV, 0 if it is not: an image that was cut short, a
// part of an array. What lies behind the end of the device is missing.
func (pv *PV) Shortfall() int64 {
	if pv.Device == nil {
		return 0
	}
	size := cmp.Or(pv.labelSize, pv.DevSize)
	if pv.VG != nil {
		size = max(size, pv.DataStart+int64(pv.ExtentCount)*pv.VG.ExtentSize)
	}
	return max(0, size-pv.present())
}

// present is the number of bytes that the device and its copies all have.
func (pv *PV) present() int64 {
	size := pv.Device.Size()
	for _, c := range pv.copies {
		size = min(size, c.Size())
	}
	return size
}

// lacks says whether any of the extents of an area cannot be there: the PV is missing, or its device ends
// before them.
func (pv *PV) lacks(first, extents uint64) bool {
	if pv.Missing() {
		return true
	}
	whole := max(0, pv.present()-pv.DataStart) / pv.VG.ExtentSize
	return extents > 0 && first+extents > uint64(whole)
}

// contents is what the PV is read from: the device, compared with its copies.
func (pv *PV) contents() Device {
	if len(pv.copies) == 0 {
		return pv.Device
	}
	return mapping.NewTwins(append([]Device{pv.Device}, pv.copies...), fmt.Errorf("%w: nothing tells which is right: name only one of them", ErrAmbiguous))
}

func (pv *PV) String() string {
	if pv.Device != nil {
		return pv.Device.Name()
	}
	return fmt.Sprintf("PV %s (last seen as %s)", pv.UUID, pv.DeviceHint)
}
