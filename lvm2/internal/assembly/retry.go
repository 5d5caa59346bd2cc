package assembly

import (
	"errors"
	"maps"
	"time"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
)

// forget says whether what failed with err is to be tried again, and forgets everything that failed in the same way. It
// is tried again if a device failed, because that may have passed, unless the last attempt was just now. A fault of the
// metadata stays until they are read again. The caller holds a.mu.
func (a *Assembly) forget(err error) bool {
	if !errors.Is(err, dm.ErrDevice) || time.Since(a.tried) < a.RetryAfter {
		return false
	}
	failed := func(_ *metadata.LV, done assembled) bool { return errors.Is(done.err, dm.ErrDevice) }
	maps.DeleteFunc(a.views, failed)
	maps.DeleteFunc(a.volumes, failed)
	maps.DeleteFunc(a.spaces, failed)
	maps.DeleteFunc(a.pools, func(_ *metadata.LV, p *thinPool) bool { return errors.Is(p.err, dm.ErrDevice) })
	maps.DeleteFunc(a.vdoUsages, func(_ *metadata.LV, u *dm.VDOUsage) bool { return u == nil })
	return true
}

// again calls read, and once more if a device failed. It is for what an LV can do without, such as a leg of a RAID, which
// is not read again later.
func again[T any](read func() (T, error)) (T, error) {
	v, err := read()
	if errors.Is(err, dm.ErrDevice) {
		v, err = read()
	}
	return v, err
}
