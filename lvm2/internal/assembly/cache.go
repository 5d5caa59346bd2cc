package assembly

import (
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// cache is what a segment of type cache shows.
// (docs/format/07-cache.md, section 5)
func (a *Assembly) cache(seg *metadata.Segment, m *metadata.Cache) (mapping.Volume, error) {
	origin, err := a.volume(m.Origin)
	if err != nil {
		return nil, fmt.Errorf("origin %s: %w", m.Origin.Name, err)
	}
	if a.choices[seg.LV].OriginOnly {
		return dm.Linear(origin, 0, origin.Size()), nil
	}
	cached, mode, err := a.cached(origin, m)
	if err == nil {
		a.states.add(seg, cacheState{cached})
		return cached, nil
	}
	// In these modes all that was written is in the origin too.
	if (mode == dm.CacheWritethrough || mode == dm.CachePassthrough) && lostCache(err) {
		a.lostCaches[seg.LV] = fmt.Errorf("cache %s: %w", m.Pool.Name, err)
		if a.opts.CacheLost != nil {
			a.tell(func() { a.opts.CacheLost(seg.LV, err) })
		}
		return dm.Linear(origin, 0, origin.Size()), nil
	}
	return nil, fmt.Errorf("cache %s: %w", m.Pool.Name, err)
}

// CachesLost says why lv, and the LVs beneath it, are read from their origins alone; nil for those that are not. lv must
// have been opened.
func (a *Assembly) CachesLost(lv *metadata.LV) error {
	a.lock()
	defer a.unlock()
	var errs []error
	lv.Through(func(seg *metadata.Segment) bool {
		errs = append(errs, a.lostCaches[seg.LV])
		return false
	})
	return errors.Join(errs...)
}

// lostCache says whether an error means that the cache is gone or damaged.
func lostCache(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, dm.ErrCache)
}

// cached is origin with what is in its cache, and the mode of the cache.
func (a *Assembly) cached(origin mapping.Volume, m *metadata.Cache) (v *dm.Cached, mode dm.CacheMode, err error) {
	meta, data, settings, err := a.cachePool(m)
	if err != nil {
		return nil, "", err
	}
	if mode = dm.CacheMode(settings.Mode); mode == "" {
		mode = dm.CacheWritethrough
	}
	if settings.ChunkSize <= 0 {
		return nil, "", fmt.Errorf("%w: chunk_size = 0", metadata.ErrMetadata)
	}
	c, err := dm.OpenCache(meta, settings.ChunkSize)
	if err != nil {
		return nil, mode, err
	}
	v, err = c.Cached(origin, data, mode)
	return v, mode, err
}

// cachePool is the metadata and the data of the cache: two LVs, or two parts of a cachevol.
func (a *Assembly) cachePool(m *metadata.Cache) (meta, data mapping.Volume, settings *metadata.CacheSettings, err error) {
	if m.CacheVol {
		v, err := a.volume(m.Pool)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, part := range [][2]int64{{m.MetadataStart, m.MetadataLen}, {m.DataStart, m.DataLen}} {
			if part[0] > v.Size() || part[1] > v.Size()-part[0] {
				return nil, nil, nil, fmt.Errorf("%w: %d bytes at %d, of %d", metadata.ErrMetadata, part[1], part[0], v.Size())
			}
		}
		return dm.Linear(v, m.MetadataStart, m.MetadataLen), dm.Linear(v, m.DataStart, m.DataLen), &m.CacheSettings, nil
	}
	pool, err := soleMapping[*metadata.CachePool](m.Pool)
	if err != nil {
		return nil, nil, nil, err
	}
	if meta, err = a.volume(pool.Metadata); err != nil {
		return nil, nil, nil, err
	}
	data, err = a.volume(pool.Data)
	return meta, data, &pool.CacheSettings, err
}

// writecache is what a segment of type writecache shows.
func (a *Assembly) writecache(seg *metadata.Segment, m *metadata.Writecache) (mapping.Volume, error) {
	origin, err := a.volume(m.Origin)
	if err != nil {
		return nil, fmt.Errorf("origin %s: %w", m.Origin.Name, err)
	}
	if a.choices[seg.LV].OriginOnly {
		return dm.Linear(origin, 0, origin.Size()), nil
	}
	fast, err := a.volume(m.Fast)
	if err != nil {
		return nil, fmt.Errorf("writecache %s: %w", m.Fast.Name, err)
	}
	v, err := dm.Writecache(origin, fast, m.BlockSize)
	if err != nil {
		return nil, fmt.Errorf("writecache %s: %w", m.Fast.Name, err)
	}
	a.states.add(seg, writecacheState{v})
	return v, nil
}

// cacheState is the [state] of a cache.
type cacheState struct{ *dm.Cached }

func (c cacheState) needsCheck() bool { return c.NeedsCheck() }

func (c cacheState) inherit(old state) {
	if was, ok := old.(cacheState); ok && was.Written() {
		c.Inherit(was.Cached)
	}
}

func (c cacheState) usage() Usage {
	u := c.Usage()
	usage := Usage{Data: &Share{u.Used, u.Total}, Copied: &Share{u.Dirty, u.Used}, Cache: &u}
	if u.MetadataTotal > 0 {
		usage.Metadata = &Share{u.MetadataUsed, u.MetadataTotal}
	}
	return usage
}

// writecacheState is the [state] of a writecache.
type writecacheState struct{ *dm.Writecached }

func (writecacheState) needsCheck() bool { return false }
func (writecacheState) inherit(state)    {}

func (w writecacheState) usage() Usage {
	if w.Total() > maxCounted/dm.WritecacheEntrySize {
		return Usage{}
	}
	used, err := w.Used()
	if err != nil {
		return Usage{}
	}
	return Usage{Data: &Share{used, w.Total()}, Writecache: &WritecacheUsage{w.Total(), w.Total() - used}}
}
