package assembly

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Source gives what PVs are read from.
type Source interface {
	// Device is what the extents of a PV are read from; nil if it is missing.
	Device(*metadata.PV) mapping.Device
	// Describe is what messages call a PV.
	Describe(*metadata.PV) string
	// Missing says whether a PV is to be treated as absent although it has a device.
	Missing(*metadata.PV) bool
	// OtherAge is why the parts of an LV may hold bytes of another age than the metadata describe; nil if they do not.
	OtherAge(*metadata.LV) error
	// Partial says whether the LV, or what it lies on, has extents that are not there.
	Partial(*metadata.LV) bool
}

// Options are who is told of what happens while LVs are read and written. Only SnapshotLost is called with a lock held.
type Options struct {
	// CacheLost is told of a cached LV that is read from its origin alone because its cache is missing or damaged.
	CacheLost func(lv *metadata.LV, err error)
	// SnapshotLost, if there is one, lets a write to an origin go on although a snapshot cannot keep what it overwrites.
	// It is called while the write waits. Without one such a write fails.
	SnapshotLost func(lv *metadata.LV, err error)
	// LegFailed is told of n bytes at off of a leg of a RAID or mirror that could not be read, once for each range.
	LegFailed func(lv *metadata.LV, leg int, off, n int64, err error)
}

// Choice is what a user knows better about an LV than the disk does. The zero value believes the disk.
type Choice struct {
	TrustLegs  []int
	ThinPool   ThinPoolChoice
	OriginOnly bool
}

// ThinPoolChoice is what a user knows better about a thin pool than the disk does.
type ThinPoolChoice struct {
	Metadata            mapping.Device
	MetadataLV          string
	IgnoreTransactionID bool
	Root                uint64
	Removed             *dm.RemovedThin // read only that device, from there
	ShowsRemoved        bool            // what was removed from the pool is read elsewhere, from free chunks
	ReadReused          bool            // chunks are read even if the superblock has given them to something else
	Rebuild             Rebuild
}

// Assembly makes volumes of the LVs of a VG, each once, when it is first asked for.
//
// The order of its locks: mu, then tellMu or those of [states]. mu is held while LVs are assembled, which reads what they
// keep on disk; nobody is told of anything, and nothing is written or flushed, under it.
type Assembly struct {
	vg     *metadata.VG
	source Source
	opts   Options

	mu         sync.Mutex
	choices    map[*metadata.LV]Choice
	views      map[*metadata.LV]assembled // see Contents
	volumes    map[*metadata.LV]assembled // see volume
	pvs        map[*metadata.PV]mapping.Volume
	families   map[*metadata.LV]*family // of origins
	pools      map[*metadata.LV]*thinPool
	spaces     map[*metadata.LV]assembled    // the logical space of VDO pools
	vdoUsages  map[*metadata.LV]*dm.VDOUsage // nil for what is not told
	arrays     map[*metadata.Segment]*arrayState
	verifiable map[*metadata.Segment]Array
	lostCaches map[*metadata.LV]error // why the origin is read alone

	tellMu     sync.Mutex
	assembling bool     // mu is held
	untold     []func() // to be called when it is not

	states states

	tried time.Time // when an LV last failed to be assembled because a device failed
	// RetryAfter bounds how often it is tried to assemble an LV whose devices fail. A device may take long to fail.
	RetryAfter time.Duration
}

type assembled struct {
	volume mapping.Volume
	err    error
}

// New is the assembly of a VG.
func New(vg *metadata.VG, source Source, opts Options) *Assembly {
	a := &Assembly{vg: vg, source: source, opts: opts, choices: map[*metadata.LV]Choice{}, RetryAfter: time.Second}
	a.reset()
	return a
}

// Apart is New once more, by the same choices and with nobody to be told. There is one way to assemble an LV; only the
// volumes are others, because an array remembers which of its legs failed, for [Assembly.ArrayHealth]. A check reads what
// LVs in use need not read, so it must not read through their arrays.
func (a *Assembly) Apart() *Assembly {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := New(a.vg, a.source, Options{})
	b.choices = maps.Clone(a.choices)
	return b
}

