package metadata

import (
	"fmt"
	"slices"
	"time"
)

// LV is a logical volume as the metadata describes it.
type LV struct {
	VG               *VG
	Name             string // as in the metadata; see FileName for one that is fit for a path
	UUID             UUID
	Status           []string
	Flags            []string
	Tags             []string
	CreationTime     time.Time // zero if not recorded
	CreationHost     string
	AllocationPolicy string
	Profile          string
	LockArgs         string
	ReadAhead        int64      // sectors; 0 automatic, -1 none
	Major, Minor     int64      // with status FIXED_MINOR; otherwise -1
	Segments         []*Segment // in order, from extent 0, without gaps

	extentCount uint64
	fileName    string
	users       []use
	broken      error // what is wrong with its metadata

	cowOf          *Segment    // of type snapshot
	originOf       []*Snapshot // in the order of the metadata
	externalOrigin bool        // of a thin LV
	mergesWith     *Thin       // the mapping of the thin LV that is to be merged into this one

	allPVs         []*PV // beneath it, in the order of the VG
	specialBeneath []*LV // see Through
}

// use is that a segment refers to an LV.
type use struct {
	seg      *Segment
	role     Role
	optional bool
}

// HistoricalLV is what the metadata remembers of a removed thin LV.
type HistoricalLV struct {
	VG           *VG
	Name         string
	UUID         UUID
	CreationTime time.Time
	RemovalTime  time.Time
	Origin       string // the name of an LV, or of a historical one with a leading "-"
	Descendants  []string
}

// FileName is the name of the LV's file: its name; @UUID where the name is not one
// that lvm would allow.
func (lv *LV) FileName() string { return lv.fileName }

// ExtentCount is the number of logical extents.
func (lv *LV) ExtentCount() uint64 { return lv.extentCount }

// Size is the size in bytes that lvm reports. The block device that the kernel would make has
// another for a few; see DeviceSize.
func (lv *LV) Size() int64 {
	extents := lv.extentCount
	for _, seg := range lv.Segments {
		extents -= min(extents, seg.reshapeSpace())
	}
	return int64(extents) * lv.VG.ExtentSize
}

// DeviceSize is the size in bytes of the block device that the kernel would make, as far as
// the metadata tells.
func (lv *LV) DeviceSize() int64 {
	if seg := lv.cowOf; seg != nil {
		return int64(seg.ExtentCount) * lv.VG.ExtentSize
	}
	return lv.Size()
}

// Broken is what is wrong with the metadata of the LV, which can then not be used; it wraps
// ErrMetadata. Nil if nothing is.
func (lv *LV) Broken() error { return lv.broken }

// shownStatus says whether the status lets the LV be seen. One that has none is not hidden.
func (lv *LV) shownStatus() bool { return lv.Status == nil || lv.HasStatus("VISIBLE") }

// HasStatus says whether the metadata give the LV a status flag.
func (lv *LV) HasStatus(flag string) bool { return slices.Contains(lv.Status, flag) }

func (lv *LV) String() string { return lv.VG.Name + "/" + lv.Name }

// fail records what is wrong with the metadata of an LV: the first thing counts.
func (lv *LV) fail(err error) {
	if lv.broken == nil {
		lv.broken = fmt.Errorf("%w: LV %s: %w", ErrMetadata, lv.Name, err)
		lv.VG.hasBroken = true
	}
}
