package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
)

// writeTables writes the listing for people: VGs, PVs and LVs, and what is special about
// each.
func (l *listing) writeTables(w *bufio.Writer, look layout) error {
	var vgs, pvs, lvs table
	vgs.header("VG", "Size", "Free", "Extent", "PVs", "LVs", "Attr", "Notes")
	reasons := l.commonReasons()
	for _, vg := range l.vgs {
		vgs.row(printable(vg.DirName()), size(int64(vg.ExtentCount())*vg.ExtentSize), size(int64(vg.FreeExtentCount())*vg.ExtentSize),
			size(vg.ExtentSize), number(len(vg.PVs)), number(listedCount(vg)), report.VGAttr(vg), notes(vgNotes(vg, reasons[vg])))
	}
	pvs.header("PV", "VG", "Size", "Free", "Attr", "Notes")
	for _, pv := range l.pvs {
		if l.duplicate[pv] {
			pvs.row(printable(report.PVName(pv)), "", size(pv.Device.Size()), "", "d--", "duplicate, not used: UUID "+pv.UUID.String())
			continue
		}
		total, free, vg := pvSize(pv)
		pvs.row(printable(report.PVName(pv)), printable(vg), size(total), size(free), report.PVAttr(pv), notes(pvNotes(pv)))
	}
	lvs.header("LV", "VG", "Size", "Type", "Attr", "Devices", "Notes")
	for _, lv := range l.lvs {
		lvs.row(printable(report.LVName(lv.LV)), printable(lv.VG.DirName()), size(lv.Size()), strings.Join(segmentTypes(lv), ","), report.LVAttr(lv),
			devices(lv), notes(lvNotes(lv, reasons[lv.VG])))
	}
	for i, section := range []struct {
		title string
		table *table
	}{{"Volume groups", &vgs}, {"Physical volumes", &pvs}, {"Logical volumes", &lvs}} {
		if len(section.table.rows) < 2 {
			continue
		}
		if look.headings {
			if i > 0 && len(l.vgs) > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintln(w, section.title)
		}
		if err := section.table.write(w, look); err != nil {
			return err
		}
	}
	return nil
}

// table is rows of cells, the first row its header. Cells from size and number are
// aligned to the right.
type table struct{ rows [][]string }

const alignRight = "\x00" // in front of a cell; printable leaves none in text from a disk

func (t *table) header(cells ...string) { t.rows = append(t.rows, cells) }
func (t *table) row(cells ...string)    { t.rows = append(t.rows, cells) }

// layout is how tables look.
type layout struct {
	headings bool
	width    int  // of the terminal, in characters; 0 for no limit
	ascii    bool // trees are drawn without other characters
}

const (
	margin = "  "
	gap    = "  "
	// narrowest is the least number of characters that text is wrapped to.
	narrowest = 20
)

func (t *table) write(w io.Writer, look layout) error {
	t.dropEmptyNotes()
	if !look.headings {
		t.rows = t.rows[1:]
	}
	if len(t.rows) == 0 {
		return nil
	}
	t.alignColumns()
	widths := t.widths(look.width)
	for _, row := range t.rows {
		cells := make([][]string, len(row)) // each of lines
		height := 1
		for i, cell := range row {
			cells[i] = []string{cell}
			if utf8.RuneCountInString(cell) > widths[i] {
				cells[i] = wrapWords(cell, widths[i])
			}
			height = max(height, len(cells[i]))
		}
		for line := range height {
			var b strings.Builder
			b.WriteString(margin)
			for i, lines := range cells {
				text := ""
				if line < len(lines) {
					text = lines[line]
				}
				b.WriteString(text + strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text))) + gap)
			}
			if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
				return err
			}
		}
	}
	return nil
}

// widths are those of the columns, in characters. If a terminal has no room for all of them, the last column, that of
// notes, is made narrower, and then the one before.
func (t *table) widths(terminal int) []int {
	widths := make([]int, len(t.rows[0]))
	total := len(margin)
	for i := range widths {
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i] + len(gap)
	}
	total -= len(gap)
	if terminal == 0 {
		return widths
	}
	for i := len(widths) - 1; i > max(0, len(widths)-3) && total > terminal; i-- {
		less := min(total-terminal, max(0, widths[i]-narrowest))
		widths[i] -= less
		total -= less
	}
	return widths
}

