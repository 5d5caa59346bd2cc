package assembly

import (
	"fmt"
	"slices"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
)

// ThinRoots searches all metadata of the thin pool that lv is. It finds the places where its mappings may begin,
// whatever the superblock says. The most plausible place comes first.
//
// also are IDs of devices to look for besides those of the LVs in the pool.
func (a *Assembly) ThinRoots(lv *metadata.LV, also []uint64) ([]dm.ThinRoot, error) {
	a.lock()
	defer a.unlock()
	m, meta, data, err := a.thinPoolParts(lv, a.choices[lv].ThinPool)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	devices := slices.Clone(also)
	for seg := range lv.InPool() {
		devices = append(devices, seg.Mapping.(*metadata.Thin).DeviceID)
	}
	roots, err := dm.FindThinRoots(meta, data, m.ChunkSize, devices)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	return roots, nil
}

// RemovedThins finds, by their IDs, what is left of devices that were removed from the pool that lv is. It lies in free
// chunks, which a write could take. So the pool cannot be written any more if any of it can be read.
func (a *Assembly) RemovedThins(lv *metadata.LV, ids []uint64) (map[uint64]*dm.RemovedThin, error) {
	a.lock()
	defer a.unlock()
	m, meta, data, err := a.thinPoolParts(lv, ThinPoolChoice{})
	if err != nil {
		return nil, err
	}
	found := dm.FindRemovedThins(meta, data, m.ChunkSize, ids)
	for _, removed := range found {
		if c := a.choices[lv]; removed.Err == nil && !c.ThinPool.ShowsRemoved {
			c.ThinPool.ShowsRemoved = true
			a.choices[lv] = c
			a.reset()
		}
	}
	return found, nil
}

// ChooseRemoved has the pool that lv is read for one removed device alone. With reused, chunks that may hold something
// else by now are read too.
func (a *Assembly) ChooseRemoved(lv *metadata.LV, removed *dm.RemovedThin, reused bool) {
	a.Choose(lv, Choice{ThinPool: ThinPoolChoice{Removed: removed, ReadReused: reused}})
}

// ThinDevices are the thin devices in the pool that lv is, also those without an LV.
func (a *Assembly) ThinDevices(lv *metadata.LV) ([]dm.ThinDevice, error) {
	a.lock()
	defer a.unlock()
	pool := a.thinPool(lv)
	if pool.err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, pool.err)
	}
	if pool.ThinPool == nil {
		return nil, nil
	}
	devices, err := pool.Devices()
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	return devices, nil
}

// Rooted says whether the pool is read from a root that was chosen for it.
func (a *Assembly) Rooted(lv *metadata.LV) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.choices[lv].ThinPool.Root != 0
}
