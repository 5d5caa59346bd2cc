package cli

import (
	"slices"
	"strings"

	"lvm2fs/lvm2/report"
)

// defaultColumns are those that +COLUMN adds to.
var defaultColumns = []string{"lv_name", "vg_name", "lv_attr", "lv_size"}

// parseColumns reads the values of -o, lists of columns with commas, and refuses a column that no report has.
func parseColumns(values []string) ([]string, error) {
	var chosen []string
	for _, value := range values {
		value, more := strings.CutPrefix(value, "+")
		if more && chosen == nil {
			chosen = slices.Clone(defaultColumns)
		}
		for _, name := range strings.Split(value, ",") {
			if !slices.ContainsFunc(report.All, func(r report.Report) bool { return r.Has(name) }) {
				return nil, usagef("-o %s: no such column; there are: %s", name, strings.Join(knownColumns(), ", "))
			}
			chosen = append(chosen, name)
		}
	}
	return chosen, nil
}

func knownColumns() []string {
	var names []string
	for _, r := range report.All {
		for _, c := range r.Columns {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rowsOf says what a table of columns has a row for, and which reports its fields come from. As with lvs, that is an LV if
// there are columns of LVs, and a segment if one is of segments alone; fields of the VG go with everything.
func rowsOf(chosen []string) (string, []report.Report, error) {
	for _, kind := range []struct {
		of   string
		from []string
	}{{"vg", []string{"vg"}}, {"pv", []string{"pv", "vg"}}, {"lv", []string{"lv", "vg"}}, {"seg", []string{"seg", "lv", "vg"}}} {
		var from []report.Report
		for _, name := range kind.from {
			from = append(from, report.Of(name))
		}
		if !slices.ContainsFunc(chosen, func(name string) bool {
			return !slices.ContainsFunc(from, func(r report.Report) bool { return r.Has(name) })
		}) {
			return kind.of, from, nil
		}
	}
	return "", nil, usagef("-o %s: columns of PVs and of LVs do not fit into one table", strings.Join(chosen, ","))
}
