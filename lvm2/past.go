package lvm2

import (
	"errors"
	"fmt"
	"io"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// View is a VG as an older text or a file describes it, to be shown in place of what counts now. It is read-only. Package history
// makes them.
type View struct {
	VG   *metadata.VG
	From string // what to call it
	// Since is what has become of its places; nil if that is not known.
	Since *metadata.Since
}

var (
	// ErrReused is wrapped, with ErrMissing, by the error of reading what may have been overwritten since.
	ErrReused = errors.New("may have been overwritten")
	// ErrOtherAge: the parts of an LV may hold bytes of another age than the metadata that are shown.
	ErrOtherAge = errors.New("of another age than the metadata")
)

// Past is what is shown of the VG in place of what counts now; nil if that is shown.
func (vg *VG) Past() *View { return vg.past }

// view shows what a View does.
func (s *scanner) view(v *View) {
	vg := newVG(v.VG)
	vg.past = v
	s.VGs = append(s.VGs, vg)
}

// past is the view of a VG; nil for none.
func (s *scanner) pastOf(uuid metadata.UUID) *View {
	for i := range s.opts.Views {
		if s.opts.Views[i].VG.UUID == uuid {
			return &s.opts.Views[i]
		}
	}
	return nil
}

// placePast gives the PVs of VGs as they were their devices. What counts now may use the same ones.
func (s *scanner) placePast(found []*foundPV) {
	for _, vg := range s.VGs {
		if vg.past == nil {
			continue
		}
		for _, f := range vg.placeAll(found) {
			f.past = true
		}
	}
}

// placeAll gives each PV of the VG its device, and gives those that have one.
func (vg *VG) placeAll(found []*foundPV) (placed []*foundPV) {
	for _, pv := range vg.PVs {
		for _, f := range found {
			if f.uuid == pv.UUID {
				f.place(pv)
				placed = append(placed, f)
			}
		}
	}
	return placed
}

// Beside are VGs as Views describe them, shown beside those of the scan: they lie on the same devices and are in none of
// its lists. Several may be of one VG. They have one directory then: that of the scan's VG or, if it is gone, a new name
// after the first view.
func (s *Scan) Beside(views []View) []*VG {
	var vgs, gone []*VG
	named := map[metadata.UUID]*VG{}
	taken := map[string]bool{}
	for _, vg := range s.VGs {
		named[vg.UUID], taken[vg.dirName] = vg, true
	}
	for _, v := range views {
		vg := newVG(v.VG)
		vg.past = &v
		vg.placeAll(s.found)
		vg.assemble(s.opts)
		for _, pv := range vg.PVs {
			s.opts.use(pv)
		}
		vgs = append(vgs, vg)
		if named[vg.UUID] == nil {
			named[vg.UUID] = vg
			gone = append(gone, vg)
		}
	}
	nameDirectories(gone)
	for _, vg := range gone {
		if taken[vg.dirName] {
			vg.dirName = vg.Name + "@" + vg.UUID.String()
		}
	}
	for _, vg := range vgs {
		vg.dirName = named[vg.UUID].dirName
	}
	return vgs
}

// RemovedThins are thin LVs of older texts whose pool is still there, read from what is left of their mappings. Only what
// is certain can be read. Nil stands for one of which nothing is.
func (s *Scan) RemovedThins(pool *LV, old []*metadata.LV) ([]*LV, error) {
	var ids []uint64
	for _, lv := range old {
		ids = append(ids, lv.Mapping().(*metadata.Thin).DeviceID)
	}
	found, err := pool.VG.assembly.RemovedThins(pool.LV, ids)
	if err != nil {
		return nil, fmt.Errorf("LV %s: %w", pool, err)
	}
	lvs := make([]*LV, len(old))
	for i := range old {
		removed := metadata.RemovedThin(pool.LV, old[i])
		if removed == nil {
			continue
		}
		vg := s.Beside([]View{{VG: pool.VG.VG, From: "a thin LV that was removed"}})[0]
		vg.assembly.ChooseRemoved(pool.LV, found[ids[i]], s.opts.ReadReused)
		lvs[i] = &LV{LV: removed, VG: vg, device: vg.Of(pool.LV), left: true}
	}
	return lvs, nil
}

// Removed is an LV that a VG had once, or had larger.
type Removed struct {
	LV    *LV    // of a VG of [Scan.Beside]
	Seqno uint64 // of the last text that has it
}

// Name is what its file is called: LV@SEQNO.
func (r Removed) Name() string { return fmt.Sprintf("%s@%d", r.LV.FileName(), r.Seqno) }

// byWord is the PV that a device is by the user's word. It is nil if the user has said nothing, or if the label says the
// same.
func (s *scanner) byWord(dev Device, labelled *foundPV) *foundPV {
	if s.opts.IsPV == nil {
		return nil
	}
	uuid := s.opts.IsPV(dev)
	if uuid == "" || labelled != nil && labelled.uuid == uuid {
		return nil
	}
	f := &foundPV{device: dev, uuid: uuid, header: &ondisk.Header{UUID: string(uuid), DeviceSize: dev.Size()}, told: true}
	for _, a := range ondisk.FindAreas(dev, dev.Size()) {
		area, m := s.readArea(f, a, io.Discard)
		if area.Err != nil || m == nil || m.vg.PV(uuid) == nil {
			continue
		}
		f.areas = append(f.areas, area)
		if f.newest == nil || m.vg.Seqno > f.newest.vg.Seqno {
			f.newest = m
		}
	}
	return f
}

// reused are the runs of the PV's device that may not hold what the metadata say.
func (pv *PV) reused() []metadata.Reused {
	if pv.VG == nil || pv.Device == nil || pv.VG.opts.ReadReused {
		return nil
	}
	var ranges []metadata.Reused
	if past := pv.VG.past; past != nil {
		ranges = past.Since.Ranges(pv.UUID)
	}
	if pv.told && pv.VG.opts.Overwritten != nil {
		ranges = metadata.Join(append(ranges, pv.VG.opts.Overwritten(pv.Device)...))
	}
	return ranges
}

// withoutReused is the PV's device; what may have been overwritten is missing there.
func (pv *PV) withoutReused(d Device) Device {
	ranges := pv.reused()
	if len(ranges) == 0 {
		return d
	}
	lost := make([]mapping.LostRange, len(ranges))
	for i, r := range ranges {
		lost[i] = mapping.LostRange{Start: r.Start, End: r.End, Err: reusedError(r)}
	}
	return mapping.WithLost(d, lost)
}

func reusedError(r metadata.Reused) error {
	return fmt.Errorf("%w by %s: %w", ErrReused, r.By, ErrMissing)
}

// Overwritten is how many bytes beneath the LV may have been overwritten since the metadata that are shown were written,
// by whom, and of how many. Only PVs that are there count.
func (lv *LV) Overwritten() (bytes, of int64, by []string) {
	ranges := map[metadata.UUID][]metadata.Reused{}
	for _, pv := range lv.PVs() {
		ranges[pv.UUID] = lv.VG.pvs[pv].reused()
	}
	return metadata.Overwritten(lv.LV, ranges)
}

// ExceptionsAlone is why only the exceptions can be read of a snapshot that is shown as it was: nothing tells what its
// origin has overwritten since. It is nil for everything else.
func (lv *LV) ExceptionsAlone() error {
	if seg := lv.SnapshotOf(); seg != nil {
		return lv.VG.otherAge(seg.LV)
	}
	return nil
}

// otherAge is why the parts of an LV may hold bytes of another age than the metadata; nil if they do not, or the user has
// them read all the same.
func (vg *VG) otherAge(lv *metadata.LV) error {
	if vg.past == nil || vg.opts.ReadReused {
		return nil
	}
	if why := vg.past.Since.Reassembled(lv); why != "" {
		return fmt.Errorf("%w: %s", ErrOtherAge, why)
	}
	return nil
}
