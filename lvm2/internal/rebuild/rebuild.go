package rebuild

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"lvm2fs/lvm2/internal/pdata"
)

// ErrTooMuch: so much is damaged that to put it together would take too long.
var ErrTooMuch = errors.New("too much is damaged to be put together again")

const (
	// maxPairs bounds how often a node is held against a damaged place.
	maxPairs = 1 << 28
	// maxComparisons bounds the leaves that are read to be compared.
	maxComparisons = 1 << 22
	// maxDevices bounds the memory for devices, those that are kept for somebody included.
	maxDevices = 1 << 20
	// maxRuns bounds the memory for runs of all devices.
	maxRuns = 1 << 22
	// heldDevice is added to the IDs of devices in trees that are kept for somebody.
	heldDevice = 1 << 32
)

// Plan is a pool as it was put together again.
type Plan struct {
	Devices []*Device // by ID
	Notes   []string  // what it rests on, and what could not be read
	// Unassigned are nodes with mappings that are in use, and of which nothing says whose they are.
	Unassigned []Unassigned
}

// Unassigned is a node that may be one of several devices.
type Unassigned struct {
	Block       uint64
	First, Last uint64 // chunks
	Mappings    uint64
}

// Device finds a device; nil if there is none of that ID.
func (p *Plan) Device(id uint64) *Device {
	i, found := slices.BinarySearchFunc(p.Devices, id, func(d *Device, id uint64) int { return cmp.Compare(d.ID, id) })
	if !found {
		return nil
	}
	return p.Devices[i]
}

// rebuilder puts one age of a pool together.
type rebuilder struct {
	*census
	age    Age
	known  []uint64 // devices that there are by the VG
	counts pdata.Counts
	plan   *Plan

	trusted bool // the counts can be believed
	hidden  bool // a damaged node is in use, and nothing leads to it; or that is not known
	many    bool // there are more devices than are looked at
	loose   bool // nodes may be those of a device that is not found again
	assumed bool // what is told apart rests on what is only likely

	assumption string // that is assumed

	devices map[uint64]*Device
	holes   map[uint64]*hole // by the block of the node
	holesIn map[*Device][]holeIn
	lost    []where // places of a level 1 that are damaged
	mapped  map[uint64]uint64
	allIDs  bool // mapped has all devices
	left    []*orphan
	budget  int
}

// Build puts the mappings of a pool together again. chunks is the number of chunks of the pool; known are the IDs of
// devices that there should be by the VG. If age has no metadata space map, one is looked for; then nothing is more
// than Likely.
//
// It reads all of the metadata once, and again inner nodes and what must be compared. Its memory is 40 bytes for
// each block of metadata, of at most [pdata.MaxMetadataBlocks], and what it returns.
func Build(blocks *pdata.Blocks, chunks uint64, age Age, known []uint64) (*Plan, error) {
	f, err := survey(blocks, chunks)
	if err != nil {
		return nil, err
	}
	if age.Metadata == nil {
		age.Counts, age.Guessed = f.countsOf(age.Level1), true
		age.Held = f.heldBy(age.Counts)
	} else if age.Counts = f.countsWithoutIndex(age); age.Counts != nil {
		age.Guessed = true
	}
	return f.build(age, known)
}

// build is Build with what is known of the blocks.
func (f *facts) build(age Age, known []uint64) (*Plan, error) {
	r := &rebuilder{census: newCensus(f), age: age, known: known, plan: &Plan{}, budget: maxComparisons}
	if age.Guessed {
		r.assumed, r.assumption = true, "the metadata space map fits the trees, but nothing leads from one to the other"
	}
	for number := range f.of {
		f.settle(uint64(number), 0)
	}
	r.count()
	r.readDetails()
	r.walkLevel1(nil)
	if leaves := r.level1Orphans(); len(leaves) > 0 {
		r.census = newCensus(f)
		r.count(leaves...)
		r.walkLevel1(leaves)
	}
	if r.many {
		return nil, fmt.Errorf("%w: more than %d devices", ErrTooMuch, maxDevices)
	}
	r.census.orphans(r.counts)
	r.findHidden()
	if err := r.findOrphans(); err != nil {
		return nil, err
	}
	r.rootless()
	r.assign()
	runs := 0
	for _, id := range slices.Sorted(maps.Keys(r.devices)) {
		d := r.devices[id]
		r.repair(d)
		if runs += len(d.Runs); runs > maxRuns {
			return nil, ErrTooMuch
		}
		if id < heldDevice {
			r.plan.Devices = append(r.plan.Devices, d)
			d.sum()
		}
	}
	r.unassigned()
	return r.plan, nil
}

