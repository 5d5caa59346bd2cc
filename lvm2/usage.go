package lvm2

import (
	"fmt"

	"lvm2fs/lvm2/internal/dm"
)

// Usage is how full an LV is; nil for what cannot be told.
type Usage struct {
	// Data is the share that is in use of a thin pool's data, a snapshot's COW store
	// or a cache, or that is provisioned of a thin LV.
	Data *Percent
	// Metadata is the share that is in use of a pool's metadata.
	Metadata *Percent
	// Copied is what lvm calls copied: the share that is dirty of what is in a cache, or that has its
	// checksums of an integrity layer.
	Copied     *Percent
	Cache      *CacheUsage
	Writecache *WritecacheUsage
	VDO        *VDOUsage // of the pool, also for an LV in it
}

// VDOUsage is how full a VDO pool is.
type VDOUsage = dm.VDOUsage

// CacheUsage is what is in a cache.
type CacheUsage = dm.CacheUsage

// WritecacheUsage is how many blocks a writecache has, and how many of them are free.
type WritecacheUsage struct{ Total, Free uint64 }

// maxCounted bounds the bytes of metadata that are read to count what is in use of an LV: 64 MiB.
const maxCounted = 64 << 20

// Percent is a share of a whole.
type Percent struct{ Part, Whole uint64 }

// String is the percentage as lvm prints it: 0.00 and 100.00 only for nothing and all.
func (p Percent) String() string {
	if p.Part == 0 || p.Whole == 0 {
		return "0.00"
	}
	if p.Part >= p.Whole {
		return "100.00"
	}
	return fmt.Sprintf("%.2f", min(max(100*float64(p.Part)/float64(p.Whole), 0.01), 99.99))
}

// Usage reads from the metadata of pools, caches and snapshots how full the LV is. Where that
// takes to read more than 64 MiB it is not told.
func (lv *LV) Usage() Usage {
	a := lv.VG.assembly
	a.mu.Lock()
	defer a.mu.Unlock()
	if seg := lv.snapshotOf(); seg != nil {
		return a.snapshotUsage(lv, seg.Mapping.(*Snapshot))
	}
	if len(lv.Segments) != 1 || lv.broken != nil {
		return Usage{}
	}
	switch m := lv.Segments[0].Mapping.(type) {
	case *ThinPool:
		p := a.thinPool(lv)
		if p.err != nil || p.ThinPool == nil || !p.Counted() {
			return Usage{}
		}
		u := p.Usage()
		// The kernel counts what it keeps for itself as used (docs/format/06-thin.md, section 6).
		const maxReserve = 4096
		return Usage{
			Data:     &Percent{u.Data.Used, u.Data.Total},
			Metadata: &Percent{u.Metadata.Used + min(u.Metadata.Total/10, maxReserve), u.Metadata.Total},
		}
	case *Thin:
		p := a.thinPool(m.Pool)
		if p.err != nil || p.ThinPool == nil || !p.Counted() {
			return Usage{}
		}
		device, exists, err := p.device(lv, m)
		if err != nil || !exists {
			return Usage{}
		}
		chunks, err := p.Mapped(device)
		if err != nil {
			return Usage{}
		}
		chunk := m.Pool.ThinPool().ChunkSize
		whole := uint64((lv.Size() + chunk - 1) / chunk)
		return Usage{Data: &Percent{chunks, whole}}
	case *Cache:
		return a.cacheUsage(lv.Segments[0])
	case *CachePool:
		for _, seg := range lv.users {
			if m, ok := seg.Mapping.(*Cache); ok && m.Pool == lv {
				return a.cacheUsage(seg)
			}
		}
	case *Writecache:
		return a.writecacheUsage(lv)
	case *Integrity:
		v, err := a.volume(lv)
		if err != nil {
			return Usage{}
		}
		if done, ok := dm.Checksummed(v); ok {
			return Usage{Copied: &Percent{uint64(done), uint64(v.Size())}}
		}
	case *VDOPool:
		if u := a.vdoUsage(lv); u != nil {
			return Usage{Data: &Percent{u.Data + u.Overhead, u.Physical}, VDO: u}
		}
	case *VDO:
		// What the kernel tells of the pool, lvm takes as a share of what the pool shows; the LV may
		// have been reduced since.
		pool, err := soleMapping[*VDOPool](m.Pool)
		if u := a.vdoUsage(m.Pool); err == nil && u != nil {
			shown := int64(pool.VirtualExtents) * a.vg.ExtentSize
			return Usage{Data: &Percent{u.Data, uint64(shown / dm.VDOBlock)}, VDO: u}
		}
	}
	return Usage{}
}

// cacheUsage is that of the cache of a segment.
func (a *assembly) cacheUsage(seg *Segment) Usage {
	_, _ = a.volume(seg.LV) // if it fails there is no state
	c, ok := a.states.of(seg).(*dm.Cached)
	if !ok {
		return Usage{}
	}
	u := c.Usage()
	usage := Usage{Data: &Percent{u.Used, u.Total}, Copied: &Percent{u.Dirty, u.Used}, Cache: &u}
	if u.MetadataTotal > 0 {
		usage.Metadata = &Percent{u.MetadataUsed, u.MetadataTotal}
	}
	return usage
}

func (a *assembly) writecacheUsage(lv *LV) Usage {
	v, err := a.volume(lv)
	w, ok := v.(*dm.Writecached)
	if err != nil || !ok || w.Total() > maxCounted/dm.WritecacheEntrySize {
		return Usage{}
	}
	used, err := w.Used()
	if err != nil {
		return Usage{}
	}
	return Usage{Data: &Percent{used, w.Total()}, Writecache: &WritecacheUsage{w.Total(), w.Total() - used}}
}

func (a *assembly) snapshotUsage(lv *LV, m *Snapshot) Usage {
	store, err := a.storeUsage(m)
	if err != nil {
		return Usage{}
	}
	total := uint64(lv.Size())
	if !store.Valid() {
		return Usage{Data: &Percent{total, total}}
	}
	used, err := store.Used()
	if err != nil {
		return Usage{}
	}
	return Usage{Data: &Percent{uint64(used), total}}
}

// cowStore is what tells how full the COW store of a snapshot is.
type cowStore interface {
	Valid() bool
	Used() (int64, error) // bytes
}

// storeUsage tells of a snapshot's store: as it is now, unless it is being merged, when nobody writes to it.
func (a *assembly) storeUsage(m *Snapshot) (cowStore, error) {
	if m.Merging {
		return a.exceptionStore(m)
	}
	f, err := a.family(m.Origin)
	if err != nil {
		return nil, err
	}
	if s := f.members[m]; s != nil {
		return s, nil
	}
	return nil, f.unread[m]
}

func (a *assembly) vdoUsage(pool *LV) *VDOUsage {
	if u, ok := a.vdoUsages[pool]; ok {
		return u
	}
	var usage *VDOUsage
	if m, err := soleMapping[*VDOPool](pool); err == nil {
		if space, err := a.vdoPool(pool, m); err == nil {
			if u, err := dm.CountVDO(space, maxCounted/dm.VDOBlock); err == nil {
				usage = &u
			}
		}
	}
	a.vdoUsages[pool] = usage
	return usage
}