// dropEmptyNotes leaves the last column without a title where it says nothing.
func (t *table) dropEmptyNotes() {
	last := len(t.rows[0]) - 1
	if !slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[last] != "" }) {
		t.rows[0][last] = ""
	}
}

// alignColumns fills the columns of numbers from the left.
func (t *table) alignColumns() {
	for column := range t.rows[0] {
		width := 0
		right := slices.ContainsFunc(t.rows, func(row []string) bool { return strings.HasPrefix(row[column], alignRight) })
		for _, row := range t.rows {
			row[column] = strings.TrimPrefix(row[column], alignRight)
			width = max(width, utf8.RuneCountInString(row[column]))
		}
		if right {
			for _, row := range t.rows {
				row[column] = strings.Repeat(" ", width-utf8.RuneCountInString(row[column])) + row[column]
			}
		}
	}
}

func number[N int | int64 | uint64](n N) string { return alignRight + fmt.Sprint(n) }

func size(bytes int64) string { return alignRight + humanSize(bytes) }

// humanSize is a number of bytes in the largest unit that gives at least 1, exact or with two
// decimals.
func humanSize(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	unit, divisor := 0, int64(1)
	for unit < len(units)-1 && bytes/divisor >= 1024 {
		unit++
		divisor *= 1024
	}
	if bytes%divisor == 0 {
		return fmt.Sprintf("%d %s", bytes/divisor, units[unit])
	}
	return fmt.Sprintf("%.2f %s", float64(bytes)/float64(divisor), units[unit])
}

// notes are remarks in one cell, made printable.
func notes(remarks []string) string {
	for i, remark := range remarks {
		remarks[i] = printable(remark)
	}
	return strings.Join(remarks, "; ")
}

func tagNote(tags []string) []string {
	if len(tags) == 0 {
		return nil
	}
	return []string{"tags " + report.Tags(tags)}
}

func vgNotes(vg *lvm2.VG, readOnly string) []string {
	var remarks []string
	if n := report.MissingPVs(vg); n > 0 {
		remarks = append(remarks, fmt.Sprintf("partial: %d of %d PVs missing", n, len(vg.PVs)))
	}
	if vg.Damage() != nil {
		remarks = append(remarks, "damaged metadata")
	}
	if vg.Exported() {
		remarks = append(remarks, "exported")
	}
	if vg.SystemID != "" {
		remarks = append(remarks, "belongs to the host with system ID "+vg.SystemID)
	}
	if vg.Shared() {
		remarks = append(remarks, strings.TrimSpace("shared with other hosts "+vg.LockType))
	}
	switch {
	case readOnly == "":
	case len(remarks) > 0:
		remarks = append(remarks, "so read-only")
	default:
		remarks = append(remarks, "read-only: "+readOnly)
	}
	return append(remarks, tagNote(vg.Tags)...)
}

func pvSize(pv *lvm2.PV) (total, free int64, vg string) {
	if pv.VG == nil {
		return pv.Device.Size(), pv.Device.Size(), ""
	}
	return int64(pv.ExtentCount) * pv.VG.ExtentSize, int64(pv.ExtentCount-pv.AllocatedExtentCount()) * pv.VG.ExtentSize, pv.VG.DirName()
}

func pvNotes(pv *lvm2.PV) []string {
	var remarks []string
	switch lost := pv.MetadataLost(); {
	case pv.VG == nil && lost != nil:
		remarks = append(remarks, "of an unknown VG: "+oneLine(lost))
	case pv.VG == nil && pv.InUse:
		remarks = append(remarks, "used by a VG whose metadata is on none of the devices")
	case pv.VG == nil:
		remarks = append(remarks, "orphan: in no VG")
	case pv.Device == nil:
		remarks = append(remarks, "missing: UUID "+pv.UUID.String())
		if pv.DeviceHint != "" {
			remarks = append(remarks, "last seen as "+pv.DeviceHint)
		}
	case pv.FlaggedMissing():
		remarks = append(remarks, "was missing when the VG was changed, so it is not used")
	}
	if n := pv.Shortfall(); n > 0 {
		remarks = append(remarks, fmt.Sprintf("the device is %s smaller than the PV", humanSize(n)))
	}
	return append(remarks, tagNote(pv.Tags)...)
}

