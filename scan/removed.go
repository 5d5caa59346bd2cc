package scan

import (
	"cmp"
	"slices"

	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
	"lvm2fs/lvm2/metadata"
)

// removed are the LVs that were removed or made smaller, each as the last text with it describes it.
func (s *Session) removed(probed *probe.Result, scan *lvm2.Scan, past *history.Found) (removed []lvm2.Removed) {
	renamed := s.renamed(probed, past)
	var views []lvm2.View
	var gone []history.Gone
	viewOf := map[*history.Text]int{}
	for _, vg := range past.VGs {
		of := vg.Gone()
		slices.SortStableFunc(of, func(a, b history.Gone) int { return cmp.Compare(b.Text.Seqno, a.Text.Seqno) })
		for _, g := range of {
			gone = append(gone, g)
			if _, ok := viewOf[g.Text]; !ok {
				viewOf[g.Text] = len(views)
				views = append(views, lvm2.View(*past.View(g.Text, renamed)))
			}
		}
	}
	vgs := scan.Beside(views)
	thin := removedThins(scan, past, gone)
	for _, g := range gone {
		lv := thin[g.LV]
		if lv == nil {
			lv = vgs[viewOf[g.Text]].Of(g.LV)
		}
		removed = append(removed, lvm2.Removed{LV: lv, Seqno: g.Text.Seqno})
	}
	return removed
}

// removedThins are the thin LVs, among those that are gone, whose pool is still there and may tell of them. An LV whose
// device ID was given to another is not among them.
func removedThins(scan *lvm2.Scan, past *history.Found, gone []history.Gone) map[*metadata.LV]*lvm2.LV {
	inPool := map[*lvm2.LV][]*metadata.LV{}
	for _, g := range gone {
		m, ok := g.LV.Mapping().(*metadata.Thin)
		if !ok || g.Now != nil {
			continue
		}
		if pool := lvm2.LVOf(scan.VGs, g.Text.UUID, m.Pool.UUID); pool != nil && pool.VG.Past() == nil && past.DeviceGiven(m.Pool, m.DeviceID, g.LV.UUID) == "" {
			inPool[pool] = append(inPool[pool], g.LV)
		}
	}
	found := map[*metadata.LV]*lvm2.LV{}
	for pool, old := range inPool {
		lvs, err := scan.RemovedThins(pool, old)
		if err != nil {
			continue // as it is with any LV of the pool
		}
		for i, lv := range lvs {
			found[old[i]] = lv
		}
	}
	return found
}
