package lvm2

import (
	"errors"
	"fmt"
	"time"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// Fault is why the LV cannot be read: what [LV.Open] fails with, or what is wrong with a table that is read when
// its bytes are first asked for; nil if nothing is. Of a pool it is why the LVs in it cannot be read. Bytes that are
// missing are no fault, nor are legs of a RAID that others make up for.
func (lv *LV) Fault() error {
	a := lv.VG.assembly
	v, err := a.contents(lv)
	if errors.Is(err, ErrNoContents) {
		v, err = a.poolContents(lv)
	}
	if err == nil && v != nil {
		err = a.tables(lv, v)
	}
	if err != nil {
		return fmt.Errorf("LV %s: %w", lv, err)
	}
	return nil
}

// poolContents is what the LVs in a pool are made of; nil if that tells nothing, or lv is no pool.
func (a *assembly) poolContents(lv *LV) (mapping.Volume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, err := a.pool(lv)
	if a.forget(err) {
		a.tried = time.Now()
		return a.pool(lv)
	}
	return v, err
}

func (a *assembly) pool(lv *LV) (mapping.Volume, error) {
	switch m := lv.mapping().(type) {
	case *ThinPool:
		if err := a.thinPool(lv).err; err != nil {
			return nil, err
		}
		return a.volume(m.Data)
	case *VDOPool:
		return a.vdoPool(lv, m)
	}
	return nil, nil
}

// tables asks where the first bytes of each segment are, which reads the tables that say so.
func (a *assembly) tables(lv *LV, v mapping.Volume) error {
	for _, seg := range lv.Segments {
		if err := firstBytes(v, int64(seg.StartExtent)*a.vg.ExtentSize); err != nil {
			return err
		}
		if m, ok := seg.Mapping.(*Thin); ok {
			if err := m.Pool.Fault(); err != nil {
				return err
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
	if err == nil && e.Kind == mapping.Missing && damaged(e.Err) {
		return e.Err
	}
	return err
}

// damaged says whether an error is about metadata that make no sense.
func damaged(err error) bool {
	for _, damage := range []error{
		ErrMetadata, pdata.ErrDamaged, dm.ErrThinPool, dm.ErrCache, dm.ErrWritecache, dm.ErrVDO,
		dm.ErrExceptions, dm.ErrIntegrityMetadata, ondisk.ErrFormat,
	} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}

// faultWord is a fault in the LV's health.
func faultWord(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrMetadata):
		return "damaged"
	case errors.Is(err, ErrUnsupported):
		return "unsupported"
	case errors.Is(err, ErrInvalidSnapshot):
		return "invalid"
	case damaged(err):
		return "damaged"
	}
	return "unreadable"
}