// segmentTypes are the types of an LV's segments, each once.
func segmentTypes(lv *lvm2.LV) []string {
	var types []string
	for _, seg := range lv.Segments {
		if name := printable(seg.TypeName()); !slices.Contains(types, name) {
			types = append(types, name)
		}
	}
	return types
}

// devices are where the segments of an LV lie, as far as a line takes it.
func devices(lv *lvm2.LV) string {
	const most = 6
	var parts []string
	more := 0
	for _, seg := range report.Segments(lv) {
		if len(parts) >= most {
			more++
		} else if at := seg.Places(); at != "" {
			parts = append(parts, printable(at))
		}
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, " ")
}

// lvNotes are what is wrong or special about an LV. Why it is read-only is left out if the
// attributes tell, or if the reason holds for the whole VG.
func lvNotes(lv *lvm2.LV, common string) []string {
	var remarks []string
	if health := lv.Health(); health != "" {
		remarks = append(remarks, strings.ReplaceAll(health, ",", ", "))
	}
	if n, of, by := lv.Overwritten(); n > 0 {
		remarks = append(remarks, fmt.Sprintf("%s of %s may have been overwritten by %s", humanSize(n), humanSize(of), some(by)))
	}
	if err := lv.ExceptionsAlone(); err != nil {
		remarks = append(remarks, oneLine(err))
	}
	remarks = append(remarks, relationNotes(lv)...)
	remarks = append(remarks, usageNotes(lv.Usage())...)
	if reason := readOnlyReason(lv); reason != nil && reason.Reason != common {
		remarks = append(remarks, "read-only: "+reason.Reason)
	}
	return append(remarks, tagNote(lv.Tags)...)
}

// usageNotes say how full an LV is.
func usageNotes(u lvm2.Usage) []string {
	switch {
	case u.Data == nil:
		return nil
	case u.Metadata == nil:
		return []string{report.Percent(*u.Data) + "% used"}
	}
	notes := []string{report.Percent(*u.Data) + "% of data and " + report.Percent(*u.Metadata) + "% of metadata used"}
	if u.Cache != nil && u.Cache.Dirty > 0 {
		notes = append(notes, fmt.Sprintf("%d blocks are dirty", u.Cache.Dirty))
	}
	return notes
}

// relationNotes say what an LV is to the LVs that it was made from.
func relationNotes(lv *lvm2.LV) []string {
	var remarks []string
	parent := lv.SnapshotParent()
	switch {
	case parent != nil && lv.Merging():
		remarks = append(remarks, "to be merged into "+report.LVName(parent))
	case parent != nil:
		remarks = append(remarks, "snapshot of "+report.LVName(parent))
	case lv.Merging():
		remarks = append(remarks, "a snapshot is to be merged into it")
	}
	if pool := lv.Pool(); pool != nil {
		remarks = append(remarks, "in "+report.LVName(pool))
	}
	return remarks
}

// readOnlyReason is why a file of the mounted tree is read-only; nil if it is not, if the LV
// has no file, or if the metadata says no more than that it is.
func readOnlyReason(lv *lvm2.LV) *lvm2.ReadOnlyError {
	var reason *lvm2.ReadOnlyError
	if lv.Visible() && lv.Writable() {
		errors.As(lv.ReadOnlyReason(), &reason)
	}
	return reason
}

// commonReasons gives for each VG the reason for which all of its LVs are read-only, if
// there is one, and it is not about each of them.
func (l *listing) commonReasons() map[*lvm2.VG]string {
	common := map[*lvm2.VG]string{}
	for _, vg := range l.vgs {
		for _, lv := range vg.LVs {
			if !lv.Visible() || !lv.Writable() {
				continue
			}
			reason := readOnlyReason(lv)
			if reason == nil || reason.Own || common[vg] != "" && common[vg] != reason.Reason {
				delete(common, vg)
				break
			}
			common[vg] = reason.Reason
		}
	}
	return common
}

func listedCount(vg *lvm2.VG) int {
	n := 0
	for _, lv := range vg.LVs {
		if lv.Listed() {
			n++
		}
	}
	return n
}
