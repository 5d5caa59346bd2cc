package metadata

import "slices"

// modules is a set of moduleNames.
type modules uint16

// moduleNames are the kernel's device-mapper modules, in the order of reports. The targets
// linear and striped are built in.
var moduleNames = []string{"cache", "error", "integrity", "kvdo", "mirror", "raid", "snapshot", "thin", "thin-pool", "writecache", "zero"}

func moduleSet(names []string) modules {
	var m modules
	for _, name := range names {
		if i := slices.Index(moduleNames, name); i >= 0 {
			m |= 1 << i
		}
	}
	return m
}

// findModules works out the modules of each LV from those of the LVs before it in the order from the bottom up. An
// LV that lies on itself has those of what is found before the circle closes.
func (vg *VG) findModules() map[*LV]modules {
	found := make(map[*LV]modules, len(vg.LVs))
	for _, lv := range vg.bottomUp {
		var m modules
		for _, seg := range lv.Segments {
			m |= moduleSet(seg.kind.Modules)
			for r := range seg.beneath {
				if !r.Beside {
					m |= found[r.LV]
				}
			}
		}
		for _, snapshot := range lv.originOf {
			m |= found[snapshot.COW]
		}
		if len(lv.originOf) > 0 || lv.cowOf != nil {
			m |= moduleSet(snapshotKind.Modules)
		}
		found[lv] = m
	}
	return found
}

// Modules are the names of the kernel's device-mapper modules that activating lv takes,
// sorted.
func (lv *LV) Modules() []string {
	var names []string
	for i, name := range moduleNames {
		if lv.VG.modules()[lv]&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
