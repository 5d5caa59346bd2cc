package lvm2

import (
	"context"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/mapping"
)

// pool verifies the metadata of a thin pool.
func (c *Checker) pool(ctx context.Context, lv *LV) (CheckSummary, error) {
	var sum CheckSummary
	pool, err := c.assembly(lv.VG).Pool(lv.LV)
	if err == nil && !pool.Believed {
		return sum, nil // its superblock, and with it what is in use
	}
	if err != nil {
		sum.Err = err
		return sum, nil
	}
	used, err := dm.CheckThinPool(stoppable{pool.Metadata, ctx}, pool.Data, pool.ChunkSize, func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sum.Faults++
		return c.Found(Finding{LV: lv, Err: err, Metadata: true})
	})
	sum.Metadata = used
	return sum, err
}

// stoppable is a volume that cannot be read any more when ctx is done.
type stoppable struct {
	mapping.Volume
	ctx context.Context
}

func (s stoppable) ReadAt(p []byte, off int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Volume.ReadAt(p, off)
}
