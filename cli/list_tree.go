package cli

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lvm2fs/layers/md"
	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
	"lvm2fs/mapping"
	"lvm2fs/scan"
)

// writeTree writes what lies on what, from the files and disks up to the PVs. Under each PV it shows the LVs with
// extents on it, and under each LV those that are built on it. What lies on several is shown under each, but
// what is built on that only once.
func (l *listing) writeTree(w *bufio.Writer, look layout) error {
	t := newTree(l)
	t.ascii = look.ascii
	var rows table
	rows.header("Name", "Size", "Type", "Notes")
	for _, pv := range l.pvs {
		if pv.Device == nil {
			t.write(&rows, "", "", []item{t.pv(pv)})
		}
	}
	for _, root := range l.roots() {
		t.write(&rows, "", "", []item{t.node(root)})
	}
	for _, vg := range l.vgs {
		if lvs := t.onNothing(vg); len(lvs) > 0 {
			rows.row(printable(vg.DirName()), "", "VG", "on no device")
			t.write(&rows, "", branches, t.lvs(lvs, 0))
		}
		if lvs := t.notShown(vg); len(lvs) > 0 {
			note := "on themselves"
			if t.cut {
				note = fmt.Sprintf("on themselves, or above %d others", maxTreeDepth)
			}
			rows.row(printable(vg.DirName()), "", "VG", note)
			t.write(&rows, "", branches, t.lvs(lvs, 0))
		}
	}
	return rows.write(w, look)
}

// roots are the devices that the user named, and those of the system that lead to a PV, by name.
func (l *listing) roots() []*probe.Node {
	roots := slices.Clone(l.found.Roots)
	for _, n := range l.found.Disks {
		if n.LeadsToPV() {
			roots = append(roots, n)
		}
	}
	slices.SortStableFunc(roots, func(a, b *probe.Node) int { return cmp.Compare(a.Name, b.Name) })
	return roots
}

const (
	branch     = "├─"
	lastBranch = "└─"
	indent     = "│ "
	lastIndent = "  "

	branches = branch // of a row whose siblings are drawn as branches of one tree
)

var asciiBranches = strings.NewReplacer(branch, "|-", lastBranch, "`-", indent, "| ")

// item is a row of the tree with what lies on it.
type item struct {
	name, size, typ, note string
	above                 []item
}

type tree struct {
	onPV    map[*lvm2.PV][]*lvm2.LV
	onLV    map[*lvm2.LV][]*lvm2.LV
	pvOf    map[mapping.Device]*lvm2.PV
	found   *scan.Result
	unused  map[mapping.Device]bool // with a PV that is used from another device
	shown   map[any]bool            // with what is built on them
	shownPV map[*lvm2.PV]bool
	cut     bool // LVs above others are not drawn there
	ascii   bool // without box-drawing characters
}

func newTree(l *listing) *tree {
	t := &tree{
		onPV: map[*lvm2.PV][]*lvm2.LV{}, onLV: map[*lvm2.LV][]*lvm2.LV{}, pvOf: map[mapping.Device]*lvm2.PV{},
		found: l.found, unused: map[mapping.Device]bool{}, shown: map[any]bool{}, shownPV: map[*lvm2.PV]bool{},
	}
	for _, vg := range l.vgs {
		t.addVG(vg)
	}
	for _, pv := range l.pvs {
		switch {
		case l.duplicate[pv]:
			t.unused[pv.Device] = true
		case pv.Device != nil:
			t.pvOf[pv.Device] = pv
		}
	}
	return t
}

// addVG sorts out which LVs lie directly on what.
func (t *tree) addVG(vg *lvm2.VG) {
	for _, lv := range vg.LVs {
		if lv.IsSnapshotRelation() {
			continue
		}
		pvs, lvs := lv.Beneath()
		for _, pv := range pvs {
			t.onPV[vg.PVOf(pv)] = append(t.onPV[vg.PVOf(pv)], lv)
		}
		for _, beneath := range lvs {
			t.onLV[vg.Of(beneath)] = append(t.onLV[vg.Of(beneath)], lv)
		}
	}
}

// onNothing are the LVs that have nothing beneath: of type zero, error, or one unknown here.
func (t *tree) onNothing(vg *lvm2.VG) []*lvm2.LV {
	return slices.DeleteFunc(t.notShown(vg), func(lv *lvm2.LV) bool {
		pvs, lvs := lv.Beneath()
		return len(pvs)+len(lvs) > 0
	})
}

