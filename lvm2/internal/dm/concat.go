package dm

import (
	"sort"

	"lvm2fs/mapping"
)

// Concat is volumes one after the other, as the segments of an LV are.
//
//	|  part 0  | part 1 |      part 2      |
//	0       end[0]   end[1]             end[2]
func Concat(parts []mapping.Volume) mapping.Volume {
	if len(parts) == 1 {
		return parts[0]
	}
	type run struct {
		end     int64 // of the run in the concatenation
		beneath mapping.Volume
		at      int64 // of the run's end in beneath
	}
	runs := make([]run, 0, len(parts))
	beneath := make([]mapping.Volume, 0, len(parts))
	var end int64
	for _, p := range parts {
		end += p.Size()
		r := run{end: end, beneath: p, at: p.Size()}
		// A linear part is replaced by what it lies on. That saves a step, and its device is synced once however many
		// parts lie on it.
		if l, ok := p.(*linear); ok {
			r.beneath, r.at = l.beneath[0], l.off+l.size
		}
		runs = append(runs, r)
		beneath = append(beneath, r.beneath)
	}
	return &remapped{
		size: end,
		locate: func(off int64) (mapping.Volume, int64, int64) {
			r := runs[sort.Search(len(runs), func(i int) bool { return off < runs[i].end })]
			length := r.end - off
			return r.beneath, r.at - length, length
		},
		beneath: distinct(beneath),
	}
}
