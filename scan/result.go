package scan

import (
	"fmt"
	"strings"

	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
)

// Result is what was on the devices of a session at one time. It does not change.
type Result struct {
	VGs     []*lvm2.VG // by name, then by UUID
	Orphans []*lvm2.PV // PVs of no VG
	// Removed are the LVs that Options.Removed asks for.
	Removed []lvm2.Removed
	// Problems are all that is not as it should be: first what could be got over, then what was refused.
	Problems []Problem
	// Roots are the devices that were named, in their order, with what lies on them.
	Roots []*probe.Node
	// Disks are those of the system, if they were asked for, with what lies on them.
	Disks []*probe.Node

	past  *history.Found               // nil if it was not looked for
	onLVs map[[2]lvm2.UUID]*probe.Node // by the UUIDs of VG and LV
}

// OnLV is an LV as a device, with what lies on it; nil unless Options.Nested had it looked at.
func (r *Result) OnLV(lv *lvm2.LV) *probe.Node { return r.onLVs[[2]lvm2.UUID{lv.VG.UUID, lv.UUID}] }

// NoVG says why there is no volume group, of each device, with a [NoVGError]; nil if there is one.
func (r *Result) NoVG() error {
	if len(r.VGs) > 0 {
		return nil
	}
	causes := refusals(r.Problems)
	for _, pv := range r.Orphans {
		causes = append(causes, vgUnknown(pv))
	}
	return &NoVGError{causes}
}

// refusals are the errors of what is refused.
func refusals(problems []Problem) (errs []error) {
	for _, p := range problems {
		if p.Refused {
			errs = append(errs, p.Err)
		}
	}
	return errs
}

// vgUnknown says why a PV that is there leads to no VG.
func vgUnknown(pv *lvm2.PV) error {
	switch err := pv.MetadataLost(); {
	case err != nil:
		return fmt.Errorf("%s: a PV of an unknown volume group: %w", pv, err)
	case pv.InUse:
		return fmt.Errorf("%s: a PV that is used by a volume group whose metadata is on none of the devices", pv)
	}
	return fmt.Errorf("%s: a PV of no volume group", pv)
}

// LV finds the LV at a path VG/LV or /dev/VG/LV. VG may be VG@XXXXXX, with the first group of its UUID, and must
// be where VGs share a name; @UUID stands for either. LV is its name, or what its file is called. It fails with
// ErrLVPath for what is no such path, and with why there is no VG at all.
func (r *Result) LV(path string) (*lvm2.LV, error) {
	vgName, lvName, ok := strings.Cut(strings.TrimPrefix(path, "/dev/"), "/")
	if !ok || vgName == "" || lvName == "" {
		return nil, fmt.Errorf("%s: %w", path, ErrLVPath)
	}
	if err := r.NoVG(); err != nil {
		return nil, err
	}
	vg, err := r.VG(vgName)
	if err != nil {
		return nil, err
	}
	return findLV(vg, lvName)
}

func findLV(vg *lvm2.VG, name string) (*lvm2.LV, error) {
	for _, lv := range vg.LVs {
		if lv.FileName() == name || lv.Name == name {
			return lv, nil
		}
	}
	return vg.ThinDevice(name)
}

// VG finds the VG of a name, as the VG of [Result.LV].
func (r *Result) VG(name string) (*lvm2.VG, error) {
	var found []*lvm2.VG
	for _, vg := range r.VGs {
		switch name {
		case vg.DirName():
			return vg, nil
		case vg.Name, vg.Name + "@" + vg.UUID.String()[:6], "@" + vg.UUID.String():
			found = append(found, vg)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no VG %q", name)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, vg := range found {
		names = append(names, vg.DirName())
	}
	return nil, fmt.Errorf("%d VGs are called %q: say %s", len(found), name, strings.Join(names, " or "))
}
