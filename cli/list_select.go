package cli

import (
	"bufio"
	"slices"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
)

// only leaves in the listing what belongs to the VGs and LVs that are named. With an LV go its VG and the PVs of that.
func (l *listing) only(vgNames, lvPaths []string) error {
	if len(vgNames)+len(lvPaths) == 0 {
		return nil
	}
	whole, part := map[*lvm2.VG]bool{}, map[*lvm2.VG]bool{}
	named := map[*lvm2.LV]bool{}
	for _, name := range vgNames {
		vg, err := l.found.VG(name)
		if err != nil {
			return err
		}
		whole[vg], part[vg] = true, true
	}
	for _, path := range lvPaths {
		lv, err := findLV(l.found, path)
		if err != nil {
			return err
		}
		if !slices.Contains(l.lvs, lv) {
			l.lvs = append(l.lvs, lv) // internal, but asked for
		}
		named[lv], part[lv.VG] = true, true
	}
	l.vgs = slices.DeleteFunc(slices.Clone(l.vgs), func(vg *lvm2.VG) bool { return !part[vg] })
	l.pvs = slices.DeleteFunc(l.pvs, func(pv *lvm2.PV) bool { return !part[pv.VG] })
	l.lvs = slices.DeleteFunc(l.lvs, func(lv *lvm2.LV) bool { return !whole[lv.VG] && !named[lv] })
	return nil
}

// writeColumns writes one table of the columns that are chosen.
func (l *listing) writeColumns(w *bufio.Writer, chosen []string, headings bool) error {
	rows, sizes, err := l.columnRows(chosen)
	if err != nil {
		return err
	}
	var t table
	t.header(chosen...)
	for _, r := range rows {
		cells := make([]string, len(chosen))
		for i, name := range chosen {
			cells[i] = printable(r[name].Value())
			if sizes[name] {
				cells[i] = alignRight + cells[i]
			}
		}
		t.row(cells...)
	}
	return t.write(w, layout{headings: headings})
}

// columnRows are the rows of a table with the columns that are chosen, and which of these are sizes.
func (l *listing) columnRows(chosen []string) (rows []map[string]report.Field, sizes map[string]bool, err error) {
	of, from, err := rowsOf(chosen)
	if err != nil {
		return nil, nil, err
	}
	sizes = map[string]bool{}
	for _, r := range from {
		for _, c := range r.Columns {
			sizes[c.Name] = sizes[c.Name] || c.Size
		}
	}
	add := func(parts ...report.Row) { // the first that has a field counts
		fields := map[string]report.Field{}
		for _, part := range slices.Backward(parts) {
			for _, f := range part {
				fields[f.Name] = f
			}
		}
		rows = append(rows, fields)
	}
	switch of {
	case "vg":
		for _, vg := range l.vgs {
			add(report.VGRow(vg))
		}
	case "pv":
		for _, pv := range l.pvs {
			if pv.VG == nil {
				add(l.pvRow(pv))
			} else {
				add(l.pvRow(pv), report.VGRow(pv.VG))
			}
		}
	case "lv":
		for _, lv := range l.lvs {
			add(l.rows.LVRow(lv), report.VGRow(lv.VG))
		}
	case "seg":
		for _, lv := range l.lvs {
			lvFields, vgFields := l.rows.LVRow(lv), report.VGRow(lv.VG)
			for _, seg := range report.Segments(lv) {
				add(seg.Row(), lvFields, vgFields)
			}
		}
	}
	return rows, sizes, nil
}
