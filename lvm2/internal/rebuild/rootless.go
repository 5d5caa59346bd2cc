package rebuild

import (
	"math"
	"slices"
)

// rootless finds the trees of devices whose roots are not known because a leaf of the level 1 is damaged. The number
// of mappings in their details tells them apart.
func (r *rebuilder) rootless() {
	if len(r.lost) == 0 {
		return
	}
	missing := r.missing()
	var roots []*orphan
	for _, o := range r.left {
		if !o.vague {
			roots = append(roots, o)
		}
	}
	// An orphan that may have been beneath another damaged node is not known to be a root.
	alone := r.trusted && !r.hidden && r.allIDs && !r.hasInnerHoles()
	grade, why := Certain, "by the number of its mappings it can be no other"
	switch {
	case !alone:
		grade, why = Likely, "it has as many mappings as the details say"
		r.assumed, r.assumption = true, "the trees of other devices were told apart by the numbers of their mappings"
	case r.assumed:
		grade, why = Likely, r.assumption
	}
	groups := map[uint64][]*Device{}
	var rest []*Device
	for _, d := range missing {
		r.devices[d.ID] = d
		switch {
		case d.Counted && d.Mapped == 0:
			d.Runs = []Run{{From: 0, To: math.MaxUint64, Grade: Certain, Why: "it has no mappings by its details"}}
		case d.Counted:
			groups[d.Mapped] = append(groups[d.Mapped], d)
		default:
			rest = append(rest, d)
		}
	}
	for mapped, devices := range groups {
		var same []*orphan
		excess, exact := 0, true
		for _, o := range roots {
			if o.is(isWhole) && o.entries == mapped {
				same = append(same, o)
				excess += o.excess
				exact = exact && o.exact
			}
		}
		if !exact || excess != len(devices) {
			rest = append(rest, devices...)
			continue
		}
		for _, d := range devices {
			d.Runs = agree(r.trees(same), 0, math.MaxUint64, grade, why, &r.budget)
		}
		for _, o := range same {
			o.used, o.fits, o.grade = true, nil, grade
		}
	}
	r.remaining(rest, slices.DeleteFunc(roots, func(o *orphan) bool { return o.used }))
	r.loose = r.loose || !r.allIDs || len(rest) > 0
}

func (r *rebuilder) hasInnerHoles() bool {
	for _, h := range r.holes {
		if h.height != 0 {
			return true
		}
	}
	return false
}

func (r *rebuilder) trees(nodes []*orphan) (sources []source) {
	for _, o := range nodes {
		sources = append(sources, r.tree(o.number))
	}
	return sources
}

// missing are the devices that there are by the details or by the VG, and whose roots were not found.
func (r *rebuilder) missing() (devices []*Device) {
	var ids []uint64
	for id := range r.mapped {
		if ids = append(ids, id); len(ids) == maxDevices {
			r.allIDs = false
			break
		}
	}
	if !r.allIDs {
		ids = append(ids, r.known...)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if r.devices[id] != nil || !slices.ContainsFunc(r.lost, func(w where) bool { return id >= w.from && id <= w.to }) {
			continue
		}
		d := &Device{ID: id, blocks: r.blocks}
		d.Mapped, d.Counted = r.mapped[id]
		devices = append(devices, d)
	}
	return devices
}

// remaining are devices that could not be told apart. One alone has all that is left, if that is as much as it should have.
func (r *rebuilder) remaining(devices []*Device, nodes []*orphan) {
	for _, d := range devices {
		d.Runs = []Run{{From: 0, To: math.MaxUint64, Grade: Lost, Why: "nothing says which of the trees that are left is that of the device"}}
	}
	if len(devices) != 1 || r.hasInnerHoles() || !r.trusted || len(nodes) == 0 {
		return
	}
	d := devices[0]
	for _, o := range nodes {
		o.grade, o.why = Likely, "no other device is left for it"
	}
	runs, f := r.fillAll([]where{{d, 0, math.MaxUint64}}, [][]*orphan{nodes})
	switch {
	case f.strange || d.Counted && f.placed > d.Mapped || !d.Counted && len(nodes) > 1:
		return
	case d.Counted && f.placed == d.Mapped:
		runs = closeGaps(runs, Likely, "all its mappings are found")
	case !r.hidden && (!d.Counted || hasLost(runs)):
		runs = closeGaps(runs, Likely, "no other node is missing")
	default:
		runs = openGaps(runs)
	}
	d.Runs = runs
	for _, o := range nodes {
		o.used, o.fits = true, nil
	}
}