func (r *rebuilder) note(format string, args ...any) {
	r.plan.Notes = append(r.plan.Notes, fmt.Sprintf(format, args...))
}

// count counts references, and finds out whether the counts of the metadata space map can be those of this age.
func (r *rebuilder) count(level1 ...uint64) {
	r.census.age(r.age, level1)
	r.trusted = r.age.Metadata != nil || r.age.Counts != nil
	switch {
	case r.age.Counts != nil:
		r.counts = *r.age.Counts
	case r.age.Metadata != nil:
		r.counts = r.age.Metadata.Known(uint64(len(r.of)))
	default:
		r.counts = pdata.NoCounts(uint64(len(r.of)))
		r.note("no metadata space map is left that fits this root")
	}
	for number, refs := range r.refs {
		if count, exact := r.counts.Of(uint64(number)); exact && count < int(refs) {
			r.trusted = false
			r.counts = pdata.NoCounts(uint64(len(r.of)))
			r.note("the metadata space map is of another age: %d references lead to block %d, and it says %d", refs, number, count)
			return
		}
	}
}

// readDetails reads how many mappings each device has.
func (r *rebuilder) readDetails() {
	r.mapped, r.allIDs = map[uint64]uint64{}, r.age.Details != 0
	if !r.allIDs {
		return
	}
	tree := pdata.Tree{Blocks: r.blocks, Root: r.age.Details, ValueSize: 24}
	for key := uint64(0); key <= maxDevice; {
		leaf, err := tree.Leaf(key)
		if err != nil {
			r.allIDs = false
			key = damagedTo(err, key)
		} else {
			for i := leaf.Search(key); i < leaf.Len() && leaf.Key(i) <= maxDevice; i++ {
				r.mapped[leaf.Key(i)] = binary.LittleEndian.Uint64(leaf.Value(i))
			}
			key = leaf.To
		}
		if key++; key == 0 {
			break
		}
	}
	if !r.allIDs {
		r.note("the device details are damaged")
	}
}

// walkLevel1 finds the devices, and the damaged places of their trees. leaves are the leaves of the level 1 that lie
// beneath damaged nodes.
func (r *rebuilder) walkLevel1(leaves []uint64) {
	r.devices, r.holes, r.holesIn, r.lost = map[uint64]*Device{}, map[uint64]*hole{}, map[*Device][]holeIn{}, nil
	r.level1(r.age.Level1, 0)
	for _, leaf := range leaves {
		r.level1(leaf, 0)
	}
	if h := r.age.Held; h != nil {
		if h.Level1 == 0 {
			r.loose = true
			r.note("what is kept by the superblock copy in block %d is damaged", h.Block)
		} else {
			r.level1(h.Level1, heldDevice)
		}
	}
}

func (r *rebuilder) level1(root, add uint64) {
	if root == 0 {
		return
	}
	r.level1Below(root, 0, math.MaxUint64, 0, add)
}

func (r *rebuilder) level1Below(number, from, to uint64, depth int, add uint64) {
	x := r.get(number)
	if x == nil || !x.is(isNode) || !x.is(isInner) && !x.is(hasPlaces) || !x.fits(from, to) || depth == maxDepth {
		if r.loose = r.loose || add != 0; add == 0 {
			r.lost = append(r.lost, where{from: from, to: to})
		}
		return
	}
	if x.is(isInner) {
		r.children(number, from, to, func(child, from, to uint64) { r.level1Below(child, from, to, depth+1, add) })
		return
	}
	n, err := r.blocks.ReadNode(number)
	if err != nil {
		return
	}
	for i := range n.Len() {
		r.found(n.Key(i)+add, n.Uint64(i))
	}
}

