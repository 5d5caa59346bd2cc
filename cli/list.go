package cli

import (
	"bufio"
	"cmp"
	"os"
	"slices"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
	"lvm2fs/scan"
)

type listCmd struct {
	deviceOptions
	JSON    bool     `name:"json" xor:"format" help:"Print lvm's report format; sizes are numbers of bytes."`
	All     bool     `short:"a" help:"Show internal LVs too, as lvs -a does."`
	Tree    bool     `xor:"format,columns" help:"Show what lies on what, from the devices up."`
	VG      []string `name:"vg" sep:"none" placeholder:"VG" help:"Show only this VG; may be repeated."`
	LV      []string `name:"lv" sep:"none" placeholder:"VG/LV" help:"Show only this LV; may be repeated."`
	Columns []string `short:"o" name:"options" sep:"none" xor:"columns" placeholder:"COLUMN,..." help:"Show these fields, by lvm's names; +COLUMN adds to the usual ones."`
	Bare    bool     `name:"noheadings" help:"Leave out titles and headings."`
	Devices []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs list --help, between the synopsis and the flags.
func (listCmd) Help() string {
	return `Examples:
  lvm2fs list disk.img
  lvm2fs list --json disk1.img disk2.img | jq '.report[0].lv'
  lvm2fs list --noheadings -o lv_full_name,lv_size disk.img

--json prints the fields of vgs, pvs, lvs and lvs --segments by lvm's names. Sizes are numbers of bytes, all else is
as lvm prints it; a field that is empty is left out, and so is one that depends on activation. -o chooses among the
same fields: there is a row for each LV, or for each segment if a column is of segments alone, and for each VG or PV if
all columns are of those.`
}

func (c *listCmd) Run(a *app) error {
	c.orphans = true
	chosen, err := parseColumns(c.Columns)
	if err != nil {
		return err
	}
	if err := c.chooseTexts(c.LV); err != nil {
		return err
	}
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	l := newListing(s.Result(), c.All)
	if err := l.only(c.VG, c.LV); err != nil {
		return err
	}
	look := layout{headings: !c.Bare, width: a.terminalWidth(), ascii: !hasUTF8(os.Getenv)}
	out := bufio.NewWriter(a.stdout)
	switch {
	case c.JSON:
		err = l.writeJSON(out, chosen)
	case c.Tree:
		err = l.writeTree(out, look)
	case chosen != nil:
		err = l.writeColumns(out, chosen, !c.Bare)
	default:
		err = l.writeTables(out, look)
	}
	if err != nil {
		return err
	}
	if l.rows.Cut {
		a.warnf("lv_ancestors, lv_descendants and their like are left out of some LVs: there are more than %d names in them", report.MostRelatives)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return firstOf(a.warnFaults(l.vgs, (*lvm2.LV).Fault), unknownPVs(s.Result()))
}

// listing is what list shows, in the order of vgs, pvs and lvs: by name.
type listing struct {
	vgs       []*lvm2.VG
	pvs       []*lvm2.PV // orphans, missing ones and duplicates too
	lvs       []*lvm2.LV
	duplicate map[*lvm2.PV]bool // the PV is used from another device
	found     *scan.Result

	rows report.Rows
}

func newListing(found *scan.Result, all bool) *listing {
	l := &listing{vgs: found.VGs, pvs: slices.Clone(found.Orphans), duplicate: map[*lvm2.PV]bool{}, found: found}
	for _, vg := range found.VGs {
		l.pvs = append(l.pvs, vg.PVs...)
		var lvs []*lvm2.LV
		for _, lv := range vg.LVs {
			if lv.Listed() || all && !lv.IsSnapshotRelation() {
				lvs = append(lvs, lv)
			}
		}
		if all {
			lvs = append(lvs, lvm2.UnnamedThinDevices(lvs)...)
		}
		slices.SortFunc(lvs, func(a, b *lvm2.LV) int { return cmp.Compare(a.Name, b.Name) })
		l.lvs = append(l.lvs, lvs...)
	}
	for _, p := range found.Problems {
		if p.Reason != scan.Duplicate {
			continue
		}
		if pv := pvAsShownBy(p.Device); pv != nil {
			l.pvs = append(l.pvs, pv)
			l.duplicate[pv] = true
		}
	}
	slices.SortStableFunc(l.pvs, func(a, b *lvm2.PV) int { return cmp.Compare(report.PVName(a), report.PVName(b)) })
	return l
}

// pvAsShownBy is the PV as one of the devices shows it that have it; nil if it can no longer be read.
func pvAsShownBy(d lvm2.Device) *lvm2.PV {
	alone := lvm2.Open([]lvm2.Device{d}, lvm2.Options{})
	pvs := alone.Orphans
	for _, vg := range alone.VGs {
		pvs = append(pvs, vg.PVs...)
	}
	for _, pv := range pvs {
		if pv.Device != nil {
			return pv
		}
	}
	return nil
}

func (l *listing) pvRow(pv *lvm2.PV) report.Row {
	if l.duplicate[pv] {
		return report.DuplicateRow(pv)
	}
	return report.PVRow(pv)
}
