package lvm2

// Usage is how full an LV is; nil for what cannot be told.
type Usage struct {
	// Data is the share that is in use of a thin pool's data, a snapshot's COW store
	// or a cache, or that is provisioned of a thin LV.
	Data *Share
	// Metadata is the share that is in use of a pool's metadata.
	Metadata *Share
	// Copied is what lvm calls copied: of what is in a cache, the share that is dirty; of an integrity layer, the share
	// that has checksums.
	Copied     *Share
	Cache      *CacheUsage
	Writecache *WritecacheUsage
	VDO        *VDOUsage // of the pool, also for an LV in it
}

// Share is a part of a whole.
type Share struct{ Part, Whole uint64 }

// VDOUsage is how full a VDO pool is, in blocks of 4096 bytes.
type VDOUsage struct {
	Logical  uint64 // mapped, or known to be zeros
	Data     uint64 // that hold the data of those
	Overhead uint64 // for the index, the journals, the reference counts and the block map
	Physical uint64 // all there are
}

// CacheUsage is what is in a cache.
type CacheUsage struct {
	Total, Used, Dirty                           uint64 // blocks
	MetadataTotal, MetadataUsed                  uint64 // blocks of metadata; 0 before the first activation
	ReadHits, ReadMisses, WriteHits, WriteMisses uint64 // counted until the last orderly shutdown
}

// WritecacheUsage is how many blocks a writecache has, and how many of them are free.
type WritecacheUsage struct{ Total, Free uint64 }

// Usage reads how full the LV is from the metadata of pools, caches and snapshots. It tells nothing where that means
// reading more than 64 MiB.
func (lv *LV) Usage() Usage {
	u := lv.VG.assembly.Usage(lv.LV)
	return Usage{
		Data: (*Share)(u.Data), Metadata: (*Share)(u.Metadata), Copied: (*Share)(u.Copied),
		Cache: (*CacheUsage)(u.Cache), Writecache: (*WritecacheUsage)(u.Writecache), VDO: (*VDOUsage)(u.VDO),
	}
}