// found is a device of which the root is known.
func (r *rebuilder) found(id, root uint64) {
	if len(r.devices) == maxDevices {
		r.many = true
		return
	}
	d := &Device{ID: id, Root: root, blocks: r.blocks}
	if d.Mapped, d.Counted = r.mapped[id]; id >= heldDevice {
		d.Counted = false
	}
	r.devices[id] = d
	if x := r.get(root); x != nil && x.is(isNode) {
		d.Reached = x.entries
	}
	r.damaged(root, 0, math.MaxUint64, func(block, from, to uint64, height int8) {
		h := r.holes[block]
		if h == nil {
			h = &hole{block: block, height: height}
			r.holes[block] = h
		}
		h.height = max(h.height, height)
		h.places = append(h.places, where{d, from, to})
		r.holesIn[d] = append(r.holesIn[d], holeIn{h, where{d, from, to}})
	})
}

// level1Orphans are the leaves that were beneath damaged nodes of the level 1.
func (r *rebuilder) level1Orphans() (leaves []uint64) {
	if len(r.lost) == 0 || !r.trusted || r.loose || r.age.Guessed {
		return nil
	}
	defer func() {
		slices.SortFunc(leaves, func(a, b uint64) int { return cmp.Compare(r.of[a].first, r.of[b].first) })
		for i := 1; i < len(leaves); i++ {
			if r.of[leaves[i]].first <= r.of[leaves[i-1]].last {
				leaves = nil // they are in each other's way
			}
		}
	}()
	for number := range r.of {
		b := uint64(number)
		x := r.get(b)
		if !x.is(mayLevel1) || x.is(mayMap) || r.seen[b] || x.entries == 0 {
			continue
		}
		if count, exact := r.counts.Of(b); !exact || count == 0 {
			continue
		}
		if slices.ContainsFunc(r.lost, func(w where) bool { return x.fits(w.from, w.to) }) {
			leaves = append(leaves, b)
		}
	}
	return leaves
}

// findHidden looks for damaged nodes that are in use, and to which no whole node leads.
func (r *rebuilder) findHidden() {
	blocks := 0
	for number, x := range r.of {
		count, exact := r.counts.Of(uint64(number))
		switch {
		case !exact && count == 0:
			r.hidden = true
		case !x.is(isNode) && !x.is(isOther) && count > int(r.refs[number]):
			r.hidden = true
			blocks++
		}
	}
	if blocks > 0 {
		r.note("%d damaged blocks are in use to which no whole way leads", blocks)
	}
	if r.trusted && r.hidden && blocks == 0 {
		r.note("the metadata space map is damaged")
	}
}

// findOrphans finds the nodes with mappings whose parents are damaged, and the places where those parents may be.
func (r *rebuilder) findOrphans() error {
	var holes []*hole
	for _, block := range slices.Sorted(maps.Keys(r.holes)) {
		if h := r.holes[block]; h.height != 0 {
			holes = append(holes, h)
		}
	}
	if len(holes) == 0 && len(r.lost) == 0 {
		return nil
	}
	pairs := 0
	for number := range r.of {
		o := r.orphan(uint64(number))
		if o == nil {
			continue
		}
		if pairs += len(holes) + 1; pairs > maxPairs {
			return ErrTooMuch
		}
		for _, h := range holes {
			if h.block != o.number && h.admits(o.fact) {
				o.fits = append(o.fits, h)
			}
		}
		if len(o.fits) > 0 || len(r.lost) > 0 && !o.vague {
			r.left = append(r.left, o)
		}
	}
	slices.SortStableFunc(r.left, func(a, b *orphan) int { return cmp.Compare(a.first, b.first) })
	for _, o := range r.left {
		for _, h := range o.fits {
			h.nodes = append(h.nodes, o)
		}
	}
	return nil
}

// orphan is what is known of a node; nil if all references to it were seen, or it has no mappings.
func (r *rebuilder) orphan(number uint64) *orphan {
	x := r.get(number)
	if !x.is(isNode|isSettled|mayMap|hasPlaces) || x.entries == 0 || x.height == unknown || r.tops[number] {
		return nil
	}
	count, exact := r.counts.Of(number)
	o := &orphan{number: number, fact: x, excess: count - int(r.refs[number]), exact: exact, vague: !exact && count == 0}
	if exact && o.excess <= 0 {
		return nil
	}
	if len(r.lost) > 0 && x.is(mayLevel1) {
		o.exact = false // may be a leaf of the level 1
	}
	return o
}

