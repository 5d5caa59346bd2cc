package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lvm2fs/layers/md"
	"lvm2fs/mapping"
)

// Errors of devices that hold no PV.
var (
	// ErrNothing: no PV was found on the device or what lies on it.
	ErrNothing = errors.New("no PV")
	// ErrComponent: the device is part of something that cannot be read here.
	ErrComponent = errors.New("not a bare PV")
)

// Bounds of what is followed, for devices may hold anything.
const (
	maxDepth = 16
	maxNodes = 4096
)

// Layer opens one kind of thing that holds another device: a format of disk images, an encrypted
// container.
type Layer struct {
	// Type is what lists call a device of this kind: "qcow2", "crypt".
	Type string
	// Open returns the device that is in dev, which should be [mapping.Stacked]; nil without an error
	// if dev is not of this kind. Its errors name dev. If it is an io.Closer, the Prober's Close
	// closes it. If it has a method Warnings, these are among those of the Result.
	Open func(ctx context.Context, dev mapping.Device) (mapping.Device, error)
	// Changes says that what is opened shows the file beneath as it was then. It is opened anew once the
	// file has changed, unless it has a method Current() bool that says that it still is what is there, because it
	// made the changes itself. For other layers, only what they hold changes.
	Changes bool
	// Parts are the devices that what is in dev, opened or not, names as its parts: a file that is one of
	// them is no disk of its own beside it. May be nil.
	Parts func(dev mapping.Device) []mapping.Device
	// LiesOnAny says whether, after this error of Open, what is in dev may lie over any other file, because it
	// could not be told over which. May be nil.
	LiesOnAny func(error) bool
}

// Options are what a Prober goes by. The zero value is fit for use.
type Options struct {
	// Images are the formats of disk images, which are asked about a device before all else.
	Images []Layer
	// Containers are asked about what is a component of something else, but not of an MD array.
	Containers []Layer
	// Offset is the byte of a device at which a PV begins, whatever else shows on it; ok is false to look for
	// PVs. disk says that it was given, or is the disk in an image that was. May be nil.
	Offset func(dev mapping.Device, disk bool) (off int64, ok bool)
	// SectorSize is the size in bytes of a disk's sectors; 0 if it does not tell. May be nil.
	SectorSize func(mapping.Device) int64
	// Partition gives the system's own device for a partition, from start in bytes; nil if it has none.
	// May be nil.
	Partition func(disk mapping.Device, number int, start, size int64) mapping.Device
	// MD is how arrays are assembled.
	MD md.Options
}

// Node is a device with what lies on it.
type Node struct {
	Name     string
	Type     string         // "disk", "image", "part", "raid5", ...
	Device   mapping.Device // nil for an array that cannot be assembled
	Content  string         // what is on it: "GPT partition table", "ext4 file system"; "" if unknown
	PV       bool           // a PV is on it
	Err      error          // why nothing more is
	Children []*Node        // what lies on it; an array is a child of each of its members

	beneath []*Node
	depth   int
	leftOut bool // by the array that it is a member of, or the image that it is a part of
	inImage bool // it is what a layer makes of the one beneath

	isPart bool // of an image

	named      bool // by the user, or it lies on what is
	onArray    bool // it lies on an MD array
	likeMember bool // on one whose members look like the array
}

// Result is what was found. It does not change.
type Result struct {
	Roots  []*Node // for the devices, in their order
	Others []*Node // for the other devices
	// Candidates are the devices that lvm2.Open is to look at: those with a PV, and those of Roots on which
	// nothing lies, so that it says what they are.
	Candidates []mapping.Device
	// AtWord are those of Candidates that are such because Options.Offset says so.
	AtWord map[mapping.Device]bool
	// Unread are parts of what cannot be read as a whole, on which a PV may show.
	Unread []mapping.Device
	// Refused say why Roots that are not in Candidates led to no PV.
	Refused []Failure
	// Failed is what else stood in the way of finding more.
	Failed []Failure
	// Warnings are what was wrong, but could be got over.
	Warnings []error

	nodes map[mapping.Device]*Node
	loose []*Node // images that may lie over any other file
}

// Failure is why nothing more was found on a device.
type Failure struct {
	Device mapping.Device // nil for an array that cannot be assembled
	Err    error          // names it
}

// Prober looks at devices, perhaps more than once: what it has opened stays open, and is the same device
// the next time unless it has changed. Its methods are not for concurrent use.
type Prober struct {
	opts   Options
	opened map[openedKey]mapping.Device
	used   map[openedKey]bool      // since the last Forget
	latest map[openedKey]openedKey // of layers that change: the key without the state of the file, and with it

	arrays     map[md.Set]*md.Array // as they were assembled last
	usedArrays map[md.Set]bool      // since the last Forget
}

