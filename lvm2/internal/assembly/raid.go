package assembly

import (
	"errors"
	"fmt"
	"math"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// raid is what a segment of one of the raid types shows.
func (a *Assembly) raid(seg *metadata.Segment, m *metadata.RAID) (mapping.Volume, error) {
	typ, ok := seg.RAIDType()
	if !ok {
		return nil, fmt.Errorf("%w: segment type %s", ErrUnsupported, seg.Type)
	}
	if m.DataCopies > 2 { // lvm2 writes 1 for a raid10 of two copies that is being reshaped
		return nil, fmt.Errorf("%w: %s with %d copies", ErrUnsupported, seg.Type, m.DataCopies)
	}
	c := raid.Config{InSync: raid.All}
	smallest := uint64(math.MaxUint64)
	for i, leg := range m.Legs {
		v, err := a.volume(leg.Data)
		if errors.Is(err, dm.ErrDevice) { // a device failed: try once more
			delete(a.volumes, leg.Data)
			v, err = a.volume(leg.Data)
		}
		if err != nil && (errors.Is(err, ErrUnsupported) || errors.Is(err, metadata.ErrMetadata)) {
			return nil, fmt.Errorf("leg %d: %s: %w", i, leg.Data.Name, err)
		}
		l := raid.Leg{Volume: v, InSync: raid.All, WriteMostly: leg.Data.HasStatus("WRITEMOSTLY")}
		if err != nil {
			l.Volume, l.Lost = nil, lostLeg(seg.LV, i, err)
		}
		if checked, ok := v.(*dm.Checked); ok {
			c.Block = max(c.Block, checked.BlockSize())
		}
		c.Legs = append(c.Legs, l)
		smallest = min(smallest, leg.Data.ExtentCount())
	}
	if seg.ReshapeCount >= smallest {
		return nil, fmt.Errorf("%w: reshape_count = %d in legs of %d extents", metadata.ErrMetadata, seg.ReshapeCount, smallest)
	}
	c.Geometry = raid.Geometry{
		Level:   typ.Level,
		Layout:  typ.Layout,
		Legs:    len(m.Legs),
		Chunk:   m.StripeSize,
		LegSize: int64(smallest-seg.ReshapeCount) * a.vg.ExtentSize,
	}
	size := int64(seg.DataExtents()) * a.vg.ExtentSize

	var state *raidState
	var dirty func(off, max int64) (bool, int64)
	text := c.Geometry
	if typ.Level != raid.RAID0 {
		var err error
		if state, dirty, err = a.applySuperblocks(seg, m, &c); err != nil {
			return nil, err
		}
	}
	capacity := c.Geometry.Size()
	if c.Reshape != nil { // until it is done, both geometries count
		capacity = min(capacity, c.Reshape.To.Size())
		size = min(size, capacity)
	}
	c.Size = min(size, capacity)
	array, err := a.array(seg, c)
	if err != nil {
		return nil, err
	}
	a.states.add(seg, a.raidWriting(seg, m, text, c, state, array))
	a.keep(seg, c, dirty)
	if size <= capacity || state != nil && (state.sizeless() || state.incomplete()) {
		return array, nil
	}
	// A reshape to fewer legs may be done but not yet acknowledged by lvm2. Then the kernel makes
	// a block device of the old size, whose end fails to read. Without one of the legs, or with
	// superblocks that give no size, it makes one of the new size.
	cut := dm.Missing(size-capacity, fmt.Errorf("%s: cut off by a reshape to fewer legs: %w", seg.LV.Name, ErrMissing))
	return dm.Concat([]mapping.Volume{array, cut}), nil
}

func lostLeg(lv *metadata.LV, leg int, why error) error {
	err := fmt.Errorf("%s: leg %d: %w", lv.Name, leg, why)
	if !errors.Is(err, ErrMissing) {
		err = fmt.Errorf("%w: %w", err, ErrMissing)
	}
	return err
}

// applySuperblocks lets the superblocks of the legs say what the array is and which legs hold it, because the kernel goes
// by them and not by the metadata text. It returns what they say, and what the write-intent bitmap says, even where
// readers need not care.
func (a *Assembly) applySuperblocks(seg *metadata.Segment, m *metadata.RAID, c *raid.Config) (state *raidState, dirty func(off, max int64) (bool, int64), err error) {
	legs := make([]raidLegState, len(m.Legs))
	for i, leg := range m.Legs {
		legs[i].rebuild = leg.Data.HasStatus("REBUILD") || leg.Meta != nil && leg.Meta.HasStatus("REBUILD")
		legs[i].super, legs[i].err = a.superblock(leg)
		legs[i].missing = a.source.Partial(leg.Data) || errors.Is(legs[i].err, ErrMissing)
	}
	trusted := a.choices[seg.LV].TrustLegs
	state, err = judge(legs, trusted)
	if err == nil && len(trusted) == 0 {
		err = state.activates()
	}
	if err != nil {
		return nil, nil, err
	}
	rivals := make([]mapping.Volume, len(state.legs))
	for i, leg := range state.legs {
		l := &c.Legs[i]
		if leg.lost != nil && l.Volume != nil {
			rivals[i] = l.Volume
			l.Volume, l.Lost, l.Doubted = nil, lostLeg(seg.LV, i, leg.lost), leg.doubted
		}
		l.InSync, l.Behind = leg.inSync, leg.behind
		l.Gaps = leg.missing && l.Volume != nil
	}
	copies := c.Geometry.Level == raid.RAID1 || c.Geometry.Level == raid.RAID10
	if state.newest == nil {
		c.InSync = 0
		return state, nil, nil
	}
	c.InSync = state.newest.Resync
	if copies && seg.LV.HasStatus("NOTSYNCED") {
		c.InSync = 0
	}
	var known bool
	dirty, known = a.dirty(m, state)
	// With a leg missing, dirty bits list what that leg lacks; the others agree there.
	if copies || state.rebuilt() && !a.source.Partial(seg.LV) {
		c.Dirty = dirty
	}
	// The kernel resyncs an array from the start where its bitmap is dirty, and nowhere else.
	if state.newest.Resync == 0 && known && c.InSync == 0 && !seg.LV.HasStatus("NOTSYNCED") {
		c.InSync, c.Dirty = raid.All, dirty
	}
	if err := applyGeometry(c, state.newest); err != nil {
		return nil, nil, err
	}
	if len(trusted) > 0 || !state.mayBeOld(c.Geometry) {
		return state, dirty, nil
	}
	if !copies {
		return nil, nil, fmt.Errorf("%w: a superblock cannot be read, and the others may be older", ErrLegs)
	}
	for i, leg := range state.legs {
		if leg.unknown {
			c.Legs[i].Rival = rivals[i]
		}
	}
	return state, dirty, nil
}

// applyGeometry takes over the geometry of a superblock.
func applyGeometry(c *raid.Config, s *ondisk.RAIDSuperblock) error {
	text := c.Geometry
	geometry := func(g ondisk.RAIDGeometry, legs int) raid.Geometry {
		return raid.Geometry{
			Level:      raid.Level(g.Level),
			Layout:     g.Layout,
			Legs:       legs,
			Chunk:      g.ChunkSize,
			DataOffset: g.DataOffset,
			LegSize:    text.LegSize,
		}
	}
	if !s.Reshaping {
		c.Geometry = geometry(s.Geometry, s.Devices)
	} else {
		c.Geometry = geometry(s.Geometry, s.Devices-s.DeltaDevices)
		c.Reshape = &raid.Reshape{To: geometry(s.New, s.Devices), Position: s.ReshapePosition, Backwards: s.Backwards}
	}
	if n := max(c.Geometry.Legs, s.Devices); n > len(c.Legs) {
		return fmt.Errorf("%w: superblock of %d legs, in a segment of %d", metadata.ErrMetadata, n, len(c.Legs))
	}
	return nil
}

// superblock reads the superblock of a leg.
func (a *Assembly) superblock(leg metadata.RAIDLeg) (*ondisk.RAIDSuperblock, error) {
	if leg.Meta == nil {
		return nil, errors.New("it has no rmeta LV")
	}
	v, err := a.volume(leg.Meta)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", leg.Meta.Name, err)
	}
	s, err := again(func() (*ondisk.RAIDSuperblock, error) { return ondisk.ReadRAIDSuperblock(v) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", leg.Meta.Name, err)
	}
	return s, nil
}

// dirty says where a bitmap of the legs in use has writes that may not have been finished. It is everywhere if one of the
// bitmaps is of no use.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.3)
func (a *Assembly) dirty(m *metadata.RAID, s *raidState) (dirty func(off, max int64) (bool, int64), known bool) {
	everything := func(_, max int64) (bool, int64) { return true, max }
	var joint *raid.Bitmap
	for i, leg := range s.legs {
		if i != s.at && (leg.lost != nil || leg.missing || leg.super == nil || leg.super.Events < s.newest.Events) {
			continue
		}
		bm, err := a.bitmap(m.Legs[i].Meta)
		if err != nil || bm.Events < s.newest.Events || joint != nil && !joint.Join(bm) {
			return everything, false
		}
		if joint == nil {
			joint = bm
		}
	}
	return joint.Dirty, true
}

// bitmap reads the write-intent bitmap of a leg.
func (a *Assembly) bitmap(meta *metadata.LV) (*raid.Bitmap, error) {
	v, err := a.volume(meta)
	if err != nil {
		return nil, err
	}
	return again(func() (*raid.Bitmap, error) {
		return raid.ReadBitmap(v, ondisk.RAIDBitmap, v.Size()-ondisk.RAIDBitmap)
	})
}
