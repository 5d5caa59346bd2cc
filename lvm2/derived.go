package lvm2

// derived is what follows from the metadata of a VG as a whole, and from the superblocks of
// its RAIDs. It is worked out once, when it is first asked for.
type derived struct {
	byName  map[string]*LV
	history history
	traits  map[*LV]traits

	superblocks map[*LV]superblocks // of RAIDs
	legs        map[*LV]int         // which leg an LV is of its RAID
}

// traits are what an LV has from all that is beneath it.
type traits struct {
	partial bool    // extents, or those of an LV without which it is not whole, are on a missing PV or beyond the end of its device
	modules modules // of the kernel, to activate it
}

func (vg *VG) derive() *derived {
	vg.deriveOnce.Do(func() {
		byName := make(map[string]*LV, len(vg.LVs))
		for _, lv := range vg.LVs {
			byName[lv.Name] = lv
		}
		d := &derived{
			byName:      byName,
			history:     newHistory(vg, byName),
			traits:      make(map[*LV]traits, len(vg.LVs)),
			superblocks: map[*LV]superblocks{},
			legs:        map[*LV]int{},
		}
		for _, lv := range vg.bottomUp {
			d.traits[lv] = d.traitsOf(lv)
		}
		for _, lv := range vg.LVs {
			if m := lv.RAID(); m != nil {
				d.superblocks[lv] = readSuperblocks(lv, m)
				for i, leg := range m.Legs {
					d.legs[leg.Data] = i
				}
			}
		}
		vg.derived = d
	})
	return vg.derived
}

// traitsOf works out the traits of lv from those of the LVs before it in the order from the bottom up. An
// LV that lies on itself has those of what is found before the circle closes.
func (d *derived) traitsOf(lv *LV) traits {
	t := traits{partial: lv.Partial()}
	for _, seg := range lv.Segments {
		t.modules |= seg.modules()
		for _, beneath := range seg.references() {
			b := d.traits[beneath]
			t.partial = t.partial || b.partial && seg.needs(beneath)
			if seg.liesOn(beneath) {
				t.modules |= b.modules
			}
		}
	}
	snapshots := lv.snapshots()
	for _, m := range snapshots {
		cow := d.traits[m.COW]
		t.partial = t.partial || cow.partial
		t.modules |= cow.modules
	}
	if len(snapshots) > 0 || lv.snapshotOf() != nil {
		t.modules |= snapshotModule
	}
	return t
}

// needs says whether a segment is not whole without an LV that it refers to. The thin LV
// that another was made from gave it its blocks and may go.
func (seg *Segment) needs(beneath *LV) bool {
	m, ok := seg.Mapping.(*Thin)
	return !ok || beneath == m.Pool || beneath == m.ExternalOrigin
}

// liesOn says whether lvm2 counts an LV that a segment refers to as what lies beneath it: not a
// thin pool or the origin of a snapshot, nor what is kept beside the data.
func (seg *Segment) liesOn(beneath *LV) bool {
	switch m := seg.Mapping.(type) {
	case *Thin, *Snapshot:
		return false
	case *ThinPool:
		return beneath == m.Data
	case *CachePool:
		return beneath == m.Data
	case *Cache:
		return beneath == m.Origin
	case *Writecache:
		return beneath == m.Origin
	}
	return true
}

// modules is a set of moduleNames.
type modules uint16

// moduleNames are the kernel's device-mapper modules, in the order of reports. The targets
// linear and striped are built in.
var moduleNames = []string{"cache", "error", "integrity", "kvdo", "mirror", "raid", "snapshot", "thin", "thin-pool", "writecache", "zero"}

const snapshotModule modules = 1 << 6

func (m modules) names() []string {
	var names []string
	for i, name := range moduleNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func moduleSet(names ...string) modules {
	var m modules
	for i, have := range moduleNames {
		for _, name := range names {
			if name == have {
				m |= 1 << i
			}
		}
	}
	return m
}

// modules are those of the segment itself.
func (seg *Segment) modules() modules {
	switch seg.Mapping.(type) {
	case *RAID:
		return moduleSet("raid")
	case *Thin:
		return moduleSet("thin", "thin-pool")
	case *CachePool:
		return moduleSet("cache")
	case *VDO, *VDOPool:
		return moduleSet("kvdo")
	}
	return moduleSet(seg.Type)
}

// Modules are the names of the kernel's device-mapper modules that activating lv takes,
// sorted.
func (lv *LV) Modules() []string { return lv.VG.derive().traits[lv].modules.names() }
