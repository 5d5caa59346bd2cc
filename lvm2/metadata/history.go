package metadata

import "strings"

// history is what the metadata remembers of removed thin LVs: through whom those that are
// still there descend from each other.
type history struct {
	lvs     map[string]*LV
	byName  map[string]*HistoricalLV
	origin  map[string]*HistoricalLV   // of an LV, by its name
	nearest map[*HistoricalLV]*LV      // see findNearest
	made    map[string][]*HistoricalLV // from an LV, by its name, or from a historical one, with a "-" before it
}

func (vg *VG) findHistory() *history {
	if len(vg.HistoricalLVs) == 0 {
		return &history{}
	}
	h := &history{
		lvs:     vg.byName(),
		byName:  map[string]*HistoricalLV{},
		origin:  map[string]*HistoricalLV{},
		nearest: map[*HistoricalLV]*LV{},
		made:    map[string][]*HistoricalLV{},
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
	h.findNearest(vg.HistoricalLVs)
	return h
}

// parent is the nearest LV still there that lv was made from through removed ones.
func (h *history) parent(lv *LV) *LV {
	if old := h.origin[lv.Name]; old != nil {
		return h.nearest[old]
	}
	return nil
}

// findNearest works out, for each removed LV, the nearest LV still there that it was made from. Removed LVs made
// from one another in a circle have none.
func (h *history) findNearest(olds []*HistoricalLV) {
	for _, old := range olds {
		var chain []*HistoricalLV
		var found *LV
		for old != nil {
			if lv, done := h.nearest[old]; done {
				found = lv
				break
			}
			h.nearest[old] = nil
			chain = append(chain, old)
			name, removed := strings.CutPrefix(old.Origin, "-")
			if !removed {
				found = h.lvs[name]
				break
			}
			old = h.byName[name]
		}
		for _, old := range chain {
			h.nearest[old] = found
		}
	}
}

// children are the nearest LVs still there that were made from lv through removed ones.
func (h *history) children(lv *LV) []*LV {
	var found []*LV
	seen := map[*HistoricalLV]bool{}
	next := [][]*HistoricalLV{h.made[lv.Name]}
	for len(next) > 0 {
		last := &next[len(next)-1]
		if len(*last) == 0 {
			next = next[:len(next)-1]
			continue
		}
		old := (*last)[0]
		*last = (*last)[1:]
		if seen[old] {
			continue
		}
		seen[old] = true
		for _, name := range old.Descendants {
			if child := h.lvs[name]; child != nil {
				found = append(found, child)
			}
		}
		next = append(next, h.made["-"+old.Name])
	}
	return found
}