// reset forgets what has been assembled.
func (a *Assembly) reset() {
	a.views, a.volumes = map[*metadata.LV]assembled{}, map[*metadata.LV]assembled{}
	a.pvs, a.pools, a.spaces = map[*metadata.PV]mapping.Volume{}, map[*metadata.LV]*thinPool{}, map[*metadata.LV]assembled{}
	a.families = map[*metadata.LV]*family{}
	a.vdoUsages, a.arrays = map[*metadata.LV]*dm.VDOUsage{}, map[*metadata.Segment]*arrayState{}
	a.verifiable, a.lostCaches = map[*metadata.Segment]Array{}, map[*metadata.LV]error{}
	a.states.reset()
}

// Choose has an LV, and all that lies on it, read by a choice from now on. What is open stays as it is. It is not for
// a VG of which an LV is open for writing.
func (a *Assembly) Choose(lv *metadata.LV, c Choice) {
	a.lock()
	defer a.unlock()
	a.choices[lv] = c
	a.reset()
}

// lock is taken by whoever assembles something.
func (a *Assembly) lock() {
	a.mu.Lock()
	a.tellMu.Lock()
	defer a.tellMu.Unlock()
	a.assembling = true
}

// unlock gives up the lock, and then calls what was to be told.
func (a *Assembly) unlock() {
	a.tellMu.Lock()
	untold := a.untold
	a.untold, a.assembling = nil, false
	a.tellMu.Unlock()
	a.mu.Unlock()
	for _, tell := range untold {
		tell()
	}
}

// tell calls f: now, or once nothing is being assembled any more.
func (a *Assembly) tell(f func()) {
	a.tellMu.Lock()
	later := a.assembling
	if later {
		a.untold = append(a.untold, f)
	}
	a.tellMu.Unlock()
	if !later {
		f()
	}
}

// Contents is the LV as a user sees it: the bytes of the block device that the kernel
// would make, which are not always those of the LV's own segments.
func (a *Assembly) Contents(lv *metadata.LV) (mapping.Volume, error) {
	a.lock()
	defer a.unlock()
	if done, ok := a.views[lv]; ok && !a.forget(done.err) {
		return done.volume, done.err
	}
	v, err := a.view(lv)
	a.views[lv] = assembled{v, err}
	if errors.Is(err, dm.ErrDevice) {
		a.tried = time.Now()
	}
	return v, err
}

func (a *Assembly) view(lv *metadata.LV) (mapping.Volume, error) {
	if seg := lv.SnapshotOf(); seg != nil {
		return a.snapshot(seg)
	}
	v, err := a.volume(lv)
	if err != nil || len(lv.Snapshots()) == 0 {
		return v, err
	}
	for _, m := range lv.Snapshots() {
		if m.Merging {
			return a.merging(v, m)
		}
	}
	f, err := a.family(lv)
	if err != nil {
		return nil, err
	}
	return f.Origin(), nil
}

// Own is the LV as its own segments describe it: of a snapshot the COW store.
func (a *Assembly) Own(lv *metadata.LV) (mapping.Volume, error) {
	a.lock()
	defer a.unlock()
	return a.volume(lv)
}

// volume is Own for callers that hold mu.
func (a *Assembly) volume(lv *metadata.LV) (mapping.Volume, error) {
	if done, ok := a.volumes[lv]; ok {
		return done.volume, done.err
	}
	// A call that comes back here while the LV is being made has gone in a circle.
	a.volumes[lv] = assembled{err: fmt.Errorf("%w: LV %s lies on itself", metadata.ErrMetadata, lv.Name)}
	v, err := a.assemble(lv)
	a.volumes[lv] = assembled{v, err}
	return v, err
}

func (a *Assembly) assemble(lv *metadata.LV) (mapping.Volume, error) {
	if lv.Broken() != nil {
		return nil, lv.Broken()
	}
	if err := a.source.OtherAge(lv); err != nil {
		return nil, err
	}
	if flags := append(lv.VG.Unknown(), lv.Unknown()...); len(flags) > 0 {
		return nil, fmt.Errorf("%w: status %v", ErrUnsupported, flags)
	}
	if len(lv.Segments) == 0 {
		return nil, fmt.Errorf("%w: it has no segments", ErrNoContents)
	}
	parts := make([]mapping.Volume, len(lv.Segments))
	for i, seg := range lv.Segments {
		v, err := a.segment(seg)
		if err != nil {
			return nil, err
		}
		parts[i] = v
	}
	return dm.Concat(parts), nil
}

