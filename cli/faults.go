package cli

import (
	"errors"
	"fmt"
	"strings"

	"lvm2fs/lvm2"
)

// warnFaults names the LVs that lvs would show and that cannot be read, with the reason. fault gives that; nil if the LV
// can be read. LVs with one reason, such as those in a damaged pool, are named together. It fails with errIncomplete if
// there are any. An LV is not named if this release or the kernel does not read its kind, or if it is on a missing PV,
// of which there is a warning of its own.
func (a *app) warnFaults(vgs []*lvm2.VG, fault func(*lvm2.LV) error) error {
	var reasons []string
	names, n := map[string][]string{}, 0
	for _, vg := range vgs {
		for _, lv := range vg.LVs {
			err := fault(lv)
			if !lv.Listed() || err == nil || isAny(err, lvm2.ErrUnsupported, lvm2.ErrNoContents, lvm2.ErrInvalidSnapshot, lvm2.ErrNotActivated) ||
				lv.Partial() && errors.Is(err, lvm2.ErrMissing) {
				continue
			}
			n++
			reason := oneLine(errors.Unwrap(err)) // without the name of the LV
			if names[reason] == nil {
				reasons = append(reasons, reason)
			}
			names[reason] = append(names[reason], lvPath(lv))
		}
	}
	for _, reason := range reasons {
		a.warnf("%s cannot be read: %s", some(names[reason]), reason)
	}
	if n > 0 {
		return fmt.Errorf("%w: %d LVs cannot be read", errIncomplete, n)
	}
	return nil
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// some are the first names, and how many more there are.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// openFault is why an LV cannot be opened.
func openFault(lv *lvm2.LV) error {
	v, err := lv.Open()
	if err != nil {
		return err
	}
	return v.Close()
}
