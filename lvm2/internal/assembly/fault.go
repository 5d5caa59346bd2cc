package assembly

import (
	"errors"
	"fmt"
	"time"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Fault is why the LV cannot be read; nil if it can be. An LV may have no Contents, or a table that is read with its
// first bytes may be damaged. The fault of a pool is why the LVs in it cannot be read. Missing bytes are no fault, nor
// are legs of a RAID that others make up for.
func (a *Assembly) Fault(lv *metadata.LV) error {
	v, err := a.Contents(lv)
	if errors.Is(err, ErrNoContents) {
		v, err = a.poolContents(lv)
	}
	if err == nil && v != nil {
		err = a.tables(lv, v)
	}
	return err
}

// poolContents is what the LVs in a pool are made of; nil if that tells nothing, or lv is no pool.
func (a *Assembly) poolContents(lv *metadata.LV) (mapping.Volume, error) {
	a.lock()
	defer a.unlock()
	v, err := a.pool(lv)
	if a.forget(err) {
		a.tried = time.Now()
		return a.pool(lv)
	}
	return v, err
}

func (a *Assembly) pool(lv *metadata.LV) (mapping.Volume, error) {
	switch m := lv.Mapping().(type) {
	case *metadata.ThinPool:
		if err := a.thinPool(lv).err; err != nil {
			return nil, err
		}
		return a.volume(m.Data)
	case *metadata.VDOPool:
		return a.vdoPool(lv, m)
	}
	return nil, nil
}

// tables asks where the first bytes of each segment are, which reads the tables that say so.
func (a *Assembly) tables(lv *metadata.LV, v mapping.Volume) error {
	for _, seg := range lv.Segments {
		if err := firstBytes(v, int64(seg.StartExtent)*a.vg.ExtentSize); err != nil {
			return err
		}
		if m, ok := seg.Mapping.(*metadata.Thin); ok {
			if err := a.Fault(m.Pool); err != nil {
				return fmt.Errorf("LV %s: %w", m.Pool, err)
			}
		}
	}
	return nil
}

func firstBytes(v mapping.Volume, off int64) error {
	if off >= v.Size() {
		return nil
	}
	e, err := v.Map(off, 1)
	if err == nil && e.Kind == mapping.Missing && Damaged(e.Err) {
		return e.Err
	}
	return err
}
