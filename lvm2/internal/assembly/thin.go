package assembly

import (
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// thinPool is an open pool.
type thinPool struct {
	*dm.ThinPool // nil for a pool that was never activated
	pending      bool
	creates      map[string]bool // LVs whose devices may not exist yet
	devices      map[*metadata.LV]thinDevice
	err          error
}

func (p *thinPool) needsCheck() bool { return p.NeedsCheck }
func (p *thinPool) inherit(state)    {}

func (p *thinPool) usage() Usage {
	if p.err != nil || p.ThinPool == nil || !p.Counted() {
		return Usage{}
	}
	u := p.Usage()
	// The kernel counts what it keeps for itself as used.
	return Usage{
		Data:     &Share{u.Data.Used, u.Data.Total},
		Metadata: &Share{u.Metadata.Used + u.Reserve(), u.Metadata.Total},
	}
}

// thin is what a segment of type thin shows.
// (docs/format/06-thin.md, section 9)
func (a *Assembly) thin(seg *metadata.Segment, m *metadata.Thin) (mapping.Volume, error) {
	if m.Merge != nil {
		return nil, fmt.Errorf("%w: it is being merged into %s", ErrNoContents, m.Merge.Name)
	}
	pool := a.thinPool(m.Pool)
	if pool.err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", m.Pool.Name, pool.err)
	}
	var external mapping.Volume
	if m.ExternalOrigin != nil {
		var err error
		if external, err = a.volume(m.ExternalOrigin); err != nil {
			return nil, fmt.Errorf("external origin %s: %w", m.ExternalOrigin.Name, err)
		}
	}
	size := int64(seg.ExtentCount) * a.vg.ExtentSize
	device, exists, err := pool.device(seg.LV, m)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", m.Pool.Name, err)
	}
	if !exists {
		return dm.Unprovisioned(size, external), nil
	}
	v, err := pool.Thin(device, size, external)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", m.Pool.Name, err)
	}
	return v, nil
}

// thinDevice is the ID of a thin device, and whether there is one yet.
type thinDevice struct {
	id     uint64
	exists bool
}

// device is the thin device that holds the contents of an LV. A snapshot that is still to be made has the contents of its
// origin, which may be still to be made too.
func (p *thinPool) device(lv *metadata.LV, m *metadata.Thin) (uint64, bool, error) {
	var same []*metadata.LV // a chain of snapshots that are still to be made: each shows what its origin shows
	done := func(d thinDevice) (uint64, bool, error) {
		for _, snapshot := range same {
			p.devices[snapshot] = d
		}
		return d.id, d.exists, nil
	}
	for range len(p.creates) + 1 {
		if d, ok := p.devices[lv]; ok {
			return done(d)
		}
		same = append(same, lv)
		if other := lv.MergesWith(); other != nil { // the devices are exchanged at the next activation
			return done(thinDevice{other.DeviceID, true})
		}
		if !p.pending || !p.creates[lv.Name] {
			return done(thinDevice{m.DeviceID, p.ThinPool != nil})
		}
		if p.ThinPool == nil {
			return done(thinDevice{})
		}
		exists, err := p.Has(m.DeviceID)
		if err != nil {
			return m.DeviceID, false, err
		}
		if exists || m.Origin == nil {
			return done(thinDevice{m.DeviceID, exists})
		}
		origin, ok := m.Origin.Mapping().(*metadata.Thin)
		if !ok {
			return 0, false, fmt.Errorf("%w: origin %s is no thin LV", metadata.ErrMetadata, m.Origin.Name)
		}
		lv, m = m.Origin, origin
	}
	return 0, false, fmt.Errorf("%w: LV %s is a snapshot of itself", metadata.ErrMetadata, lv.Name)
}

// thinPool opens the pool that an LV is, once.
func (a *Assembly) thinPool(lv *metadata.LV) *thinPool {
	if p := a.pools[lv]; p != nil {
		return p
	}
	p := a.openThinPool(lv)
	a.pools[lv] = p
	if p.ThinPool != nil {
		a.states.add(lv.Segments[0], p)
	}
	return p
}

// thinPoolReadOnly is why a pool must not be written, by the VG's metadata and by what the user chose; "" if it may be.
func thinPoolReadOnly(m *metadata.ThinPool, pool *dm.ThinPool, opts ThinPoolChoice) string {
	switch {
	case opts.MetadataLV != "" || opts.Metadata != nil:
		return "its thin pool is read with other metadata than its own"
	case opts.ShowsRemoved:
		return "a volume that was removed from its thin pool is shown, whose bytes are free to be overwritten"
	case len(m.Messages) > 0:
		return "changes of its thin pool are queued, which the kernel has to make first"
	case pool.TransactionID != m.TransactionID:
		return "the metadata of its thin pool are of another transaction than the VG's"
	}
	return ""
}

// thinReadOnly is why a thin LV cannot be written although its pool can be; "" if it can be. The LV must have been
// assembled.
func (a *Assembly) thinReadOnly(lv *metadata.LV, m *metadata.Thin) string {
	a.lock()
	defer a.unlock()
	pool := a.thinPool(m.Pool)
	if lv.MergesWith() != nil {
		return "a snapshot is being merged into it"
	}
	if len(lv.Segments) > 1 {
		return "it is made of more than one segment"
	}
	if pool.ThinPool == nil {
		return "its thin pool was never activated"
	}
	if _, exists, err := pool.device(lv, m); err != nil || !exists {
		return "it is still to be made in its thin pool"
	}
	return ""
}