// segment makes the target of one segment. This is the table of the segment types that can be read: to add one, add
// its line here.
func (a *Assembly) segment(seg *metadata.Segment) (mapping.Volume, error) {
	size := int64(seg.ExtentCount) * a.vg.ExtentSize
	if flags := seg.Unknown(); len(flags) > 0 {
		return nil, fmt.Errorf("%w: segment type %s with flags %v", ErrUnsupported, seg.Type, flags)
	}
	switch m := seg.Mapping.(type) {
	case *metadata.Striped:
		return a.striped(seg, m)
	case *metadata.Mirror:
		return a.mirror(seg, m)
	case *metadata.RAID:
		return a.raid(seg, m)
	case *metadata.Thin:
		return a.thin(seg, m)
	case *metadata.Cache:
		return a.cache(seg, m)
	case *metadata.Writecache:
		return a.writecache(seg, m)
	case *metadata.Integrity:
		return a.integrity(seg, m)
	case *metadata.VDO:
		return a.vdo(seg, m)
	case *metadata.Zero:
		return dm.Zero(size), nil
	case *metadata.Error:
		return dm.Missing(size, fmt.Errorf("segment of type error: %w", ErrMissing)), nil
	}
	if seg.Kind().Pool {
		return nil, fmt.Errorf("%w: it is a %s", ErrNoContents, seg.Type)
	}
	return nil, fmt.Errorf("%w: segment type %s", ErrUnsupported, seg.Type)
}

// soleMapping is the mapping of a pool, which has one segment, of one type.
func soleMapping[M metadata.Mapping](lv *metadata.LV) (m M, err error) {
	if lv.Broken() != nil {
		return m, lv.Broken()
	}
	if len(lv.Segments) != 1 {
		return m, fmt.Errorf("%w: it has %d segments", metadata.ErrMetadata, len(lv.Segments))
	}
	seg := lv.Segments[0]
	if flags := seg.Unknown(); len(flags) > 0 {
		return m, fmt.Errorf("%w: segment type %s with flags %v", ErrUnsupported, seg.Type, flags)
	}
	m, ok := seg.Mapping.(M)
	if !ok {
		return m, fmt.Errorf("%w: it is of type %s", metadata.ErrMetadata, seg.Type)
	}
	return m, nil
}

func (a *Assembly) striped(seg *metadata.Segment, m *metadata.Striped) (mapping.Volume, error) {
	stripes := make([]mapping.Volume, len(m.Stripes))
	for i, area := range m.Stripes {
		v, err := a.area(area, seg.AreaExtents())
		if err != nil {
			return nil, err
		}
		stripes[i] = v
	}
	if len(stripes) == 1 {
		return stripes[0], nil
	}
	v, err := dm.Striped(stripes, m.StripeSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrMetadata, err)
	}
	return v, nil
}

// area is a number of extents of a PV or of another LV.
func (a *Assembly) area(area metadata.Area, extents uint64) (mapping.Volume, error) {
	beneath, err := a.beneath(area)
	if err != nil {
		return nil, err
	}
	off, size := int64(area.Extent)*a.vg.ExtentSize, int64(extents)*a.vg.ExtentSize
	if off > beneath.Size() || size > beneath.Size()-off {
		return nil, fmt.Errorf("%w: an area ends at byte %d of an LV of %d bytes", metadata.ErrMetadata, off+size, beneath.Size())
	}
	return dm.Linear(beneath, off, size), nil
}

func (a *Assembly) beneath(area metadata.Area) (mapping.Volume, error) {
	if area.LV != nil {
		return a.volume(area.LV)
	}
	return a.pv(area.PV)
}

// pv is all extents of a PV.
func (a *Assembly) pv(pv *metadata.PV) (mapping.Volume, error) {
	if v := a.pvs[pv]; v != nil {
		return v, nil
	}
	if pv.Broken() != nil {
		return nil, pv.Broken()
	}
	if flags := pv.Unknown(); len(flags) > 0 {
		return nil, fmt.Errorf("%w: status %v of %s", ErrUnsupported, flags, a.source.Describe(pv))
	}
	size := int64(pv.ExtentCount) * a.vg.ExtentSize
	var v mapping.Volume
	switch dev := a.source.Device(pv); {
	case dev == nil:
		v = dm.Missing(size, fmt.Errorf("%s: %w", a.source.Describe(pv), ErrMissing))
	case a.source.Missing(pv):
		v = dm.Missing(size, fmt.Errorf("%s: was missing when the VG was changed: %w", a.source.Describe(pv), ErrMissing))
	default:
		v = dm.Device(dev, pv.DataStart, size)
	}
	a.pvs[pv] = v
	return v, nil
}
