package lvm2

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

// unknownType says whether lvm2 would not know what the segment is, and keeps only its text.
func (seg *Segment) unknownType() bool {
	return seg.Mapping == nil && seg.Type != "error" && seg.Type != "zero" || len(unknown(seg.TypeFlags, lvmTypeFlags)) > 0
}

// TypeName is lvm's segtype: linear for one stripe; Type with its flags if it is one that
// lvm2 does not know; otherwise Type.
func (seg *Segment) TypeName() string {
	if seg.unknownType() {
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
	if seg.unknownType() {
		return nil
	}
	one := func(lv *LV) []Area { return []Area{{LV: lv}} }
	switch m := seg.Mapping.(type) {
	case *RAID:
		areas := make([]Area, len(m.Legs))
		for i, leg := range m.Legs {
			areas[i].LV = leg.Data
		}
		return areas
	case *ThinPool:
		return one(m.Data)
	case *CachePool:
		return one(m.Data)
	case *Cache:
		return one(m.Origin)
	case *Writecache:
		return one(m.Origin)
	case *Integrity:
		return one(m.Origin)
	case *VDOPool:
		return one(m.Data)
	case *VDO:
		return one(m.Pool)
	}
	return seg.areas()
}

// AreaExtents is the number of extents of each of the Areas that lie on PVs.
func (seg *Segment) AreaExtents() uint64 { return seg.areaExtents() }

// MetadataAreas are the LVs with superblock and bitmap of a RAID's legs.
func (seg *Segment) MetadataAreas() []Area {
	m, ok := seg.Mapping.(*RAID)
	if !ok {
		return nil
	}
	var areas []Area
	for _, leg := range m.Legs {
		if leg.Meta != nil {
			areas = append(areas, Area{LV: leg.Meta})
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
	switch level, _, _ := strings.Cut(seg.Type, "_"); level {
	case "raid1":
		return len(m.Legs)
	case "raid10":
		if m.DataCopies > 0 {
			return int(m.DataCopies)
		}
		return 2
	case "raid4", "raid5":
		return 2
	case "raid6":
		return 3
	}
	return 1
}

// DataStripes is the number of areas that hold different data; of a mirror or RAID1, lvm
// counts all legs.
func (seg *Segment) DataStripes() int {
	n := len(seg.Areas())
	if _, ok := seg.Mapping.(*RAID); !ok {
		return n
	}
	switch level, _, _ := strings.Cut(seg.Type, "_"); level {
	case "raid10":
		return n / seg.DataCopies()
	case "raid4", "raid5", "raid6":
		return max(0, n-(seg.DataCopies()-1))
	}
	return n
}

// Reshapeable says whether lvm reports reshape space for the segment: for a RAID of a type
// whose layout can be changed, and for the first segment of a leg of one. Of a leg, lvm
// finds the RAID by what the name has before its first underscore.
func (seg *Segment) Reshapeable() bool {
	if seg.LV.uses().raidImage != nil {
		name, _, _ := strings.Cut(seg.LV.Name, "_")
		top := seg.LV.VG.derive().byName[name]
		if seg.StartExtent > 0 || top == nil || top.RAID() == nil {
			return false
		}
		seg = top.Segments[0]
	}
	switch level, _, _ := strings.Cut(seg.Type, "_"); level {
	case "raid4", "raid5", "raid6", "raid10":
		return true
	}
	return false
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
	if snapshot := seg.LV.snapshotOf(); snapshot != nil {
		return snapshot.Mapping.(*Snapshot).ChunkSize
	}
	if pool, ok := seg.Mapping.(*ThinPool); ok {
		return pool.ChunkSize
	}
	return seg.CacheSettings().ChunkSize
}

// CacheSettings are those of a cache pool, and of the cache that uses it or a cachevol; all
// zero for other types.
func (seg *Segment) CacheSettings() CacheSettings {
	switch m := seg.Mapping.(type) {
	case *CachePool:
		return m.CacheSettings
	case *Cache:
		if m.CacheVol {
			return m.CacheSettings
		}
		if pool, ok := m.Pool.mapping().(*CachePool); ok {
			return pool.CacheSettings
		}
	}
	return CacheSettings{}
}

// Region is the size in bytes of the regions that a mirror or RAID keeps in sync; 0 for
// none.
func (seg *Segment) Region() int64 {
	switch m := seg.Mapping.(type) {
	case *Mirror:
		return m.RegionSize
	case *RAID:
		return m.RegionSize
	}
	return 0
}

// StripeChunk is the number of bytes that lie on one stripe or leg before the next follows;
// 0 for one stripe, mirrors and RAID1.
func (seg *Segment) StripeChunk() int64 {
	switch m := seg.Mapping.(type) {
	case *Striped:
		return m.StripeSize
	case *RAID:
		return m.StripeSize
	}
	return 0
}

// Monitorable says whether lvm2's dmeventd would watch the segment if it were active:
// mirrors, RAID, pools that can overflow, and the COW stores of snapshots.
func (seg *Segment) Monitorable() bool {
	switch seg.Mapping.(type) {
	case *Mirror, *RAID, *ThinPool, *VDOPool:
		return true
	}
	snapshot := seg.LV.snapshotOf()
	return snapshot != nil && !snapshot.Mapping.(*Snapshot).Merging
}

// VDOPool is the mapping of a VDO pool, or of the one that a VDO LV is in; nil for other
// types.
func (seg *Segment) VDOPool() *VDOPool {
	switch m := seg.Mapping.(type) {
	case *VDOPool:
		return m
	case *VDO:
		pool, _ := m.Pool.mapping().(*VDOPool)
		return pool
	}
	return nil
}