// openedKey tells what was made of which device.
type openedKey struct {
	from    mapping.Device
	what    string
	changes bool // see [Layer]
}

// New makes a Prober.
func New(opts Options) *Prober {
	return &Prober{
		opts: opts, opened: map[openedKey]mapping.Device{}, used: map[openedKey]bool{}, latest: map[openedKey]openedKey{},
		arrays: map[md.Set]*md.Array{}, usedArrays: map[md.Set]bool{},
	}
}

// Close closes what was opened, but not the devices that were given.
func (p *Prober) Close() error {
	var errs []error
	for _, d := range p.opened {
		if c, ok := d.(interface{ Close() error }); ok {
			errs = append(errs, c.Close())
		}
	}
	clear(p.opened)
	return errors.Join(errs...)
}

// keep returns the device that was opened earlier, or else opens it.
func (p *Prober) keep(key openedKey, open func() (mapping.Device, error)) (mapping.Device, error) {
	p.used[key] = true
	if d := p.opened[key]; d != nil {
		return d, nil
	}
	d, err := open()
	if d != nil && err == nil {
		p.opened[key] = d
	}
	return d, err
}

// Forget drops what Probe has had no use for since the last Forget, so that a Prober that is used for long does not grow.
// An image of a file that has changed goes too, with the files that it names, which the runtime closes once nobody reads
// them any more. A container stays, for Close to wipe its keys.
func (p *Prober) Forget() {
	maps.DeleteFunc(p.opened, func(key openedKey, d mapping.Device) bool {
		_, closes := d.(interface{ Close() error })
		return !p.used[key] && (!closes || key.changes)
	})
	maps.DeleteFunc(p.latest, func(_, key openedKey) bool { return p.opened[key] == nil })
	maps.DeleteFunc(p.arrays, func(set md.Set, a *md.Array) bool { return !p.usedArrays[set] && !a.Claimed() })
	clear(p.used)
	clear(p.usedArrays)
}

// Probe looks at devices, and at others that nobody has named: LVs, all disks of a system. It does not matter
// whether the others have a PV. It fails only with the error of ctx, which is looked at between devices.
func (p *Prober) Probe(ctx context.Context, devices, others []mapping.Device) (*Result, error) {
	var last []md.Set
	for {
		r := &run{Prober: p, ctx: ctx, last: last, sets: map[md.Set][]memberNode{}, done: map[md.Set]bool{}, claimed: map[md.Set]bool{}}
		r.nodes, r.AtWord = map[mapping.Device]*Node{}, map[mapping.Device]bool{}
		for _, d := range devices {
			n := r.add(nil, d, d.Name(), rootType(d))
			n.named = true
			r.Roots = append(r.Roots, n)
		}
		for _, d := range others {
			r.Others = append(r.Others, r.add(nil, d, d.Name(), rootType(d)))
		}
		for ctx.Err() == nil && (r.lookAtAll() || r.assembleOne()) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if r.late == nil || len(last) == maxDepth {
			r.judge()
			return &r.Result, nil
		}
		// A member was found on an array that seemed to come later: once more, the other way round.
		last = append(last, *r.late)
	}
}

func rootType(d mapping.Device) string {
	if _, ok := d.(mapping.Stacked); ok {
		return "lvm"
	}
	if file, ok := d.(interface{ IsFile() bool }); ok && !file.IsFile() {
		return "disk"
	}
	return typeFile
}

// typeFile is the type of a file.
const typeFile = "image"

// run is one Probe.
type run struct {
	*Prober
	Result
	ctx   context.Context //nolint:containedctx // of this run
	queue []*Node         // to be looked at
	parts []ownPart       // of images

	order []md.Set // in which the sets were found
	sets  map[md.Set][]memberNode
	done  map[md.Set]bool // assembled, or not

	claimed map[md.Set]bool // of which members were found when the array was being written

	damaged []md.DamagedMember // of any set

	last []md.Set // to be assembled last, in this order
	late *md.Set  // of which a member was found when it was done
}

type memberNode struct {
	md.Member
	node *Node
}

func (r *run) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Errorf(format, args...))
}