// assign says of each orphan how sure it is where it belongs.
func (r *rebuilder) assign() {
	for _, o := range r.left {
		if o.used {
			continue
		}
		o.grade, o.why = Contradictory, ""
		if !o.exact || r.loose || len(o.fits) == 0 {
			continue
		}
		if len(o.fits) == 1 || o.excess >= len(o.fits) {
			o.grade, o.why = Certain, "the nodes are in use, and there is no other place for them"
			if r.assumed {
				o.grade, o.why = Likely, r.assumption
			}
		}
	}
}

// repair fills the holes of a device.
func (r *rebuilder) repair(d *Device) {
	if d.Runs == nil {
		r.repairHoles(d)
	}
}

// mine are the orphans that fit into a hole; sure are those that are surely there, or almost.
func (r *rebuilder) mine(h *hole) (sure, all []*orphan) {
	for _, o := range h.nodes {
		if o.fits == nil { // has found its place
			continue
		}
		all = append(all, o)
		if o.grade != Contradictory {
			sure = append(sure, o)
		}
	}
	return sure, all
}

// holeIn is a hole in a device, and where it is.
type holeIn struct {
	*hole
	where
}

// holesOf are the holes of a device, in order.
func (r *rebuilder) holesOf(d *Device) (holes []*hole, places []where) {
	all := r.holesIn[d]
	slices.SortFunc(all, func(a, b holeIn) int { return cmp.Compare(a.from, b.from) })
	for _, h := range all {
		holes, places = append(holes, h.hole), append(places, h.where)
	}
	return holes, places
}

func (r *rebuilder) repairHoles(d *Device) {
	holes, places := r.holesOf(d)
	if len(holes) == 0 {
		return
	}
	if d.Counted && d.Mapped == 0 && d.Reached == 0 {
		d.Runs = []Run{{From: 0, To: math.MaxUint64, Grade: Certain, Why: "it has no mappings by its details"}}
		return
	}
	sure, all := make([][]*orphan, len(holes)), make([][]*orphan, len(holes))
	open := false // there are nodes of which it is not clear whether they are here
	for i, h := range holes {
		sure[i], all[i] = r.mine(h)
		open = open || len(all[i]) > len(sure[i])
	}
	if open && d.Counted {
		if runs, f := r.fillAll(places, maximal(r.facts, all)); !f.strange && d.Reached+f.placed == d.Mapped {
			d.Runs = asLikely(closeGaps(runs, Likely, "all its mappings are found"))
			return
		}
	}
	runs, f := r.fillAll(places, sure)
	switch sum := d.Reached + f.placed; {
	case f.strange || d.Counted && sum > d.Mapped:
		for i := range runs {
			if runs[i].Grade == Certain || runs[i].Grade == Likely {
				runs[i] = Run{From: runs[i].From, To: runs[i].To, Grade: Contradictory, Why: "what is left does not fit together"}
			}
		}
		runs = openGaps(runs)
	case d.Counted && sum == d.Mapped:
		runs = closeGaps(runs, r.sure(), "all its mappings are found")
	case !r.hidden && r.trusted && (!d.Counted || open || hasLost(runs)):
		runs = closeGaps(runs, r.sure(), "no other node is missing")
	default:
		runs = openGaps(runs)
	}
	for i := range holes {
		if len(all[i]) > len(sure[i]) {
			runs = overlay(runs, r.doubtful(runs, places[i], all[i]))
		}
	}
	d.Runs = runs
}

// sure is the grade of what follows from the counts.
func (r *rebuilder) sure() Grade {
	if r.assumed {
		return Likely
	}
	return Certain
}

// fillAll fills the holes of a device.
func (r *rebuilder) fillAll(places []where, nodes [][]*orphan) (runs []Run, f *filler) {
	f = &filler{facts: r.facts}
	for i, w := range places {
		for _, o := range nodes[i] {
			o.used = false
		}
		runs = append(runs, f.fill(w.from, w.to, nodes[i])...)
		for _, o := range nodes[i] {
			f.strange = f.strange || !o.used
		}
	}
	return runs, f
}

