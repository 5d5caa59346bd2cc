package lvm2

import (
	"fmt"
	"slices"
	"sync"

	"lvm2fs/lvm2/internal/assembly"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// VG is a volume group as its newest metadata describes it, with the devices that hold it. It
// does not change: to see what others have changed, [Open] the devices again.
type VG struct {
	*metadata.VG
	PVs []*PV // in the order of the metadata
	LVs []*LV // in the order of the metadata

	dirName   string
	ambiguous bool // copies with the same seqno differ
	past      *View
	devices   thinDevices
	opts      Options
	assembly  *assembly.Assembly
	pvs       map[*metadata.PV]*PV
	lvs       map[*metadata.LV]*LV

	partial     func() map[*metadata.LV]bool
	incomplete  func() map[*metadata.LV]bool // partial, or with a COW store that is
	lost        func() map[*metadata.LV]bool // partial, and not made good by a RAID
	prints      func() map[*metadata.LV]metadata.Fingerprint
	places      func() map[*metadata.LV]metadata.Fingerprint // with what the PVs are read from
	superblocks func() map[*metadata.LV]assembly.Superblocks // of RAIDs
}

func newVG(m *metadata.VG) *VG {
	vg := &VG{VG: m, pvs: make(map[*metadata.PV]*PV, len(m.PVs)), lvs: make(map[*metadata.LV]*LV, len(m.LVs))}
	for _, pv := range m.PVs {
		vg.pvs[pv] = &PV{PV: pv, VG: vg}
		vg.PVs = append(vg.PVs, vg.pvs[pv])
	}
	for _, lv := range m.LVs {
		vg.lvs[lv] = &LV{LV: lv, VG: vg}
		vg.LVs = append(vg.LVs, vg.lvs[lv])
	}
	lacks := func(pv *metadata.PV, first, extents uint64) bool { return vg.pvs[pv].Lacks(first, extents) }
	vg.partial = sync.OnceValue(func() map[*metadata.LV]bool { return m.Partial(lacks, false) })
	vg.incomplete = sync.OnceValue(func() map[*metadata.LV]bool { return m.Partial(lacks, true) })
	vg.lost = sync.OnceValue(func() map[*metadata.LV]bool { return m.Lost(lacks) })
	vg.prints = sync.OnceValue(func() map[*metadata.LV]metadata.Fingerprint { return m.Fingerprints(nil) })
	vg.places = sync.OnceValue(func() map[*metadata.LV]metadata.Fingerprint {
		return m.Fingerprints(func(pv *metadata.PV) string {
			p := vg.pvs[pv]
			if p.Device == nil {
				return "missing"
			}
			return fmt.Sprintf("on %d bytes but for %v", p.Device.Size(), p.reused())
		})
	})
	vg.superblocks = sync.OnceValue(func() map[*metadata.LV]assembly.Superblocks {
		found := map[*metadata.LV]assembly.Superblocks{}
		for _, lv := range m.LVs {
			if raid := lv.RAID(); raid != nil {
				found[lv] = vg.assembly.Superblocks(raid)
			}
		}
		return found
	})
	return vg
}

// assemble is called once it is known which devices hold the VG.
func (vg *VG) assemble(opts Options) {
	vg.opts = opts
	var told assembly.Options
	if opts.CacheLost != nil {
		told.CacheLost = func(lv *metadata.LV, err error) { opts.CacheLost(vg.lvs[lv], err) }
	}
	if opts.LegFailed != nil {
		told.LegFailed = func(lv *metadata.LV, leg int, off, n int64, err error) { opts.LegFailed(vg.lvs[lv], leg, off, n, err) }
	}
	if opts.SnapshotLost != nil {
		told.SnapshotLost = func(lv *metadata.LV, err error) { opts.SnapshotLost(vg.lvs[lv], err) }
	}
	vg.assembly = assembly.New(vg.VG, source{vg}, told)
}

// source gives an assembly what the PVs of a VG are read from.
type source struct{ vg *VG }

func (s source) Device(pv *metadata.PV) mapping.Device {
	if p := s.vg.pvs[pv]; p.Device != nil {
		return p.contents()
	}
	return nil
}

func (s source) Describe(pv *metadata.PV) string { return s.vg.pvs[pv].String() }
func (s source) Missing(pv *metadata.PV) bool    { return s.vg.pvs[pv].Missing() }
func (s source) Partial(lv *metadata.LV) bool    { return s.vg.partial()[lv] }
func (s source) OtherAge(lv *metadata.LV) error  { return s.vg.otherAge(lv) }

// DirName is the name of the VG's directory. That is its name, or NAME@XXXXXX, with the first group of the UUID, where
// two VGs of a scan share the name. It is @UUID where lvm would not allow the name.
func (vg *VG) DirName() string { return vg.dirName }

// LV finds a logical volume by its name, visible or not; nil if there is none.
func (vg *VG) LV(name string) *LV { return vg.Of(vg.VG.LV(name)) }

// LVOf finds an LV by the UUID of its VG and its own; nil if there is none.
func LVOf(vgs []*VG, vg, lv UUID) *LV {
	for _, g := range vgs {
		for _, l := range g.LVs {
			if g.UUID == vg && l.UUID == lv {
				return l
			}
		}
	}
	return nil
}

// Of is the LV that the metadata describe so; nil for nil.
func (vg *VG) Of(lv *metadata.LV) *LV { return vg.lvs[lv] }

// PVOf is the PV that the metadata describe so; nil for nil.
func (vg *VG) PVOf(pv *metadata.PV) *PV { return vg.pvs[pv] }

// found are the devices of PVs that were found.
func (vg *VG) found(pvs []*metadata.PV) []Device {
	var devices []Device
	for _, pv := range pvs {
		if dev := vg.pvs[pv].Device; dev != nil {
			devices = append(devices, dev)
		}
	}
	return devices
}

// Partial says whether a PV of the VG was not found.
func (vg *VG) Partial() bool {
	return slices.ContainsFunc(vg.PVs, func(pv *PV) bool { return pv.Device == nil })
}

// nameDirectories gives every VG its directory's name.
func nameDirectories(vgs []*VG) {
	byName := map[string]int{}
	byGroup := map[string]int{}
	group := func(vg *VG) string { return vg.Name + "@" + string(vg.UUID[:6]) }
	for _, vg := range vgs {
		byName[vg.Name]++
		byGroup[group(vg)]++
	}
	for _, vg := range vgs {
		switch {
		case !metadata.ValidName(vg.Name):
			vg.dirName = "@" + vg.UUID.String()
		case byName[vg.Name] == 1:
			vg.dirName = vg.Name
		case byGroup[group(vg)] == 1:
			vg.dirName = group(vg)
		default:
			vg.dirName = vg.Name + "@" + vg.UUID.String()
		}
	}
}
