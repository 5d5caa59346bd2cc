package metadata

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
)

// Later is a text that has counted since an older one was written.
type Later struct {
	VG *VG
	// PVs are the UUIDs, in this text, of PVs that have another in the older one: they were made anew.
	PVs map[UUID]UUID
	// Step: a step in the middle of a command that removes LVs. Nothing is written to what it gives away.
	Step bool
}

// Reused is a run of bytes of a PV that a later text has given to something else.
type Reused struct {
	Start, End int64  // bytes from the start of the device
	By         string // who may have written there: a phrase
}

// Since is what has become of the places and the LVs of an older text.
type Since struct {
	ranges      map[UUID][]Reused
	reassembled map[*LV]string
}

// NewSince works out what later texts have made of the places where the LVs of an older one lie. The order of later
// does not matter. LVs, and PVs, are the same if their UUIDs are. Where seqnos are missing, the lost texts may have
// given away whatever the next text does not show in its old place.
func NewSince(older *VG, later []Later) *Since {
	s := &Since{ranges: map[UUID][]Reused{}, reassembled: map[*LV]string{}}
	old := older.places()
	later = slices.Clone(later)
	slices.SortStableFunc(later, func(a, b Later) int {
		return cmp.Or(cmp.Compare(a.VG.UUID, b.VG.UUID), cmp.Compare(a.VG.Seqno, b.VG.Seqno))
	})
	before := map[UUID]uint64{older.UUID: older.Seqno} // the seqno before the next one, by VG
	for _, l := range later {
		now := l.places()
		for pv := range old {
			if l.Step {
				break
			}
			for _, p := range now[pv] {
				s.given(old, p, fmt.Sprintf("%s/%s (seqno %d)", l.VG.Name, p.LV.Name, l.VG.Seqno))
			}
			s.unreadable(pv, l)
		}
		if last := before[l.VG.UUID]; l.VG.Seqno > last+1 {
			s.untold(old, now, l, fmt.Sprintf("texts of %s that are not found (seqno %d to %d)", l.VG.Name, last+1, l.VG.Seqno-1))
		}
		before[l.VG.UUID] = max(before[l.VG.UUID], l.VG.Seqno)
		if !l.Step {
			s.reassemble(older, l.VG)
		}
	}
	for pv, ranges := range s.ranges {
		s.ranges[pv] = Join(ranges)
	}
	s.onReassembled(older)
	return s
}

// Unknown takes all places of the older text for given away, since the text that counted last cannot be read.
func (s *Since) Unknown(older *VG, by string) {
	for pv, of := range older.places() {
		for _, p := range of {
			s.add(pv, Reused{p.Start, p.End, by})
		}
		s.ranges[pv] = Join(s.ranges[pv])
	}
}

// pv is the UUID, in the older text, of a PV.
func (l Later) pv(uuid UUID) UUID { return cmp.Or(l.PVs[uuid], uuid) }

// places are those of the text, by the UUIDs that PVs have in the older one.
func (l Later) places() places {
	renamed := places{}
	for uuid, of := range l.VG.places() {
		for i := range of {
			of[i].PV = l.pv(uuid)
		}
		renamed[l.pv(uuid)] = of
	}
	return renamed
}

// given notes what of the old places of a PV a later text has given to another LV, or to other bytes of the same.
func (s *Since) given(old places, p Place, by string) {
	for _, o := range old.overlapping(p) {
		if !p.sameBytes(o) {
			s.add(p.PV, Reused{max(p.Start, o.Start), min(p.End, o.End), by})
		}
	}
}

// unreadable takes the whole of a PV for given away by a text: one of its LVs makes no sense, and where that lies is
// not known.
func (s *Since) unreadable(pv UUID, l Later) {
	for _, lv := range l.VG.LVs {
		if lv.broken == nil {
			continue
		}
		for _, p := range l.VG.PVs {
			if l.pv(p.UUID) == pv {
				s.add(pv, Reused{0, math.MaxInt64, fmt.Sprintf("%s/%s (seqno %d), whose metadata make no sense", l.VG.Name, lv.Name, l.VG.Seqno)})
			}
		}
		return
	}
}

// untold notes what the texts that were not found may have given away: what the next text does not have in its old
// place.
func (s *Since) untold(old, now places, l Later, by string) {
	for _, pv := range l.VG.PVs {
		for _, o := range old[l.pv(pv.UUID)] {
			for _, rest := range now.lack(o) {
				s.add(rest.PV, Reused{rest.Start, rest.End, by})
			}
		}
	}
}