// notShown are the LVs that the tree has not come to.
func (t *tree) notShown(vg *lvm2.VG) []*lvm2.LV {
	var lvs []*lvm2.LV
	for _, lv := range vg.LVs {
		if !t.shown[lv] && !lv.IsSnapshotRelation() {
			lvs = append(lvs, lv)
		}
	}
	return lvs
}

// node is a device that was named or found on another.
func (t *tree) node(n *probe.Node) item {
	if pv := t.pvOf[n.Device]; pv != nil && n.Device != nil {
		i := t.pv(pv)
		if _, array := n.Device.(*md.Array); array {
			i.note = strings.TrimSuffix(n.Type+"; "+i.note, "; ")
		}
		return i
	}
	i := item{name: printable(n.Name), typ: n.Type, note: printable(n.Content)}
	if n.Device != nil {
		i.size = size(n.Device.Size())
	}
	switch {
	case n.Device != nil && t.unused[n.Device]:
		i.note = "duplicate PV, not used"
	case n.Err != nil:
		i.note = also(i.note, printable(oneLine(hinted(n.Err))))
	}
	if !t.shown[n] { // drawing it all again could take for ever
		t.shown[n] = true
		for _, c := range n.Children {
			i.above = append(i.above, t.node(c))
		}
	} else if len(n.Children) > 0 {
		i.note = also(i.note, seeAbove)
	}
	return i
}

// also adds a remark to others.
func also(note, remark string) string {
	if note == "" {
		return remark
	}
	return note + "; " + remark
}

const seeAbove = "see above for what lies on it"

func (t *tree) pv(pv *lvm2.PV) item {
	total, _, _ := pvSize(pv)
	i := item{name: printable(report.PVName(pv)), size: size(total), typ: "PV", note: notes(pvNotes(pv))}
	switch {
	case t.shownPV[pv]:
		i.note = also(i.note, seeAbove)
	case pv.VG != nil:
		t.shownPV[pv] = true
		i.above = []item{{name: printable(pv.VG.DirName()), typ: "VG", above: t.lvs(t.onPV[pv], 0)}}
	default:
		t.shownPV[pv] = true
	}
	return i
}

// maxTreeDepth bounds how many LVs are drawn on one another. Nobody reads a deeper tree.
const maxTreeDepth = 80

func (t *tree) lvs(lvs []*lvm2.LV, depth int) []item {
	var items []item
	for _, lv := range lvs {
		i := item{name: printable(report.LVName(lv.LV)), size: size(lv.Size()), typ: strings.Join(segmentTypes(lv), ","), note: notes(treeNotes(lv))}
		above, inner := t.onLV[lv], t.found.OnLV(lv)
		if t.shown[lv] {
			if len(above) > 0 || inner != nil && (inner.PV || len(inner.Children) > 0) {
				i.note = also(i.note, seeAbove)
			}
			items = append(items, i)
			continue
		}
		t.shown[lv] = true
		if depth == maxTreeDepth {
			t.cut = t.cut || len(above) > 0
			items = append(items, i)
			continue
		}
		i.above = t.lvs(above, depth+1)
		switch {
		case inner == nil:
		case inner.PV:
			i.above = append(i.above, t.node(inner))
		default:
			for _, c := range inner.Children {
				i.above = append(i.above, t.node(c))
			}
		}
		items = append(items, i)
	}
	return items
}

// write draws items: at the left margin, or as branches.
func (t *tree) write(rows *table, prefix, mark string, items []item) {
	for n, i := range items {
		below := ""
		switch {
		case mark == "":
		case n == len(items)-1:
			mark, below = lastBranch, lastIndent
		default:
			below = indent
		}
		name := prefix + mark
		if t.ascii {
			name = asciiBranches.Replace(name)
		}
		rows.row(name+i.name, i.size, i.typ, i.note)
		t.write(rows, prefix+below, branches, i.above)
	}
}

func treeNotes(lv *lvm2.LV) []string {
	var remarks []string
	if health := lv.Health(); health != "" {
		remarks = append(remarks, strings.ReplaceAll(health, ",", ", "))
	}
	if lv.SnapshotParent() != nil || lv.Merging() {
		remarks = append(remarks, relationNotes(lv)...)
	}
	if n := len(lv.Segments); n > 1 {
		remarks = append(remarks, fmt.Sprintf("%d segments", n))
	}
	return remarks
}