func (a *Assembly) openThinPool(lv *metadata.LV) *thinPool {
	fail := func(err error) *thinPool { return &thinPool{err: err} }
	opts := a.choices[lv].ThinPool
	m, meta, data, err := a.thinPoolParts(lv, opts)
	if err != nil {
		return fail(err)
	}
	if opts.Removed != nil {
		p, err := dm.RemovedThinPool(meta, data, m.ChunkSize, opts.Removed, opts.ReadReused)
		return &thinPool{ThinPool: p, devices: map[*metadata.LV]thinDevice{}, err: err}
	}
	if opts.Root != 0 {
		p := dm.ThinPoolAt(meta, data, m.ChunkSize, opts.Root)
		if now, err := dm.OpenThinPool(meta, data, m.ChunkSize); err == nil && now != nil && !opts.ReadReused {
			p.Since(now)
		}
		if err := a.rebuild(lv, p); err != nil {
			return fail(err)
		}
		return &thinPool{ThinPool: p, devices: map[*metadata.LV]thinDevice{}}
	}
	opened, err := dm.OpenThinPool(meta, data, m.ChunkSize)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", m.Metadata.Name, err))
	}
	if opened != nil {
		if err := a.rebuild(lv, opened); err != nil {
			return fail(fmt.Errorf("%s: %w", m.Metadata.Name, err))
		}
		opened.Restrict(thinPoolReadOnly(m, opened, opts), m.Discards)
	}
	p := &thinPool{ThinPool: opened, creates: map[string]bool{}, devices: map[*metadata.LV]thinDevice{}}
	creates := 0
	for _, msg := range m.Messages {
		if msg.Create != "" {
			p.creates[msg.Create] = true
			creates++
		}
	}
	switch {
	case opened == nil && m.TransactionID <= uint64(creates):
		p.pending = true
	case opened == nil:
		return fail(fmt.Errorf("%w: %s is empty, and the VG says that it has changed %d times", dm.ErrThinPool, m.Metadata.Name, m.TransactionID))
	case opened.TransactionID == m.TransactionID:
		// No message is left that would change what is written.
		p.pending = creates > 0
	case opened.TransactionID+1 == m.TransactionID && len(m.Messages) > 0:
		p.pending = true
	case opts.IgnoreTransactionID:
	default:
		return fail(fmt.Errorf("%w: transaction ID %d in %s, %d in the VG's metadata", dm.ErrThinPool, opened.TransactionID, m.Metadata.Name, m.TransactionID))
	}
	return p
}

// NeedsCheck says whether the kernel gave up writing the metadata of lv, of its pool or of its cache. Reading stays as
// safe as ever.
func (a *Assembly) NeedsCheck(lv *metadata.LV) bool {
	_, _ = a.Contents(lv) // so that it finds the states
	a.lock()
	defer a.unlock()
	for _, seg := range lv.Segments {
		pool := lv
		switch m := seg.Mapping.(type) {
		case *metadata.Thin:
			pool = m.Pool
		case *metadata.ThinPool:
		default:
			if st := a.states.of(seg); st != nil && st.needsCheck() {
				return true
			}
			continue
		}
		if p := a.thinPool(pool); p.ThinPool != nil && p.NeedsCheck {
			return true
		}
	}
	return false
}

// Pool is what a thin pool lies on.
type Pool struct {
	ChunkSize      int64 // bytes
	Metadata, Data mapping.Volume
	Believed       bool // the mappings begin at the root that the superblock names
}

// Pool is what the thin pool that lv is lies on.
func (a *Assembly) Pool(lv *metadata.LV) (Pool, error) {
	a.lock()
	defer a.unlock()
	choice := a.choices[lv].ThinPool
	m, meta, data, err := a.thinPoolParts(lv, choice)
	if err != nil {
		return Pool{}, err
	}
	return Pool{m.ChunkSize, meta, data, choice.Root == 0 && choice.Removed == nil}, nil
}

// thinPoolParts is the metadata and the data of the pool that an LV is.
func (a *Assembly) thinPoolParts(lv *metadata.LV, opts ThinPoolChoice) (m *metadata.ThinPool, meta, data mapping.Volume, err error) {
	if m, err = soleMapping[*metadata.ThinPool](lv); err != nil {
		return nil, nil, nil, err
	}
	if m.ChunkSize <= 0 {
		return nil, nil, nil, fmt.Errorf("%w: chunk_size = 0", metadata.ErrMetadata)
	}
	from := m.Metadata
	if opts.MetadataLV != "" {
		if from = a.vg.LV(opts.MetadataLV); from == nil {
			return nil, nil, nil, fmt.Errorf("%w: VG %s has no LV %q to read metadata from", metadata.ErrMetadata, a.vg.Name, opts.MetadataLV)
		}
	}
	if opts.Metadata != nil {
		meta = dm.Device(opts.Metadata, 0, opts.Metadata.Size())
	} else if meta, err = a.volume(from); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", from.Name, err)
	}
	if data, err = a.volume(m.Data); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", m.Data.Name, err)
	}
	return m, meta, data, nil
}
