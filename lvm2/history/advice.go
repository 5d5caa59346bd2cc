package history

import (
	"fmt"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Advice may help to read a device on which no VG was found, or not the VG that the device is of.
type Advice struct {
	Text *Text // the newest that is whole on the device; nil if there is none
	// PV is the one that the device seems to be, by that text; "" if its label says so, or nothing tells.
	PV metadata.UUID
	// Flags are those of lvm2fs that have the device read by the text; nil if nothing tells which PV it is.
	Flags []string
}

// Advice is what the texts on a device tell of it.
func (f *Found) Advice(d mapping.Device) Advice {
	var a Advice
	committed := false
	for _, g := range f.VGs {
		for _, t := range g.Texts {
			for _, c := range t.Copies {
				if t.VG == nil || c.Device != d || c.Area < 0 || a.Text != nil && !t.moreUse(a.Text) {
					continue
				}
				a.Text, committed = t, c.Slot == "committed"
			}
		}
	}
	if a.Text == nil {
		return a
	}
	if a.Text.VG.PV(f.Labels[d]) == nil {
		for _, pv := range a.Text.VG.PVs {
			if !f.Labelled(pv.UUID) && f.MayBe(a.Text, pv) == d {
				a.PV = pv.UUID
			}
		}
		if a.PV == "" {
			return a
		}
		a.Flags = append(a.Flags, "--pv", d.Name()+"="+a.PV.String())
	}
	if f.Labels[d] != "" && a.PV == "" || !committed {
		a.Flags = append(a.Flags, "--at", fmt.Sprintf("%s=%d", a.Text.Name, a.Text.Seqno))
	}
	if f.unreadLast(a.Text) != nil {
		a.Flags = append(a.Flags, "--reused", "read")
	}
	return a
}

// moreUse says whether a text tells more than o of what was on a device. A text without LVs is what is left when
// they are removed.
func (t *Text) moreUse(o *Text) bool {
	if empty := len(t.VG.LVs) == 0; empty != (len(o.VG.LVs) == 0) {
		return !empty
	}
	return t.newer(o)
}
