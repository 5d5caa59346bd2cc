package lvm2

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
)

// A PV may show on several devices. It is read from the one that something on disk speaks for: a system would read that
// one and not the other ([Options].Beats), only that one has room for the PV, or its metadata is newer. Where nothing
// speaks for any, they are read as one and compared. Where different things speak for different devices, or the metadata
// differ, none is read until the user names one. The order of the devices decides nothing.

// resolveDuplicates leaves at most one device for each PV.
func (s *scanner) resolveDuplicates(found []*foundPV) []*foundPV {
	byUUID := map[metadata.UUID][]*foundPV{}
	for _, f := range found {
		byUUID[f.uuid] = append(byUUID[f.uuid], f)
	}
	unread := s.unread()
	var kept []*foundPV
	for _, f := range found {
		same := byUUID[f.uuid]
		if f != same[0] {
			continue
		}
		best := f
		if len(same) > 1 {
			best = s.bestDuplicate(slices.Clone(same))
		}
		if best == nil || !s.standsAgainst(best, unread[f.uuid]) {
			continue
		}
		for _, g := range same {
			best.shownBy = append(best.shownBy, g.device)
		}
		kept = append(kept, best)
	}
	return kept
}

// unread are the devices of Options.Unread by the PV that shows on them.
func (s *scanner) unread() map[metadata.UUID][]Device {
	all := map[metadata.UUID][]Device{}
	for _, dev := range s.opts.Unread {
		if header, err := ondisk.ReadHeader(dev, dev.Size()); err == nil {
			all[metadata.UUID(header.UUID)] = append(all[metadata.UUID(header.UUID)], dev)
		}
	}
	return all
}

// standsAgainst says whether devices that cannot be read keep a PV that shows on them from being read elsewhere.
func (s *scanner) standsAgainst(f *foundPV, unread []Device) bool {
	if s.opts.Rival != nil && !s.chosen(f) {
		if rival := s.opts.Rival(f.device); rival != "" {
			s.reject(f.device, fmt.Errorf("%s: %w: %s cannot be read, and may be an overlay that lies over it, with newer contents of PV %s: leave that out, or name the right one", f.device.Name(), ErrAmbiguous, rival, f.uuid))
			return false
		}
	}
	for _, dev := range unread {
		if dev == f.device || s.chosen(f) || s.beats(f.device, dev) != "" {
			continue
		}
		s.reject(f.device, fmt.Errorf("%s: %w: PV %s is on %s too, which is part of something that cannot be read and may be newer: name only the right one", f.device.Name(), ErrAmbiguous, f.uuid, dev.Name()))
		return false
	}
	return true
}

func (s *scanner) chosen(f *foundPV) bool { return s.opts.Chosen != nil && s.opts.Chosen(f.device) }

func (s *scanner) beats(a, b Device) string {
	if s.opts.Beats == nil {
		return ""
	}
	return s.opts.Beats(a, b)
}

// bestDuplicate is the device that a PV on several devices is read from; nil if none may be read.
func (s *scanner) bestDuplicate(same []*foundPV) *foundPV {
	slices.SortStableFunc(same, func(a, b *foundPV) int { return cmp.Compare(a.device.Name(), b.device.Name()) })
	rivals := same
	if chosen := selectFound(same, s.chosen); len(chosen) > 0 {
		s.rejectOthers(same, chosen, "which was chosen")
		rivals = chosen
	}
	beaten, contradiction := s.compare(rivals)
	left := selectFound(rivals, func(f *foundPV) bool { return beaten[f] == "" })
	why := ""
	for _, f := range left {
		switch {
		case contradiction[f] != "":
			why = contradiction[f]
		case why == "" && (f.newest != left[0].newest || f.doubtful):
			why = left[0].differsFrom(f)
		}
	}
	if why != "" && len(left) > 1 {
		s.rejectAll(left, why)
		left = nil
	}
	for _, f := range rivals {
		if beaten[f] != "" {
			s.rejectDuplicate(f, beaten[f])
		}
	}
	if len(left) == 0 {
		return nil
	}
	best := left[0]
	best.duplicate = len(same) > 1
	for _, f := range left[1:] {
		best.copies = append(best.copies, f.device)
		s.rejectDuplicate(f, best.device.Name()+" too; nothing tells which is right, so what is read is read from both and compared, and they are read-only")
	}
	return best
}

