package assembly

import (
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
)

// Rebuild says which of the mappings that [Assembly.ThinRebuild] put together again are read.
type Rebuild uint8

// Each includes the ones before it.
const (
	NoRebuild      Rebuild = iota // the trees are read as they are
	RebuildCertain                // also mappings that the metadata decide
	RebuildLikely                 // also mappings that all that is left makes likely
)

// ThinRebuild puts the mappings of the thin pool that lv is together again.
func (a *Assembly) ThinRebuild(lv *metadata.LV) (*dm.ThinPlan, error) {
	a.lock()
	defer a.unlock()
	plan, err := a.thinPlan(lv)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", lv, err)
	}
	return plan, nil
}

func (a *Assembly) thinPlan(lv *metadata.LV) (*dm.ThinPlan, error) {
	opts := a.choices[lv].ThinPool
	m, meta, data, err := a.thinPoolParts(lv, opts)
	if err != nil {
		return nil, err
	}
	var known []uint64
	for seg := range lv.InPool() {
		known = append(known, seg.Mapping.(*metadata.Thin).DeviceID)
	}
	return dm.RebuildThinPool(meta, data, m.ChunkSize, opts.Root, known)
}

// rebuild has an open pool read as ThinRebuild puts it together, if that was chosen.
func (a *Assembly) rebuild(lv *metadata.LV, p *dm.ThinPool) error {
	opts := a.choices[lv].ThinPool
	if opts.Rebuild == NoRebuild {
		return nil
	}
	plan, err := a.thinPlan(lv)
	if err != nil {
		return err
	}
	p.Rebuilt(plan, opts.Rebuild == RebuildLikely)
	return nil
}
