package history

import (
	"cmp"
	"slices"

	"lvm2fs/lvm2/metadata"
)

// Gone is an LV, or the end of one, that an older text has and what counts now has not.
type Gone struct {
	Text *Text // the last one that has it as it was
	LV   *metadata.LV
	// Now is what is left of it: an LV that is smaller; nil if it was removed.
	Now *metadata.LV
	// Next is the first text after Text that has it no more; nil if none was found.
	Next *Text
}

// Gone lists the LVs that lvs would have shown and that were removed or made smaller, by name and then the newest first.
func (g *VG) Gone() []Gone {
	now := map[metadata.UUID]*metadata.LV{}
	if current := g.Current(); current != nil {
		for _, lv := range current.VG.LVs {
			now[lv.UUID] = lv
		}
	}
	last := map[metadata.UUID]*Gone{}
	for _, t := range g.Texts {
		if t.VG == nil || t.Current || t.step {
			continue // what a step of a command shows may never have been used
		}
		for _, lv := range t.VG.LVs {
			is := now[lv.UUID]
			if !lv.Listed() || lv.UUID == "" || is != nil && is.DeviceSize() >= lv.DeviceSize() {
				continue
			}
			if best := last[lv.UUID]; best == nil || t.newer(best.Text) {
				last[lv.UUID] = &Gone{Text: t, LV: lv, Now: is}
			}
		}
	}
	var gone []Gone
	for _, one := range last {
		one.Next = g.next(one)
		gone = append(gone, *one)
	}
	slices.SortFunc(gone, func(a, b Gone) int {
		return cmp.Or(cmp.Compare(a.LV.Name, b.LV.Name), cmp.Compare(b.Text.Seqno, a.Text.Seqno), cmp.Compare(a.LV.UUID, b.LV.UUID))
	})
	return gone
}

// newer says whether t was written after o: by the time, or by the seqno where a time is not known or the same.
func (t *Text) newer(o *Text) bool {
	if a, b := t.time(), o.time(); !a.IsZero() && !b.IsZero() && !a.Equal(b) {
		return a.After(b)
	}
	return t.Seqno > o.Seqno
}

// next is the first text after an LV went.
func (g *VG) next(gone *Gone) (next *Text) {
	for _, t := range g.Texts {
		if t.VG == nil || t == gone.Text || !t.newer(gone.Text) && !t.Current {
			continue
		}
		if next == nil || next.newer(t) {
			next = t
		}
	}
	return next
}

// SeqnoWith is the text of a seqno that has an LV of a name. Of several texts that differ, it is the only one with
// the LV. It fails as Seqno does.
func (g *VG) SeqnoWith(n uint64, lv string) (*Text, error) {
	var with []*Text
	for _, t := range g.Texts {
		if t.Seqno == n && t.VG != nil && t.VG.LV(lv) != nil {
			with = append(with, t)
		}
	}
	if len(with) == 1 {
		return with[0], nil
	}
	return g.Seqno(n)
}

// Overwritten is how many bytes of PVs beneath the LV may have been overwritten since, of how many, and by whom.
// otherAge is why what its parts hold may be of another age; "" if it is not.
func (v *View) Overwritten(lv *metadata.LV) (bytes, of int64, by []string, otherAge string) {
	ranges := map[metadata.UUID][]metadata.Reused{}
	for _, pv := range v.VG.PVs {
		ranges[pv.UUID] = v.Since.Ranges(pv.UUID)
	}
	bytes, of, by = metadata.Overwritten(lv, ranges)
	otherAge = v.Since.Reassembled(lv)
	if seg := lv.SnapshotOf(); seg != nil {
		otherAge = cmp.Or(otherAge, v.Since.Reassembled(seg.LV))
	}
	return bytes, of, by, otherAge
}

// DeviceGiven is the name of an LV to which some text gives a device ID in a thin pool; "" for none. The LV whose
// UUID is not does not count.
func (f *Found) DeviceGiven(pool *metadata.LV, id uint64, not metadata.UUID) string {
	for _, g := range f.VGs {
		for _, t := range g.Texts {
			if t.VG == nil {
				continue
			}
			for _, lv := range t.VG.LVs {
				if m, ok := lv.Mapping().(*metadata.Thin); ok && m.DeviceID == id && m.Pool.UUID == pool.UUID && lv.UUID != not {
					return lv.String()
				}
			}
		}
	}
	return ""
}
