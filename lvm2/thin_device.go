package lvm2

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"lvm2fs/lvm2/metadata"
)

// thinDevices are the thin devices of a pool that have no LV. They are found once.
type thinDevices struct {
	mu   sync.Mutex
	pool map[*metadata.LV]map[uint64]*LV
}

// ThinDevices are the thin devices of the thin pool that lv is which have no LV, such as those of docker. They are given
// as LVs by ID: POOL#ID. Each ends with its last chunk, because only LVs have sizes. It reads the metadata of the pool.
func (lv *LV) ThinDevices() ([]*LV, error) {
	found, err := lv.VG.assembly.ThinDevices(lv.LV)
	named := map[uint64]bool{}
	for seg := range lv.InPool() {
		named[seg.Mapping.(*metadata.Thin).DeviceID] = true
	}
	var devices []*LV
	for _, d := range found {
		if !named[d.ID] {
			devices = append(devices, lv.VG.devices.of(lv, d.ID, d.End))
		}
	}
	return devices, err
}

// UnnamedThinDevices are the ThinDevices of all pools among lvs. [LV.Fault] says what is wrong with a pool.
func UnnamedThinDevices(lvs []*LV) (devices []*LV) {
	for _, lv := range lvs {
		if _, ok := lv.Mapping().(*metadata.ThinPool); ok {
			found, _ := lv.ThinDevices()
			devices = append(devices, found...)
		}
	}
	return devices
}

// of is the same LV for one device each time.
func (d *thinDevices) of(pool *LV, id uint64, size int64) *LV {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pool == nil {
		d.pool = map[*metadata.LV]map[uint64]*LV{}
	}
	if d.pool[pool.LV] == nil {
		d.pool[pool.LV] = map[uint64]*LV{}
	}
	if lv := d.pool[pool.LV][id]; lv != nil && lv.DeviceSize() >= size {
		return lv
	}
	lv := &LV{LV: metadata.ThinDevice(pool.LV, id, size), VG: pool.VG, device: pool}
	d.pool[pool.LV][id] = lv
	return lv
}

// ThinDevice finds the thin device that is called POOL#ID. If an LV is there for it, it is that LV; but not where the
// pool is read from another root, since the ID may have been another's there. It fails if there is no such pool or
// device.
func (vg *VG) ThinDevice(name string) (*LV, error) {
	at := strings.LastIndexByte(name, '#')
	if at < 0 {
		return nil, fmt.Errorf("no LV %q in VG %s", name, vg.DirName())
	}
	pool := vg.LV(name[:at])
	id, err := strconv.ParseUint(name[at+1:], 10, 24)
	if err != nil || pool == nil {
		return nil, fmt.Errorf("no LV %q in VG %s", name, vg.DirName())
	}
	if !vg.assembly.Rooted(pool.LV) {
		for seg := range pool.InPool() {
			if seg.Mapping.(*metadata.Thin).DeviceID == id {
				return vg.Of(seg.LV), nil
			}
		}
	}
	found, err := vg.assembly.ThinDevices(pool.LV)
	for _, d := range found {
		if d.ID == id {
			return vg.devices.of(pool, id, d.End), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("thin pool %s has no device %d", pool, id)
}