// maximal leaves out the vague nodes that are beneath others.
func maximal(f *facts, nodes [][]*orphan) [][]*orphan {
	all := make([][]*orphan, len(nodes))
	for i := range nodes {
		beneath := map[uint64]bool{}
		for _, o := range nodes[i] {
			if o.is(isInner) {
				f.children(o.number, 0, math.MaxUint64, func(child, _, _ uint64) { beneath[child] = true })
			}
		}
		for _, o := range nodes[i] {
			if !o.vague || !beneath[o.number] {
				all[i] = append(all[i], o)
			}
		}
	}
	return all
}

func hasLost(runs []Run) bool {
	return slices.ContainsFunc(runs, func(r Run) bool { return r.Grade == Lost || r.Grade == Contradictory })
}

// closeGaps says of the room between nodes that nothing is mapped there.
func closeGaps(runs []Run, grade Grade, why string) []Run {
	for i := range runs {
		if runs[i].Grade == gap {
			runs[i].Grade, runs[i].Why = grade, why
		}
	}
	return runs
}

// openGaps says of the room between nodes that a node may be missing there.
func openGaps(runs []Run) []Run {
	return closeGaps(runs, Lost, "a node may be missing there")
}

func asLikely(runs []Run) []Run {
	for i := range runs {
		if runs[i].Grade == Contradictory {
			runs[i].Grade = Likely
		}
		if runs[i].Grade == Likely && runs[i].Why == "" {
			runs[i].Why = "with it the device has as many mappings as its details say"
		}
	}
	return runs
}

// doubtful goes through the nodes that may be in a hole or elsewhere. If as many of them have a chunk as there are
// holes for them, each hole has one of them. Where they agree it does not matter which.
func (r *rebuilder) doubtful(runs []Run, w where, nodes []*orphan) (over []Run) {
	var open []*orphan
	var bounds []uint64
	for _, o := range nodes {
		if o.grade == Contradictory {
			open = append(open, o)
			bounds = append(bounds, o.first)
			if o.last < math.MaxUint64 {
				bounds = append(bounds, o.last+1)
			}
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	next, active := 0, []*orphan(nil)
	for i, from := range bounds {
		to := w.to
		if i+1 < len(bounds) {
			to = bounds[i+1] - 1
		}
		active = slices.DeleteFunc(active, func(o *orphan) bool { return o.last < from })
		for ; next < len(open) && open[next].first <= from; next++ {
			active = append(active, open[next])
		}
		if len(active) > 0 {
			over = append(over, r.either(runs, active, from, to)...)
		}
	}
	return over
}

// either compares nodes each of which may have the chunks from <= chunk <= to.
func (r *rebuilder) either(runs []Run, nodes []*orphan, from, to uint64) []Run {
	doubt := []Run{{From: from, To: to, Grade: Contradictory, Why: fmt.Sprintf("%d nodes may have them, and nothing says which", len(nodes))}}
	excess := 0
	var sources []source
	for _, o := range nodes {
		excess += o.excess
		if !o.exact || !slices.Equal(o.fits, nodes[0].fits) {
			return doubt
		}
		sources = append(sources, r.tree(o.number))
	}
	free := !slices.ContainsFunc(runs, func(run Run) bool {
		return run.From <= to && run.To >= from && (run.Grade == Contradictory || run.Root != 0)
	})
	if r.loose || excess != len(nodes[0].fits) || !free {
		return doubt
	}
	return agree(sources, from, to, r.sure(), "all nodes that may have them agree", &r.budget)
}

// unassigned lists what found no place.
func (r *rebuilder) unassigned() {
	for _, o := range r.left {
		if !o.vague && o.grade == Contradictory && !o.used {
			r.plan.Unassigned = append(r.plan.Unassigned, Unassigned{o.number, o.first, o.last, o.entries})
		}
	}
}

// sum counts what was found.
func (d *Device) sum() {
	for _, run := range d.Runs {
		if run.Root != 0 {
			d.Found[run.Grade] += d.mappings(run)
		}
	}
}

// mappings counts those in a run.
func (d *Device) mappings(run Run) (n uint64) {
	for key := run.From; ; {
		leaf, err := d.part(run.Root, run.From, run.To, key)
		to := leaf.To
		if err != nil {
			to = damagedTo(err, key)
		} else {
			n += uint64(leaf.Len() - leaf.Search(key))
		}
		if to >= run.To {
			return n
		}
		key = to + 1
	}
}
