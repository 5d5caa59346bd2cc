package metadata

import (
	"slices"
	"strings"
)

// lvmTypeFlags are those that change how a type that is known is read, not what it is.
// (docs/format/02-metadata-text.md, section 7)
var lvmTypeFlags = []string{
	"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE",
	"METADATA_FORMAT", "CROP_METADATA", "CACHE_USES_CACHEVOL",
}

// UnknownType says whether lvm2 would not know what the segment is, and keeps only its text.
func (seg *Segment) UnknownType() bool {
	return seg.Mapping == nil || len(unknown(seg.TypeFlags, lvmTypeFlags)) > 0
}

// TypeName is lvm's segtype: linear for one stripe; Type with its flags if it is one that
// lvm2 does not know; otherwise Type.
func (seg *Segment) TypeName() string {
	if seg.UnknownType() {
		return strings.Join(slices.Concat([]string{seg.Type}, seg.TypeFlags), "+")
	}
	if m, ok := seg.Mapping.(*Striped); ok {
		if len(m.Stripes) == 1 {
			return "linear"
		}
		return "striped"
	}
	return seg.Type
}

// Areas are the parts that the segment is made of, each of which lies in one place: the
// stripes, the legs of a mirror or RAID, the LV beneath a cache or in a pool. Thin LVs,
// error and zero have none.
func (seg *Segment) Areas() []Area {
	if seg.UnknownType() {
		return nil
	}
	var areas []Area
	for _, r := range seg.refs {
		if !r.Hidden {
			areas = append(areas, r.Area)
		}
	}
	return areas
}

// MetadataAreas are the LVs with superblock and bitmap of a RAID's legs.
func (seg *Segment) MetadataAreas() []Area {
	var areas []Area
	for _, r := range seg.refs {
		if r.Role == RoleLegMetadata {
			areas = append(areas, r.Area)
		}
	}
	return areas
}

// DataCopies is how many copies of each byte there are, one that can be computed from
// parity counted as a copy. 1 for all but RAID.
func (seg *Segment) DataCopies() int {
	m, ok := seg.Mapping.(*RAID)
	if !ok {
		return 1
	}
	switch seg.raidLevel() {
	case "raid1":
		return len(m.Legs)
	case "raid10":
		if m.DataCopies > 0 {
			return int(m.DataCopies)
		}
		return 2
	}
	return 1 + seg.parityLegs()
}

// DataStripes is the number of areas that hold different data; of a mirror or RAID1, lvm
// counts all legs.
func (seg *Segment) DataStripes() int {
	n := len(seg.Areas())
	if seg.raidLevel() == "raid10" {
		return n / seg.DataCopies()
	}
	return max(0, n-seg.parityLegs())
}

// Reshapeable says whether lvm reports reshape space for the segment: for a RAID of a type
// whose layout can be changed, and for the first segment of a leg of one. Of a leg, lvm
// finds the RAID by what the name has before its first underscore.
func (seg *Segment) Reshapeable() bool {
	if seg.LV.Uses().As(RoleLeg, KindRAID) != nil {
		name, _, _ := strings.Cut(seg.LV.Name, "_")
		top := seg.LV.VG.byName()[name]
		if seg.StartExtent > 0 || top == nil || top.RAID() == nil {
			return false
		}
		seg = top.Segments[0]
	}
	return seg.parityLegs() > 0 || seg.raidLevel() == "raid10"
}

// ReshapeExtents is the number of extents of reshape space in all legs together.
func (seg *Segment) ReshapeExtents() uint64 {
	if m, ok := seg.Mapping.(*RAID); ok {
		return seg.ReshapeCount * uint64(len(m.Legs))
	}
	return seg.ReshapeCount
}

// Chunk is the size in bytes of the blocks that a snapshot, a thin pool or a cache deals
// in; 0 for other types. For the COW store of a snapshot it is the snapshot's.
func (seg *Segment) Chunk() int64 {
	if snapshot := seg.LV.cowOf; snapshot != nil {
		return snapshot.Mapping.(*Snapshot).ChunkSize
	}
	return seg.sizes().Chunk
}

// Region is the size in bytes of the regions that a mirror or RAID keeps in sync; 0 for
// none.
func (seg *Segment) Region() int64 { return seg.sizes().Region }

// StripeChunk is the number of bytes that lie on one stripe or leg before the next follows;
// 0 for one stripe, mirrors and RAID1.
func (seg *Segment) StripeChunk() int64 { return seg.sizes().Stripe }

func (seg *Segment) sizes() Sizes {
	if seg.Mapping == nil {
		return Sizes{}
	}
	return seg.Mapping.Sizes()
}

// Monitorable says whether lvm2's dmeventd would watch the segment if it were active:
// mirrors, RAID, pools that can overflow, and the COW stores of snapshots.
func (seg *Segment) Monitorable() bool {
	snapshot := seg.LV.cowOf
	return seg.kind.Monitored || snapshot != nil && !snapshot.Mapping.(*Snapshot).Merging
}

// VDOPool is the mapping of a VDO pool, or of the one that a VDO LV is in; nil for other
// types.
func (seg *Segment) VDOPool() *VDOPool {
	switch m := seg.Mapping.(type) {
	case *VDOPool:
		return m
	case *VDO:
		pool, _ := m.Pool.Mapping().(*VDOPool)
		return pool
	}
	return nil
}