// compare finds which of the devices with one PV are beaten by another, and which pairs beat each other.
func (s *scanner) compare(rivals []*foundPV) (beaten, contradiction map[*foundPV]string) {
	beaten, contradiction = map[*foundPV]string{}, map[*foundPV]string{}
	for i, f := range rivals {
		for _, g := range rivals[:i] {
			better, worse, why, against := f, g, s.reasonsFor(f, g), s.reasonsFor(g, f)
			switch {
			case len(why) > 0 && len(against) > 0:
				both := fmt.Sprintf("%s %s, but %s %s", f.device.Name(), strings.Join(why, " and "), g.device.Name(), strings.Join(against, " and "))
				contradiction[f], contradiction[g] = both, both
				continue
			case len(against) > 0:
				better, worse, why = g, f, against
			}
			if len(why) > 0 && beaten[worse] == "" {
				beaten[worse] = fmt.Sprintf("%s too, which is used: it %s", better.device.Name(), strings.Join(why, " and "))
			}
		}
	}
	return beaten, contradiction
}

// reasonsFor are the phrases that speak for f and against g.
func (s *scanner) reasonsFor(f, g *foundPV) (why []string) {
	if reason := s.beats(f.device, g.device); reason != "" {
		why = append(why, reason)
	}
	if size := f.header.DeviceSize; f.device.Size() >= size && g.device.Size() < g.header.DeviceSize {
		why = append(why, fmt.Sprintf("has room for a PV of %d bytes, which %s has not", g.header.DeviceSize, g.device.Name()))
	}
	if f.newest != nil && g.newest != nil && f.newest.vg.UUID == g.newest.vg.UUID && f.seqno() > g.seqno() && !g.doubtful {
		why = append(why, fmt.Sprintf("has metadata with seqno %d, not %d", f.seqno(), g.seqno()))
	}
	return why
}

// differsFrom says what keeps f and g from being copies.
func (f *foundPV) differsFrom(g *foundPV) string {
	switch {
	case f.doubtful || g.doubtful:
		return "not all of their metadata can be read"
	case f.newest == nil || g.newest == nil:
		return "only one has metadata"
	case f.newest.vg.UUID != g.newest.vg.UUID:
		return fmt.Sprintf("one is of VG %s, one of VG %s", f.newest.vg.Name, g.newest.vg.Name)
	}
	return fmt.Sprintf("their metadata differ, with the same seqno, %d", f.seqno())
}

func (s *scanner) rejectDuplicate(f *foundPV, on string) {
	s.reject(f.device, fmt.Errorf("%s: %w: PV %s is on %s", f.device.Name(), ErrDuplicate, f.uuid, on))
}

func (s *scanner) rejectOthers(all, kept []*foundPV, why string) {
	for _, f := range all {
		if !slices.Contains(kept, f) {
			s.rejectDuplicate(f, kept[0].device.Name()+" too, "+why)
		}
	}
}

// rejectAll rejects devices with one PV, and says with each what the others are.
func (s *scanner) rejectAll(all []*foundPV, why string) {
	for _, f := range all {
		var others []string
		for _, g := range all {
			if g != f {
				others = append(others, g.device.Name())
			}
		}
		s.reject(f.device, fmt.Errorf("%s: %w: PV %s is on %s too, and %s: name only the right one", f.device.Name(), ErrAmbiguous, f.uuid, strings.Join(others, ", "), why))
	}
}

func selectFound(all []*foundPV, keep func(*foundPV) bool) []*foundPV {
	var kept []*foundPV
	for _, f := range all {
		if keep(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// holder says who else uses one of the devices that show a PV. What is written to a device that is not read may land on
// the same disk.
func (o *Options) holder(shownBy []Device) string {
	if o.InUse == nil {
		return ""
	}
	var holders []string
	for _, d := range shownBy {
		if h := o.InUse(d); h != "" && !slices.Contains(holders, h) {
			holders = append(holders, h)
		}
	}
	return strings.Join(holders, ", ")
}

func (f *foundPV) seqno() uint64 {
	if f.newest == nil {
		return 0
	}
	return f.newest.vg.Seqno
}
