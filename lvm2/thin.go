package lvm2

import (
	"fmt"

	"lvm2fs/lvm2/internal/dm"
)

// ThinRoot is a place in the metadata of a thin pool where its mappings may begin.
type ThinRoot = dm.ThinRoot

// ThinRoots looks through all metadata of the thin pool that lv is for places where its mappings may
// begin, whatever its superblock says, with the most plausible first. It reads all of the
// metadata, and believes checksums only; what it finds may be of the past. One is chosen by
// [ThinPoolOptions].
func (lv *LV) ThinRoots() ([]ThinRoot, error) {
	a := lv.VG.assembly
	a.mu.Lock()
	defer a.mu.Unlock()
	var opts ThinPoolOptions
	if a.opts.ThinPool != nil {
		opts = a.opts.ThinPool(lv)
	}
	m, metadata, data, err := a.thinPoolParts(lv, opts)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	var devices []uint64
	for _, seg := range lv.users {
		if thin, ok := seg.Mapping.(*Thin); ok && thin.Pool == lv {
			devices = append(devices, thin.DeviceID)
		}
	}
	roots, err := dm.FindThinRoots(metadata, data, m.ChunkSize, devices)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	return roots, nil
}

// Differences calls visit for each run of bytes of lv that is mapped otherwise than in since, another
// thin LV of the same pool, such as a snapshot of it. Only mappings are compared, and no data
// are read: equal bytes in different chunks differ. It fails with ErrNotComparable, or the first
// error of visit.
func (lv *LV) Differences(since *LV, visit func(off, length int64) error) error {
	v, err := lv.Open()
	if err != nil {
		return err
	}
	defer v.Close()
	old, err := since.Open()
	if err != nil {
		return err
	}
	defer old.Close()
	if err := dm.ThinDifferences(v.contents, old.contents, visit); err != nil {
		return fmt.Errorf("LVs %s and %s: %w", lv, since, err)
	}
	return nil
}
