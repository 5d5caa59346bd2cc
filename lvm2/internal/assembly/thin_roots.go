package assembly

import (
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
)

// ThinRoots looks through all metadata of the thin pool that lv is for places where its mappings may
// begin, whatever its superblock says, with the most plausible first.
func (a *Assembly) ThinRoots(lv *metadata.LV) ([]dm.ThinRoot, error) {
	a.lock()
	defer a.unlock()
	m, meta, data, err := a.thinPoolParts(lv, a.choices[lv].ThinPool)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	var devices []uint64
	for seg := range lv.InPool() {
		devices = append(devices, seg.Mapping.(*metadata.Thin).DeviceID)
	}
	roots, err := dm.FindThinRoots(meta, data, m.ChunkSize, devices)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	return roots, nil
}
