package lvm2

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/mapping"
)

// assembly makes volumes of the LVs of a VG. It is the one place that knows both the
// metadata and the targets. Each volume is made once, when it is first asked for.
type assembly struct {
	vg   *VG
	opts Options

	mu        sync.Mutex
	views     map[*LV]assembled // see contents
	volumes   map[*LV]assembled // see volume
	pvs       map[*PV]mapping.Volume
	families  map[*LV]*family // of origins
	pools     map[*LV]*thinPool
	spaces    map[*LV]assembled // the logical space of VDO pools
	vdoUsages map[*LV]*VDOUsage // nil for what is not told
	arrays    map[*LV]*arrayState
	kept      map[*LV][]keptArray // nil unless they are to be verified

	lostCaches map[*LV]error // why the origin is read alone

	states states

	tried      time.Time // when an LV last failed to be assembled because a device failed
	retryAfter time.Duration
}

type assembled struct {
	volume mapping.Volume
	err    error
}

func newAssembly(vg *VG, opts Options) *assembly {
	return &assembly{vg: vg, opts: opts, retryAfter: retryAfter, views: map[*LV]assembled{}, volumes: map[*LV]assembled{}, pvs: map[*PV]mapping.Volume{}, families: map[*LV]*family{}, pools: map[*LV]*thinPool{}, spaces: map[*LV]assembled{}, vdoUsages: map[*LV]*VDOUsage{}, arrays: map[*LV]*arrayState{}, lostCaches: map[*LV]error{}}
}

// contents is the LV as a user sees it: the bytes of the block device that the kernel
// would make, which are not always those of the LV's own segments.
func (a *assembly) contents(lv *LV) (mapping.Volume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
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

func (a *assembly) view(lv *LV) (mapping.Volume, error) {
	if seg := lv.snapshotOf(); seg != nil {
		return a.snapshot(seg)
	}
	v, err := a.volume(lv)
	if err != nil || len(lv.snapshots()) == 0 {
		return v, err
	}
	for _, m := range lv.snapshots() {
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

// volume is the LV as its own segments describe it.
func (a *assembly) volume(lv *LV) (mapping.Volume, error) {
	if done, ok := a.volumes[lv]; ok {
		return done.volume, done.err
	}
	// Whoever comes back here while the LV is being made has gone in a circle.
	a.volumes[lv] = assembled{err: fmt.Errorf("%w: LV %s lies on itself", ErrMetadata, lv.Name)}
	v, err := a.assemble(lv)
	a.volumes[lv] = assembled{v, err}
	return v, err
}

func (a *assembly) assemble(lv *LV) (mapping.Volume, error) {
	if lv.broken != nil {
		return nil, lv.broken
	}
	if flags := append(unknown(lv.VG.Status, knownVGStatus), unknown(lv.Status, knownLVStatus)...); len(flags) > 0 {
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

// segment makes the target of one segment. To add a segment type, add its case here and
// its file in internal/dm.
func (a *assembly) segment(seg *Segment) (mapping.Volume, error) {
	size := int64(seg.ExtentCount) * a.vg.ExtentSize
	if flags := unknown(seg.TypeFlags, knownTypeFlags[seg.Type]); len(flags) > 0 {
		return nil, fmt.Errorf("%w: segment type %s with flags %v", ErrUnsupported, seg.Type, flags)
	}
	switch m := seg.Mapping.(type) {
	case *Striped:
		return a.striped(seg, m)
	case *Mirror:
		return a.mirror(seg, m)
	case *RAID:
		return a.raid(seg, m)
	case *Thin:
		return a.thin(seg, m)
	case *Cache:
		return a.cache(seg, m)
	case *Writecache:
		return a.writecache(seg, m)
	case *Integrity:
		return a.integrity(seg, m)
	case *VDO:
		return a.vdo(seg, m)
	case *ThinPool, *CachePool, *VDOPool:
		return nil, fmt.Errorf("%w: it is a %s", ErrNoContents, seg.Type)
	}
	switch seg.Type {
	case "error":
		return dm.Missing(size, fmt.Errorf("segment of type error: %w", ErrMissing)), nil
	case "zero":
		return dm.Zero(size), nil
	}
	return nil, fmt.Errorf("%w: segment type %s", ErrUnsupported, seg.Type)
}

// soleMapping is the mapping of a pool, which has one segment, of one type.
func soleMapping[M any](lv *LV) (m M, err error) {
	if lv.broken != nil {
		return m, lv.broken
	}
	if len(lv.Segments) != 1 {
		return m, fmt.Errorf("%w: it has %d segments", ErrMetadata, len(lv.Segments))
	}
	seg := lv.Segments[0]
	if flags := unknown(seg.TypeFlags, knownTypeFlags[seg.Type]); len(flags) > 0 {
		return m, fmt.Errorf("%w: segment type %s with flags %v", ErrUnsupported, seg.Type, flags)
	}
	m, ok := seg.Mapping.(M)
	if !ok {
		return m, fmt.Errorf("%w: it is of type %s", ErrMetadata, seg.Type)
	}
	return m, nil
}

func (a *assembly) striped(seg *Segment, m *Striped) (mapping.Volume, error) {
	stripes := make([]mapping.Volume, len(m.Stripes))
	for i, area := range m.Stripes {
		v, err := a.area(area, seg.areaExtents())
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
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	return v, nil
}

// area is a number of extents of a PV or of another LV.
func (a *assembly) area(area Area, extents uint64) (mapping.Volume, error) {
	beneath, err := a.beneath(area)
	if err != nil {
		return nil, err
	}
	off, size := int64(area.Extent)*a.vg.ExtentSize, int64(extents)*a.vg.ExtentSize
	if off > beneath.Size() || size > beneath.Size()-off {
		return nil, fmt.Errorf("%w: an area ends at byte %d of an LV of %d bytes", ErrMetadata, off+size, beneath.Size())
	}
	return dm.Linear(beneath, off, size), nil
}

func (a *assembly) beneath(area Area) (mapping.Volume, error) {
	if area.LV != nil {
		return a.volume(area.LV)
	}
	return a.pv(area.PV)
}

// pv is all extents of a PV.
func (a *assembly) pv(pv *PV) (mapping.Volume, error) {
	if v := a.pvs[pv]; v != nil {
		return v, nil
	}
	if pv.broken != nil {
		return nil, pv.broken
	}
	if flags := unknown(pv.Status, knownPVStatus); len(flags) > 0 {
		return nil, fmt.Errorf("%w: status %v of %s", ErrUnsupported, flags, pv)
	}
	size := int64(pv.ExtentCount) * a.vg.ExtentSize
	var v mapping.Volume
	switch {
	case pv.Device == nil:
		v = dm.Missing(size, fmt.Errorf("%s: %w", pv, ErrMissing))
	case pv.FlaggedMissing():
		v = dm.Missing(size, fmt.Errorf("%s: was missing when the VG was changed: %w", pv, ErrMissing))
	default:
		v = dm.Device(pv.contents(), pv.DataStart, size)
	}
	a.pvs[pv] = v
	return v, nil
}
