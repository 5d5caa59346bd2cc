package lvm2

import "strings"

// Segment is a run of an LV's extents with one mapping.
type Segment struct {
	LV          *LV
	StartExtent uint64 // logical, of the LV
	ExtentCount uint64
	// ReshapeCount is the number of extents of reshape space in each leg.
	ReshapeCount uint64
	// Type is the segment type as in the metadata, without flags: "striped",
	// "raid5_ls", "thin-pool", or anything, if it is one of a later lvm2.
	Type string
	// TypeFlags are the +FLAGs behind the type. Whoever does not know them all
	// must refuse the LV.
	TypeFlags []string
	Tags      []string
	// Mapping holds the keys that belong to the type: *Striped (of linear too),
	// *Mirror, *RAID, *Snapshot, *ThinPool, *Thin, *CachePool, *Cache, *Writecache,
	// *Integrity, *VDOPool, *VDO; nil for error, zero and types unknown here.
	Mapping any
}

// reshapeSpace is the number of extents of a RAID that hold no data of the LV: those that
// a reshape needs in each leg that is not parity.
// (docs/format/03-mapping-linear-striped-raid.md, section 4.2)
func (seg *Segment) reshapeSpace() uint64 {
	m, ok := seg.Mapping.(*RAID)
	if !ok {
		return 0
	}
	parity := uint64(0)
	switch {
	case strings.HasPrefix(seg.Type, "raid4"), strings.HasPrefix(seg.Type, "raid5"):
		parity = 1
	case strings.HasPrefix(seg.Type, "raid6"):
		parity = 2
	}
	legs := uint64(len(m.Legs))
	return seg.ReshapeCount * (legs - min(legs, parity))
}

// Area is where a part of a segment lies: extents of a PV or of another LV of the VG.
type Area struct {
	PV     *PV // or
	LV     *LV
	Extent uint64 // the first
}

// Striped is the mapping of type striped (or linear, with one stripe): chunks of
// StripeSize bytes dealt out over Stripes in turn.
type Striped struct {
	StripeSize int64 // bytes; 0 for one stripe
	Stripes    []Area
}

// Mirror is the mapping of type mirror, and of an unfinished pvmove.
type Mirror struct {
	Legs         []Area
	Log          *LV   // nil for a log in memory
	RegionSize   int64 // bytes; 0 if not recorded
	PVMove       bool
	ExtentsMoved uint64
}

// RAID is the mapping of the raid types.
type RAID struct {
	Legs                             []RAIDLeg
	StripeSize                       int64  // bytes; 0 for raid1
	RegionSize                       int64  // bytes; 0 if not recorded
	DataCopies                       uint64 // of raid10; 0 if not recorded
	WriteBehind                      uint64
	MinRecoveryRate, MaxRecoveryRate uint64 // KiB/s
}

// RAIDLeg is one leg of a RAID: its data, and the LV that holds its superblock and
// bitmap.
type RAIDLeg struct {
	Meta *LV // nil for raid0, and for a leg without
	Data *LV
}

// Snapshot is the mapping of type snapshot, of the hidden LV snapshotN that ties a COW
// store to its origin.
type Snapshot struct {
	Origin    *LV
	COW       *LV   // the LV that the user calls the snapshot
	Merging   bool  // COW is being merged back into the origin
	ChunkSize int64 // bytes
}

// ThinPool is the mapping of type thin-pool.
type ThinPool struct {
	Data, Metadata *LV
	TransactionID  uint64
	ChunkSize      int64  // bytes
	Discards       string // passdown, nopassdown, ignore
	ZeroNewBlocks  bool
	CropMetadata   bool
	Messages       []ThinMessage
}

// ThinMessage is a change that LVM2 has recorded but not yet told the kernel.
type ThinMessage struct {
	Create string // the LV to make, or
	Delete uint64 // the device ID to remove
}

// Thin is the mapping of type thin.
type Thin struct {
	Pool           *LV
	TransactionID  uint64
	DeviceID       uint64
	ExternalOrigin *LV // nil for none
	Origin         *LV // nil for none
	Merge          *LV // the LV to be merged into at the next activation; nil for none
}

// CachePool is the mapping of type cache-pool.
type CachePool struct {
	Data, Metadata *LV
	CacheSettings
}

// CacheSettings are what a cache pool, or a cache LV with a cachevol, records.
type CacheSettings struct {
	MetadataFormat uint64 // 1 or 2
	ChunkSize      int64  // bytes
	Mode           string // writethrough, writeback, passthrough
	Policy         string
	PolicySettings []Setting
}

// Setting is a key with its value as the metadata writes it: a string is in quotes.
type Setting struct{ Key, Value string }

// Cache is the mapping of type cache.
type Cache struct {
	Origin  *LV
	Pool    *LV // of type cache-pool, or a cachevol
	Cleaner bool
	// With a cachevol, the settings, and where metadata and data lie in it; in
	// bytes.
	CacheVol bool
	CacheSettings
	MetadataStart, MetadataLen int64
	DataStart, DataLen         int64
}

// Writecache is the mapping of type writecache.
type Writecache struct {
	Origin, Fast *LV
	BlockSize    int64 // bytes
	Settings     map[string]string
}

// Integrity is the mapping of type integrity.
type Integrity struct {
	Origin       *LV
	Meta         *LV    // nil if tags lie beside the data
	DataSize     int64  // bytes
	Mode         string // J journal, B bitmap, D direct, R recovery
	TagSize      int64  // bytes
	BlockSize    int64  // bytes
	InternalHash string
	Recalculate  bool
	Settings     map[string]uint64 // journal_sectors, interleave_sectors, ...
}

// VDOPool is the mapping of type vdo-pool.
type VDOPool struct {
	Data           *LV
	HeaderSize     int64 // bytes reserved in front and behind
	VirtualExtents uint64
	Compression    bool
	Deduplication  bool
	Settings       map[string]string
}

// VDO is the mapping of type vdo.
type VDO struct {
	Pool         *LV
	OffsetExtent uint64 // of the pool's logical space
}
