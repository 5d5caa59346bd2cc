package metadata

import (
	"crypto/sha256"
	"fmt"
)

// ThinDevice is a thin device without an LV in the VG, as an LV. It is called POOL#ID, and has as many extents as
// hold size bytes. It is not one of VG.LVs. Its UUID is made of the pool's and the ID.
func ThinDevice(pool *LV, id uint64, size int64) *LV {
	lv := &LV{VG: pool.VG, Name: fmt.Sprintf("%s#%d", pool.Name, id), Status: []string{"READ", "VISIBLE"}, Major: -1, Minor: -1}
	lv.UUID = madeUUID(fmt.Sprintf("%s#%d", pool.UUID, id))
	lv.fileName = fmt.Sprintf("%s#%d", pool.fileName, id)
	extent := pool.VG.ExtentSize
	lv.extentCount = max(1, uint64((size+extent-1)/extent))
	seg := &Segment{LV: lv, ExtentCount: lv.extentCount, Type: "thin", kind: thinKind, Mapping: &Thin{Pool: pool, DeviceID: id}}
	seg.refs = []Reference{{Area: Area{LV: pool}, Role: RolePool, Beside: true, Hidden: true}}
	lv.Segments = []*Segment{seg}
	lv.allPVs = pool.allPVs
	return lv
}

// RemovedThin is a thin LV of an older text, as if it were still in its pool. It is not one of the pool's LVs. It is
// nil if that makes no sense.
func RemovedThin(pool, old *LV) *LV {
	m, ok := old.Mapping().(*Thin)
	if !ok || len(old.Segments) != 1 || old.broken != nil || m.ExternalOrigin != nil || m.Merge != nil || m.Pool.UUID != pool.UUID || old.VG.ExtentSize != pool.VG.ExtentSize {
		return nil
	}
	lv := ThinDevice(pool, m.DeviceID, old.DeviceSize())
	lv.Name, lv.UUID, lv.fileName, lv.Tags, lv.Status = old.Name, old.UUID, old.fileName, old.Tags, old.Status
	lv.CreationTime, lv.CreationHost = old.CreationTime, old.CreationHost
	return lv
}

// madeUUID is a UUID that depends on a name alone.
func madeUUID(name string) UUID {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	sum := sha256.Sum256([]byte(name))
	b := make([]byte, 32)
	for i := range b {
		b[i] = letters[int(sum[i])%len(letters)]
	}
	return UUID(b)
}
