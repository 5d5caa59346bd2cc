package assembly

import (
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
)

// Usage is how full an LV is; nil for what cannot be told. Package lvm2 says what its fields mean.
type Usage struct {
	Data, Metadata, Copied *Share
	Cache                  *dm.CacheUsage
	Writecache             *WritecacheUsage
	VDO                    *dm.VDOUsage
}

// WritecacheUsage is how many blocks a writecache has, and how many of them are free.
type WritecacheUsage struct{ Total, Free uint64 }

// Share is a part of a whole.
type Share struct{ Part, Whole uint64 }

// maxCounted bounds the bytes of metadata that are read to count what is in use of an LV: 64 MiB.
const maxCounted = 64 << 20

// Usage reads how full the LV is from the metadata of pools, caches and snapshots. It tells nothing where that means
// reading more than 64 MiB.
func (a *Assembly) Usage(lv *metadata.LV) Usage {
	a.lock()
	defer a.unlock()
	if seg := lv.SnapshotOf(); seg != nil {
		return a.snapshotUsage(lv, seg.Mapping.(*metadata.Snapshot))
	}
	if len(lv.Segments) != 1 || lv.Broken() != nil {
		return Usage{}
	}
	switch m := lv.Segments[0].Mapping.(type) {
	case *metadata.ThinPool:
		return a.thinPool(lv).usage()
	case *metadata.Thin:
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
		return Usage{Data: &Share{chunks, whole}}
	case *metadata.Cache, *metadata.Writecache:
		return a.stateUsage(lv.Segments[0])
	case *metadata.CachePool:
		if seg := lv.Uses().As(metadata.RolePool, metadata.KindCache); seg != nil {
			return a.stateUsage(seg)
		}
	case *metadata.Integrity:
		v, err := a.volume(lv)
		if err != nil {
			return Usage{}
		}
		if done, ok := dm.Checksummed(v); ok {
			return Usage{Copied: &Share{uint64(done), uint64(v.Size())}}
		}
	case *metadata.VDOPool:
		if u := a.vdoUsage(lv); u != nil {
			return Usage{Data: &Share{u.Data + u.Overhead, u.Physical}, VDO: u}
		}
	case *metadata.VDO:
		// lvm divides by the size that the pool shows, not by that of the LV, which may have been reduced since.
		pool, err := soleMapping[*metadata.VDOPool](m.Pool)
		if u := a.vdoUsage(m.Pool); err == nil && u != nil {
			shown := int64(pool.VirtualExtents) * a.vg.ExtentSize
			return Usage{Data: &Share{u.Data, uint64(shown / dm.VDOBlock)}, VDO: u}
		}
	}
	return Usage{}
}

// stateUsage is how full the state of a segment is.
func (a *Assembly) stateUsage(seg *metadata.Segment) Usage {
	_, _ = a.volume(seg.LV) // without a volume there is no state
	if st := a.states.of(seg); st != nil {
		return st.usage()
	}
	return Usage{}
}

func (a *Assembly) snapshotUsage(lv *metadata.LV, m *metadata.Snapshot) Usage {
	cow, err := a.storeUsage(m)
	if err != nil {
		return Usage{}
	}
	total := uint64(lv.Size())
	if !cow.Valid() {
		return Usage{Data: &Share{total, total}}
	}
	used, err := cow.Used()
	if err != nil {
		return Usage{}
	}
	return Usage{Data: &Share{uint64(used), total}}
}

// cowStore is what tells how full the COW store of a snapshot is.
type cowStore interface {
	Valid() bool
	Used() (int64, error)
}

// storeUsage tells how full the store of a snapshot is now. During a merge it reads the disk, because nobody here writes
// to the store.
func (a *Assembly) storeUsage(m *metadata.Snapshot) (cowStore, error) {
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

func (a *Assembly) vdoUsage(pool *metadata.LV) *dm.VDOUsage {
	if u, ok := a.vdoUsages[pool]; ok {
		return u
	}
	var usage *dm.VDOUsage
	if m, err := soleMapping[*metadata.VDOPool](pool); err == nil {
		if space, err := a.vdoPool(pool, m); err == nil {
			if u, err := dm.CountVDO(space, maxCounted/dm.VDOBlock); err == nil {
				usage = &u
			}
		}
	}
	a.vdoUsages[pool] = usage
	return usage
}
