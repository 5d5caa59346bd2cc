package md

import (
	"fmt"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// volume is what the legs make up.
func (a *assembler) volume() (mapping.Volume, int64, error) {
	var v mapping.Volume
	var err error
	switch a.super.Geometry.Level {
	case Linear:
		v, err = a.linear()
	case Level(raid.RAID0):
		v, err = a.striped()
	default:
		v, err = a.redundant()
	}
	if err != nil {
		return nil, 0, err
	}
	return v, v.Size(), nil
}

// data is what the array keeps on a leg, from the data offset of before a reshape or after it,
// whichever comes first, to the end of the member.
func (l leg) data(lead int64) mapping.Volume {
	from := l.Super.DataOffset - lead
	return mapping.Section(l.Device, from, max(0, l.Device.Size()-from), l.Device.Name())
}

// complete fails if a leg is not there: without redundancy the array does not start.
func (a *assembler) complete() error {
	return a.survives(raid.Geometry{Level: raid.RAID0, Legs: a.disks, Chunk: sector})
}

// config has the legs of an array whose geometry is still to be filled in. lead is how far before its
// data offset a leg begins.
func (a *assembler) config(lead int64) raid.Config {
	c := raid.Config{InSync: All}
	for _, l := range a.legs {
		if l.Member == nil {
			c.Legs = append(c.Legs, raid.Leg{Lost: l.lost, Doubted: l.doubted})
			continue
		}
		c.Legs = append(c.Legs, raid.Leg{
			Volume:      l.data(lead),
			InSync:      l.Super.Recovery,
			Stale:       stale(l.bad, l.Super.DataOffset),
			WriteMostly: l.Super.WriteMostly,
			Behind:      l.Super.Events < a.super.Events,
		})
	}
	if a.OnError != nil {
		c.OnError = func(i int, off, n int64, err error) {
			l := a.legs[i]
			a.OnError(l.Device, l.Super.DataOffset-lead+off, n, err)
		}
	}
	return c
}

// striped is raid0. Only where its members differ in size does it matter which of two layouts it has.
// (docs/format/04-below-lvm.md, section 4.5)
func (a *assembler) striped() (mapping.Volume, error) {
	if a.super.Reshape != nil {
		return nil, fmt.Errorf("%w: a reshape of a raid0 is under way", ErrUnsupported)
	}
	if err := a.complete(); err != nil {
		return nil, err
	}
	g := raid.Geometry{Level: raid.RAID0, Layout: a.RAID0Layout, Legs: a.disks, Chunk: a.super.Geometry.Chunk}
	if g.Chunk <= 0 {
		return nil, fmt.Errorf("%w: raid0 with chunks of %d bytes", ErrDamaged, g.Chunk)
	}
	for _, l := range a.legs {
		g.LegSizes = append(g.LegSizes, l.Super.DataSize)
	}
	if a.super.layoutTold {
		g.Layout = a.super.Geometry.Layout
		if g.Layout != raid.Original && g.Layout != raid.Alternate {
			return nil, fmt.Errorf("%w: raid0 layout %d", ErrUnsupported, g.Layout)
		}
	}
	with := func(layout uint32) (mapping.Volume, error) {
		c := a.config(0)
		c.Geometry = g
		c.Geometry.Layout = layout
		return raid.New(c)
	}
	if g.Layout != 0 {
		return with(g.Layout)
	}
	original, err := with(raid.Original)
	if err != nil || g.LayoutsAgree() {
		return original, err
	}
	alternate, err := with(raid.Alternate)
	if err != nil {
		return nil, err
	}
	unknown := fmt.Errorf("%s has members of different sizes and does not tell its layout: \"original\", as before Linux 3.14, or \"alternate\", as since then", a.super.ArrayName())
	a.warn("%w; what differs between the two cannot be read", unknown)
	return &agreed{original, alternate, fmt.Errorf("%w: %w", mapping.ErrMissing, unknown)}, nil
}

// redundant is the levels that can do without some of their members.
func (a *assembler) redundant() (mapping.Volume, error) {
	s := a.super
	geometry := func(g Geometry, offset int64) raid.Geometry {
		return raid.Geometry{
			Level: raid.Level(g.Level), Layout: g.Layout, Legs: g.Disks,
			Chunk: g.Chunk, DataOffset: offset, LegSize: s.Size,
		}
	}
	var before, after int64 // of the reshape: data offsets, in the legs
	if s.Reshape != nil {
		before, after = max(0, -s.Reshape.NewOffset), max(0, s.Reshape.NewOffset)
		for _, l := range a.legs {
			if l.Member != nil && l.Super.DataOffset < before {
				return nil, fmt.Errorf("%w: %s: data begins at byte %d and is to move by %d", ErrDamaged, l.Device.Name(), l.Super.DataOffset, s.Reshape.NewOffset)
			}
		}
	}
	c := a.config(before)
	c.Geometry = geometry(s.Geometry, before)
	if err := a.survives(c.Geometry); err != nil {
		return nil, err
	}
	if s.Reshape != nil {
		to := geometry(s.Reshape.To, after)
		if err := a.survives(to); err != nil {
			return nil, err
		}
		c.Reshape = &raid.Reshape{To: to, Position: s.Reshape.Position, Backwards: s.Reshape.Backwards}
	}
	a.applySync(&c)
	if err := a.applyDamaged(&c); err != nil {
		return nil, err
	}
	array, err := raid.New(c)
	a.parity = c.Geometry.ParityLegs() > 0
	return array, err
}

// applySync says where copies and parity can be believed. An array that was in use when it was cut off
// is in doubt, but if it has a bitmap, only where that says so.
// (docs/format/04-below-lvm.md, sections 4.3 and 4.4)
func (a *assembler) applySync(c *raid.Config) {
	c.InSync = a.super.Resync
	switch {
	case c.InSync == All:
		return
	case a.super.Reshape != nil: // in which of the two geometries would it count?
		c.InSync = 0
		return
	}
	if c.InSync == 0 { // it was cut off while it was written
		c.InSync, c.Dirty = All, everything
	}
	if a.super.Bitmap == 0 {
		return
	}
	bitmap, err := a.bitmap()
	if err != nil {
		a.warn("%s was not stopped in order, and its bitmap is of no use: %w", a.super.ArrayName(), err)
		return
	}
	c.Dirty = bitmap.Dirty
}

// everything says that all of an array is dirty.
func everything(_, max int64) (bool, int64) { return true, max }

// bitmap is what the bitmaps of all members say together.
func (a *assembler) bitmap() (*raid.Bitmap, error) {
	var joint *raid.Bitmap
	for _, l := range a.legs {
		if l.Member == nil || l.Super.Events != a.super.Events {
			continue
		}
		b, err := raid.ReadBitmap(l.Device, l.Super.Bitmap, l.Device.Size()-l.Super.Bitmap)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", l.Device.Name(), err)
		case b.UUID != l.Super.bitmapUUID:
			return nil, fmt.Errorf("%s: %w: it is that of another array", l.Device.Name(), raid.ErrBitmap)
		case b.Events < a.super.Events:
			return nil, fmt.Errorf("%s: %w: it has %d events, the array %d", l.Device.Name(), raid.ErrBitmap, b.Events, a.super.Events)
		case joint == nil:
			joint = b
		case !joint.Join(b):
			return nil, fmt.Errorf("%s: %w: it has other regions", l.Device.Name(), raid.ErrBitmap)
		}
	}
	if joint == nil {
		return nil, fmt.Errorf("%w: no member in use is as new as %s", raid.ErrBitmap, a.best.Device.Name())
	}
	return joint, nil
}