// add puts a device over others, to be looked at.
func (r *run) add(beneath []*Node, d mapping.Device, name, typ string) *Node {
	n, isNew := r.put(beneath, d, name, typ)
	switch {
	case !isNew:
	case len(r.nodes) > maxNodes:
		n.Err = fmt.Errorf("%s: not looked at: there are more than %d devices", name, maxNodes)
	case n.depth > maxDepth:
		n.Err = fmt.Errorf("%s: not looked at: it lies on %d others", name, n.depth)
	default:
		r.queue = append(r.queue, n)
	}
	return n
}

// put puts a device over others. One that the user has named may turn up again on another.
func (r *run) put(beneath []*Node, d mapping.Device, name, typ string) (n *Node, isNew bool) {
	n = r.nodes[d]
	if isNew = n == nil; isNew {
		n = &Node{Name: name, Device: d}
		r.nodes[d] = n
	}
	if len(n.beneath) == 0 {
		n.Type = typ
	}
	for _, b := range beneath {
		b.Children = append(b.Children, n)
		n.beneath = append(n.beneath, b)
		n.depth = max(n.depth, b.depth+1)
		n.named = n.named || b.named
		n.onArray, n.likeMember = n.onArray || b.onArray, n.likeMember || b.likeMember
	}
	return n, isNew
}

// lookAtAll looks at what is in the queue, and says whether there was anything.
func (r *run) lookAtAll() bool {
	if len(r.queue) == 0 {
		return false
	}
	for len(r.queue) > 0 {
		batch := r.queue
		r.queue = nil
		// Images first: what they name is not to be taken for a disk of its own.
		var images, rest []*Node
		for _, n := range batch {
			switch {
			case r.ctx.Err() != nil:
				return false
			case r.isPart(n):
			case r.open(n, r.opts.Images):
				images = append(images, n)
			default:
				rest = append(rest, n)
			}
		}
		for _, n := range images {
			r.isPart(n)
		}
		for _, n := range rest {
			if r.ctx.Err() != nil {
				return false
			}
			if r.isPart(n) {
				continue
			}
			r.look(n)
			if n.PV {
				r.Candidates = append(r.Candidates, n.Device)
			}
		}
	}
	return true
}

// judge says what became of the devices: of one that was named and leads to no PV, why; of others, what
// stood in the way of finding more.
func (r *run) judge() {
	told := map[error]bool{}
	for _, n := range r.Roots {
		if n.LeadsToPV() || n.leftOut {
			continue
		}
		if len(n.Children) == 0 && n.Err == nil {
			r.Candidates = append(r.Candidates, n.Device)
			continue
		}
		failures := n.failures()
		if len(failures) == 0 {
			failures = []Failure{{n.Device, fmt.Errorf("%s: %w: %s%s", n.Name, ErrNothing, n.Content, n.holds())}}
		}
		r.Refused = appendNew(r.Refused, failures, told)
	}
	for _, n := range slices.Concat(r.Roots, r.Others) {
		r.Failed = appendNew(r.Failed, slices.DeleteFunc(n.failures(), func(f Failure) bool { return errors.Is(f.Err, ErrComponent) }), told)
	}
}

// appendNew appends the failures that were not told yet.
func appendNew(to, failures []Failure, told map[error]bool) []Failure {
	for _, f := range failures {
		if !told[f.Err] {
			told[f.Err] = true
			to = append(to, f)
		}
	}
	return to
}

// walk visits the node and what lies on it, each once.
func (n *Node) walk(visit func(n *Node)) {
	seen := map[*Node]bool{}
	var each func(n *Node)
	each = func(n *Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		visit(n)
		for _, c := range n.Children {
			each(c)
		}
	}
	each(n)
}

// failures are the errors of the node and what lies on it.
func (n *Node) failures() (all []Failure) {
	n.walk(func(n *Node) {
		if n.Err != nil && !n.leftOut {
			all = append(all, Failure{n.Device, n.Err})
		}
	})
	return all
}

// LeadsToPV says whether there is a PV on the node or on what lies on it.
func (n *Node) LeadsToPV() (yes bool) {
	n.walk(func(n *Node) { yes = yes || n.PV })
	return yes
}

// holds lists what lies on the node, for someone who looked for something else.
func (n *Node) holds() string {
	const listed = 16
	var text strings.Builder
	count := 0
	n.walk(func(c *Node) {
		if c == n {
			return
		}
		count++
		switch {
		case count > listed:
		case c.Content != "":
			fmt.Fprintf(&text, "; %s: %s", c.Name, c.Content)
		default:
			fmt.Fprintf(&text, "; %s: nothing known", c.Name)
		}
	})
	if count > listed {
		fmt.Fprintf(&text, "; and %d more", count-listed)
	}
	return text.String()
}