// reassemble notes the LVs whose parts a later text has put together in another way. What the parts hold is then not
// of the age of the older text.
func (s *Since) reassemble(older, later *VG) {
	now := byUUID(later.LVs, func(lv *LV) UUID { return lv.UUID })
	for _, lv := range older.LVs {
		if s.reassembled[lv] != "" {
			continue
		}
		if is := now[lv.UUID]; is != nil && lv.servesOtherwise(is) {
			s.reassembled[lv] = fmt.Sprintf("it was used in another way since (seqno %d)", later.Seqno)
			continue
		}
		for _, seg := range lv.Segments {
			if seg.kind.Stateless || seg.kind.Plain {
				continue
			}
			for r := range seg.beneath {
				part := now[r.LV.UUID]
				if part == nil || r.Optional {
					continue
				}
				whole := now[lv.UUID]
				switch m, isSnapshot := seg.Mapping.(*Snapshot); {
				case whole != nil && slices.ContainsFunc(whole.Segments, seg.sameMakeUp):
				case isSnapshot && r.LV == m.Origin:
					s.reassembled[lv] = fmt.Sprintf("only what its origin %s had overwritten until the snapshot went is certain (seqno %d)", m.Origin.Name, later.Seqno)
				default:
					s.reassembled[lv] = fmt.Sprintf("%s, a part of it, was used in another way since (seqno %d)", r.LV.Name, later.Seqno)
				}
			}
		}
	}
}

// servesOtherwise says whether the LV serves another purpose in a later text. What users had as it is may be a part
// of another LV, which writes there what it likes, or the COW store of a snapshot. What was such a store may be
// something else.
func (lv *LV) servesOtherwise(later *LV) bool {
	return lv.Listed() && lv.isPlain() && !later.Listed() || (lv.cowOf == nil) != (later.cowOf == nil)
}

// isPlain says whether the LV is nothing but extents.
func (lv *LV) isPlain() bool {
	for _, seg := range lv.Segments {
		if !seg.kind.Plain {
			return false
		}
	}
	return true
}

// onReassembled notes what lies on LVs that are reassembled.
func (s *Since) onReassembled(vg *VG) {
	for _, lv := range vg.bottomUp {
		for _, seg := range lv.Segments {
			for r := range seg.beneath {
				if s.reassembled[lv] == "" && !r.Optional {
					s.reassembled[lv] = s.reassembled[r.LV]
				}
			}
		}
	}
}

// sameMakeUp says whether two segments are put together of the same parts in the same way. Their sizes do not matter.
func (seg *Segment) sameMakeUp(other *Segment) bool {
	return seg.Type == other.Type && seg.ReshapeCount == other.ReshapeCount && seg.StartExtent == other.StartExtent && seg.sizes() == other.sizes() &&
		slices.Equal(seg.TypeFlags, other.TypeFlags) &&
		slices.EqualFunc(seg.parts(), other.parts(), func(a, b Reference) bool { return a.Role == b.Role && a.LV.UUID == b.LV.UUID }) &&
		seg.deviceID() == other.deviceID()
}

func (seg *Segment) parts() (parts []Reference) {
	for r := range seg.beneath {
		if !r.Optional {
			parts = append(parts, r)
		}
	}
	return parts
}

// deviceID is that of a thin LV in its pool; 0 for other types.
func (seg *Segment) deviceID() uint64 {
	if m, ok := seg.Mapping.(*Thin); ok {
		return m.DeviceID
	}
	return 0
}

// Ranges are the runs of a PV, in order and apart, that may have been given to something else. A nil Since has none.
func (s *Since) Ranges(pv UUID) []Reused {
	if s == nil {
		return nil
	}
	return s.ranges[pv]
}

// Reassembled says why what the parts of the LV hold may not be of the age of the older text; "" if it is.
func (s *Since) Reassembled(lv *LV) string {
	if s == nil {
		return ""
	}
	return s.reassembled[lv]
}

func (s *Since) add(pv UUID, r Reused) { s.ranges[pv] = append(s.ranges[pv], r) }

// Join gives ranges in order and apart; of what several tell, the first counts.
func Join(ranges []Reused) []Reused {
	ranges = slices.Clone(ranges)
	slices.SortStableFunc(ranges, func(a, b Reused) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End))
	})
	var out []Reused
	for _, r := range ranges {
		if n := len(out); n > 0 {
			last := &out[n-1]
			r.Start = max(r.Start, last.End)
			if r.Start >= r.End {
				continue
			}
			if r.Start == last.End && r.By == last.By {
				last.End = r.End
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// Overlap says whether ranges, which are in order and apart, have bytes from start to end.
func Overlap(ranges []Reused, start, end int64) bool {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].End > start })
	return i < len(ranges) && ranges[i].Start < end
}

// Overwritten is how many bytes of PVs beneath an LV lie in ranges of those PVs, by whom they may have been written,
// and how many bytes there are in all.
func Overwritten(lv *LV, ranges map[UUID][]Reused) (bytes, of int64, by []string) {
	seen := map[*LV]bool{}
	var visit func(lv *LV)
	visit = func(lv *LV) {
		if seen[lv] || lv.broken != nil {
			return
		}
		seen[lv] = true
		for _, p := range lv.places() {
			of += p.End - p.Start
			for _, r := range ranges[p.PV] {
				if n := min(r.End, p.End) - max(r.Start, p.Start); n > 0 {
					bytes += n
					if !slices.Contains(by, r.By) {
						by = append(by, r.By)
					}
				}
			}
		}
		for _, seg := range lv.Segments {
			for r := range seg.beneath {
				if !r.Optional {
					visit(r.LV)
				}
			}
		}
		if lv.cowOf != nil {
			visit(lv.cowOf.Mapping.(*Snapshot).Origin)
		}
	}
	visit(lv)
	return bytes, of, by
}
