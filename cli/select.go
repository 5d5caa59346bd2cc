package cli

import (
	"fmt"
	"strings"

	"lvm2fs/lvm2"
)

// lvPath names an LV as its file in the mounted tree is named: VG/LV.
func lvPath(lv *lvm2.LV) string { return lv.VG.DirName() + "/" + lv.FileName() }

// findLV finds the LV that a user calls VG/LV. VG may be VG@XXXXXX, with the first
// group of the UUID, and must be where VGs share a name; @UUID stands for either name.
// /dev/VG/LV is what many type.
func findLV(scan *lvm2.Scan, path string) (*lvm2.LV, error) {
	vgName, lvName, ok := strings.Cut(strings.TrimPrefix(path, "/dev/"), "/")
	if !ok || vgName == "" || lvName == "" {
		return nil, usagef("%s: not VG/LV", path)
	}
	vg, err := findVG(scan, vgName)
	if err != nil {
		return nil, err
	}
	for _, lv := range vg.LVs {
		if lv.FileName() == lvName || lv.Name == lvName {
			return lv, nil
		}
	}
	return nil, fmt.Errorf("no LV %q in VG %s", lvName, vg.DirName())
}

func findVG(scan *lvm2.Scan, name string) (*lvm2.VG, error) {
	var found []*lvm2.VG
	for _, vg := range scan.VGs {
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

// damagedVGs says of which VGs more may have been lost than is known.
func damagedVGs(scan *lvm2.Scan) []error {
	var errs []error
	for _, vg := range scan.VGs {
		if err := vg.Damage(); err != nil {
			errs = append(errs, fmt.Errorf("VG %s: %w", vg.DirName(), err))
		}
	}
	return errs
}
