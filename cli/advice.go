package cli

import (
	"context"
	"errors"
	"fmt"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
	"lvm2fs/mapping"
	"lvm2fs/scan"
)

// advise says what may help with devices whose VG is not known: which metadata texts are on them, and which flags have
// them read.
func (s *session) advise(a *app, r *scan.Result) {
	var devices []mapping.Device
	for _, pv := range r.Orphans {
		if unknownVG(pv) {
			devices = append(devices, pv.Device)
		}
	}
	for _, p := range r.Problems {
		if p.Refused && p.Reason == scan.NoPV && p.Device != nil {
			devices = append(devices, p.Device)
		}
	}
	if len(devices) == 0 || s.opts.anything {
		return
	}
	found, err := s.History(context.Background())
	if err != nil {
		return // of which Open has told
	}
	for _, d := range devices {
		if advice := adviceLine(found, d); advice != "" {
			a.warnf("%s: %s", d.Name(), advice)
		}
	}
}

// unknownVG says whether an orphan is one only because its VG is not known.
func unknownVG(pv *lvm2.PV) bool { return pv.VG == nil && (pv.MetadataLost() != nil || pv.InUse) }

// adviceLine is what may help to read a device; "" if nothing is known.
func adviceLine(found *history.Found, d mapping.Device) string {
	advice := found.Advice(d)
	labelled := found.Labels[d] != ""
	switch {
	case advice.Text == nil && labelled:
		return "no metadata text is left where lvm2 keeps it: a file of vgcfgbackup, as in /etc/lvm/backup, helps (--vgcfg FILE), or a search of the device (history --carve)"
	case advice.Text == nil:
		return ""
	case len(advice.Flags) > 0:
		return fmt.Sprintf("the metadata of VG %s are still on it: %s reads it by them; lvm2fs history shows all that are left", advice.Text, commandLine(advice.Flags))
	case !labelled:
		return fmt.Sprintf("the metadata of VG %s are still on it, but not which of its PVs it is: --pv DEVICE=UUID says so", advice.Text)
	}
	return ""
}

// unknownPVs fails with errIncomplete where PVs belong to VGs that are not known: not all that is on the devices has
// been seen.
func unknownPVs(r *scan.Result) error {
	n := 0
	for _, pv := range r.Orphans {
		if unknownVG(pv) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%w: PVs of which the volume group is not known: %d", errIncomplete, n)
}

// firstOf is the first error that is not nil, but one other than errIncomplete counts before errIncomplete.
func firstOf(errs ...error) (first error) {
	for _, err := range errs {
		if err != nil && (first == nil || errors.Is(first, errIncomplete) && !errors.Is(err, errIncomplete)) {
			first = err
		}
	}
	return first
}
