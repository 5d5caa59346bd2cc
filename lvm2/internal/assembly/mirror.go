package assembly

import (
	"fmt"
	"slices"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// mirror is what a segment of type mirror shows. The first leg is always right; the others
// are where the log says so. A log in memory says nothing once the kernel is gone.
// (docs/format/03-mapping-linear-striped-raid.md, section 3)
func (a *Assembly) mirror(seg *metadata.Segment, m *metadata.Mirror) (mapping.Volume, error) {
	first, err := a.area(m.Legs[0], seg.ExtentCount)
	if err != nil {
		return nil, err
	}
	// A pvmove writes to both sides, but only the source is complete.
	if m.PVMove || seg.LV.HasStatus("PVMOVE") || len(m.Legs) == 1 {
		return first, nil
	}
	size := int64(seg.ExtentCount) * a.vg.ExtentSize
	stale := a.unsynced(seg, m)
	c := raid.Config{
		Geometry: raid.Geometry{Level: raid.RAID1, Legs: len(m.Legs), LegSize: size},
		Legs:     []raid.Leg{{Volume: first, InSync: raid.All}},
	}
	trusted := a.choices[seg.LV].TrustLegs
	for i, area := range m.Legs[1:] {
		v, err := a.area(area, seg.ExtentCount)
		if err != nil {
			return nil, fmt.Errorf("leg %d: %w", i+1, err)
		}
		leg := raid.Leg{Volume: v, InSync: raid.All, Stale: stale}
		if slices.Contains(trusted, i+1) {
			leg.Stale = nil
		}
		c.Legs = append(c.Legs, leg)
	}
	array, err := a.array(seg, c)
	if err != nil {
		return nil, err
	}
	a.states.add(seg, a.mirrorWriting(seg, m, array))
	c.InSync = raid.All
	a.keep(seg, c, stale)
	return array, nil
}

// unsynced says where the legs of a mirror beyond the first may be old.
func (a *Assembly) unsynced(seg *metadata.Segment, m *metadata.Mirror) func(off, max int64) (bool, int64) {
	everything := func(_, max int64) (bool, int64) { return true, max }
	if m.Log == nil || m.RegionSize <= 0 {
		return everything
	}
	v, err := a.volume(m.Log)
	if err != nil {
		return everything
	}
	start, size := int64(seg.StartExtent)*a.vg.ExtentSize, int64(seg.ExtentCount)*a.vg.ExtentSize
	log, err := again(func() (*ondisk.MirrorLog, error) {
		return ondisk.ReadMirrorLog(v, v.Size(), (start+size-1)/m.RegionSize+1)
	})
	if err != nil {
		return everything
	}
	return func(off, max int64) (bool, int64) {
		off += start
		region := off / m.RegionSize
		return !log.InSync(region), min(max, (region+1)*m.RegionSize-off)
	}
}
