package lvm2

import "strings"

// history is what the metadata remembers of removed thin LVs: through whom those that are
// still there descend from each other.
type history struct {
	lvs    map[string]*LV
	byName map[string]*HistoricalLV
	origin map[string]*HistoricalLV   // of an LV, by its name
	made   map[string][]*HistoricalLV // from an LV, by its name, or from a historical one, with a "-" before it
}

func newHistory(vg *VG, lvs map[string]*LV) history {
	if len(vg.HistoricalLVs) == 0 {
		return history{}
	}
	h := history{
		lvs:    lvs,
		byName: map[string]*HistoricalLV{},
		origin: map[string]*HistoricalLV{},
		made:   map[string][]*HistoricalLV{},
	}
	for _, old := range vg.HistoricalLVs {
		h.byName[old.Name] = old
		if old.Origin != "" {
			h.made[old.Origin] = append(h.made[old.Origin], old)
		}
		for _, name := range old.Descendants {
			h.origin[name] = old
		}
	}
	return h
}

// parent is the nearest LV still there that lv was made from through removed ones.
func (h *history) parent(lv *LV) *LV {
	old := h.origin[lv.Name]
	// The chain is no longer than there are removed LVs, unless it is a circle.
	for range h.byName {
		if old == nil {
			return nil
		}
		name, removed := strings.CutPrefix(old.Origin, "-")
		if !removed {
			return h.lvs[name]
		}
		old = h.byName[name]
	}
	return nil
}

// children are the nearest LVs still there that were made from lv through removed ones.
func (h *history) children(lv *LV) []*LV {
	var found []*LV
	seen := map[*HistoricalLV]bool{}
	var visit func(olds []*HistoricalLV)
	visit = func(olds []*HistoricalLV) {
		for _, old := range olds {
			if seen[old] {
				continue
			}
			seen[old] = true
			for _, name := range old.Descendants {
				if child := h.lvs[name]; child != nil {
					found = append(found, child)
				}
			}
			visit(h.made["-"+old.Name])
		}
	}
	visit(h.made[lv.Name])
	return found
}
