package assembly

import (
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// vdo is what a segment of type vdo shows: a part of the logical space of its pool.
// (docs/format/09-vdo.md, section 1)
func (a *Assembly) vdo(seg *metadata.Segment, m *metadata.VDO) (mapping.Volume, error) {
	pool, err := soleMapping[*metadata.VDOPool](m.Pool)
	if err != nil {
		return nil, fmt.Errorf("VDO pool %s: %w", m.Pool.Name, err)
	}
	space, err := a.vdoPool(m.Pool, pool)
	if err != nil {
		return nil, fmt.Errorf("VDO pool %s: %w", m.Pool.Name, err)
	}
	off, size := pool.HeaderSize+int64(m.OffsetExtent)*a.vg.ExtentSize, int64(seg.ExtentCount)*a.vg.ExtentSize
	if off > space.Size() || size > space.Size()-off {
		return nil, fmt.Errorf("%w: VDO pool %s: %d bytes at %d, it has %d", metadata.ErrMetadata, m.Pool.Name, size, off, space.Size())
	}
	return dm.Linear(space, off, size), nil
}

// vdoPool opens the logical space of a pool, once.
func (a *Assembly) vdoPool(lv *metadata.LV, pool *metadata.VDOPool) (mapping.Volume, error) {
	if done, ok := a.spaces[lv]; ok {
		return done.volume, done.err
	}
	data, err := a.volume(pool.Data)
	var space mapping.Volume
	if err == nil {
		space, err = dm.VDO(data)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	a.spaces[lv] = assembled{space, err}
	return space, err
}
