package lvm2

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Device is what a PV is read from; see [mapping.Device]. One that is also a
// [mapping.WritableDevice] can be written.
type Device = mapping.Device

// PV is a physical volume: as its VG's metadata describes it, with the device it was
// found on, or an orphan that belongs to no VG.
type PV struct {
	*metadata.PV
	VG     *VG    // nil for an orphan
	Device Device // nil if the PV is missing

	HeaderVersion uint32 // of the PV header's extension; 0 for none
	InUse         bool   // the header says that a VG uses the PV
	MetadataAreas []MetadataArea

	holder      string            // who else uses the device, or another that shows the PV
	shownBy     []Device          // all devices with the PV
	labelSize   int64             // bytes of the PV by its label
	told        bool              // the device is this PV by the user's word alone
	use         bool              // although it was missing when the VG was changed
	copies      []Device          // with which the device is compared at each read
	duplicate   bool              // on another device too
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

// Free is the number of bytes that the next text of the metadata may grow by: half of the
// area holds a text while the other half gets the next. It is in whole sectors.
// (docs/format/01-label-and-metadata-area.md, section 6)
func (m *MetadataArea) Free() int64 {
	const header, sectorSize = 512, 512
	largest := (m.Size-header)/2 - sectorSize
	return max(0, largest-m.TextSize) / sectorSize * sectorSize
}

// Missing says whether lvm would treat the PV as absent. Either it is absent, or its metadata say that it was while the
// VG was changed; [Options].UseMissing has such a PV read.
func (pv *PV) Missing() bool { return pv.Device == nil || pv.FlaggedMissing() && !pv.use }

// MetadataLost is why none of the PV's copies of the metadata can be read, so that nothing says which VG it belongs to.
// It is nil if one can be read, or if the PV has none.
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

// Shortfall is how many bytes smaller than the PV the device is, 0 if it is not. It may be an image that was cut short,
// or a part of an array. What lies behind its end is missing.
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

// Lacks says whether some extents of an area cannot be there: the PV is missing, its device ends before them, or they may
// have been overwritten.
func (pv *PV) Lacks(first, extents uint64) bool {
	if pv.Missing() {
		return true
	}
	whole := max(0, pv.present()-pv.DataStart) / pv.VG.ExtentSize
	if extents > 0 && first+extents > uint64(whole) {
		return true
	}
	start := pv.DataStart + int64(first)*pv.VG.ExtentSize
	return metadata.Overlap(pv.reused(), start, start+int64(extents)*pv.VG.ExtentSize)
}

// contents is what the PV is read from: the device, compared with its copies.
func (pv *PV) contents() Device {
	if len(pv.copies) == 0 {
		return pv.withoutReused(pv.Device)
	}
	return pv.withoutReused(mapping.NewTwins(append([]Device{pv.Device}, pv.copies...), fmt.Errorf("%w: nothing tells which is right: name only one of them", ErrAmbiguous)))
}

func (pv *PV) String() string {
	if pv.Device != nil {
		return pv.Device.Name()
	}
	return fmt.Sprintf("PV %s (last seen as %s)", pv.UUID, pv.DeviceHint)
}

// UUID is a PV's, VG's or LV's identifier.
type UUID = metadata.UUID
