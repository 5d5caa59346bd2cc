package cli

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"lvm2fs/lvm2"
)

// writeTree writes what lies on what: under each PV the LVs with extents on it, under each
// LV those that are built on it. What lies on several is shown under each, but what is
// built on it only once.
func (l *listing) writeTree(w *bufio.Writer) error {
	t := &tree{onPV: map[*lvm2.PV][]*lvm2.LV{}, onLV: map[*lvm2.LV][]*lvm2.LV{}, shown: map[*lvm2.LV]bool{}}
	for _, vg := range l.vgs {
		t.addVG(vg)
	}
	var rows table
	rows.header("Name", "Size", "Type", "Notes")
	for _, pv := range l.pvs {
		if l.duplicate[pv] {
			continue
		}
		total, _, _ := pvSize(pv)
		rows.row(printable(pvName(pv)), size(total), "PV", notes(pvNotes(pv)))
		if pv.VG != nil {
			rows.row(lastBranch+printable(pv.VG.DirName()), "", "VG", "")
			t.write(&rows, lastIndent, t.onPV[pv])
		}
	}
	for _, vg := range l.vgs {
		if lvs := t.onNothing(vg); len(lvs) > 0 {
			rows.row(printable(vg.DirName()), "", "VG", "on no device")
			t.write(&rows, "", lvs)
		}
		if lvs := t.notShown(vg); len(lvs) > 0 {
			rows.row(printable(vg.DirName()), "", "VG", "on themselves")
			t.write(&rows, "", lvs)
		}
	}
	return rows.write(w)
}

const (
	branch     = "├─"
	lastBranch = "└─"
	indent     = "│ "
	lastIndent = "  "
)

type tree struct {
	onPV  map[*lvm2.PV][]*lvm2.LV
	onLV  map[*lvm2.LV][]*lvm2.LV
	shown map[*lvm2.LV]bool // with what is built on them
}

// addVG sorts out which LVs lie directly on what.
func (t *tree) addVG(vg *lvm2.VG) {
	for _, lv := range vg.LVs {
		if lv.IsSnapshotRelation() {
			continue
		}
		pvs, lvs := lv.Beneath()
		for _, pv := range pvs {
			t.onPV[pv] = append(t.onPV[pv], lv)
		}
		for _, beneath := range lvs {
			t.onLV[beneath] = append(t.onLV[beneath], lv)
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

func (t *tree) write(rows *table, prefix string, lvs []*lvm2.LV) {
	for i, lv := range lvs {
		mark, below := branch, indent
		if i == len(lvs)-1 {
			mark, below = lastBranch, lastIndent
		}
		note := notes(treeNotes(lv))
		above := t.onLV[lv]
		again := t.shown[lv] && len(above) > 0
		if again {
			note = strings.TrimPrefix(note+"; see above for what lies on it", "; ")
		}
		rows.row(prefix+mark+printable(lvName(lv)), size(lv.Size()), strings.Join(segmentTypes(lv), ","), note)
		t.shown[lv] = true
		if !again {
			t.write(rows, prefix+below, above)
		}
	}
}

func treeNotes(lv *lvm2.LV) []string {
	var remarks []string
	if health := lv.Health(); health != "" {
		remarks = append(remarks, strings.ReplaceAll(health, ",", ", "))
	}
	if len(lv.Ancestors(false)) > 0 || lv.Merging() {
		remarks = append(remarks, kinNotes(lv)...)
	}
	if n := len(lv.Segments); n > 1 {
		remarks = append(remarks, fmt.Sprintf("%d segments", n))
	}
	return remarks
}
