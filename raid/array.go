package raid

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"lvm2fs/mapping"
)

// Config is all that New needs to know of an array.
type Config struct {
	Geometry Geometry
	// Reshape is the change of geometry that is under way; nil for none.
	Reshape *Reshape
	// Size is the number of bytes of the array, at most what its geometry gives; 0 for
	// all of it.
	Size int64
	Legs []Leg
	// InSync is the number of bytes below which the array is in sync: its copies equal,
	// its parity true. All for an array that is; 0 for one that never was. It counts
	// the bytes of a leg from the data offset on, for RAID10 those of the array.
	// Copies beyond are always read from the first leg that can be used, and parity
	// beyond is not believed.
	InSync int64
	// Dirty says whether a write may have been under way at off, counted as InSync is,
	// when the array was last in use, and for how many of max bytes that holds. What
	// is dirty is treated like what is beyond InSync. Nil for an array without dirty
	// regions, and for one with a leg that missed writes: there dirty regions are
	// what that leg missed, and in order on the others
	// (docs/format/03-mapping-linear-striped-raid.md, section 7.2).
	Dirty func(off, max int64) (dirty bool, n int64)
	// Block is the number of bytes that legs are written in: of less, they would have to read the rest, and fail to be
	// written where that cannot be read. The array reads it instead, from whichever leg has it. 0 for legs that can be
	// written by the byte. It divides the chunk.
	Block int64
	// OnError is told of each range of a leg that fails to read, once: n bytes at off
	// of the leg's Volume. The array reads round it. It is called by readers, perhaps
	// several at a time. May be nil.
	OnError func(leg int, off, n int64, err error)
}

// Reshape is the state of a change of geometry: from the Config's to To.
type Reshape struct {
	To Geometry
	// Position is the byte of the array up to which, or with Backwards from which on,
	// To is in force.
	Position  int64
	Backwards bool
}

// Array is an assembled array. It is safe for concurrent use.
type Array struct {
	size     int64
	parts    []part
	faults   *faults
	writing  atomic.Pointer[Intent] // nil: it is only read
	written  atomic.Bool            // it is or was written
	geometry Geometry
	block    int64
	blocks   ranges      // that are written
	settled  atomic.Bool // what was dirty is in sync now
}

// part is a run of an array's bytes with one mapping.
type part struct {
	start, end int64
	body       interface {
		// Offsets are from the start of the mapping, and within it.
		mapAt(off, max int64, f *faults) mapping.Extent
		readAt(p []byte, off int64) (int, error)
		batches(v *verifier, start, end int64) func(yield func(*batch) bool)
		members() legs
		writeAt(p []byte, off int64, t *Intent) (int, error)
		punch(off, n int64, t *Intent) error
		settle(x, n int64) error
	}
	origin int64 // of the mapping
}

// New assembles an array. It fails with ErrGeometry for one that cannot exist. Legs that
// are lost do not make it fail, however many they are.
func New(c Config) (*Array, error) {
	for i, leg := range c.Legs {
		if leg.Volume == nil && leg.Lost == nil {
			return nil, fmt.Errorf("raid: leg %d without a volume or a reason", i)
		}
	}
	size := int64(All)
	geometries := []Geometry{c.Geometry}
	if c.Reshape != nil {
		geometries = append(geometries, c.Reshape.To)
	}
	for _, g := range geometries {
		if err := g.check(); err != nil {
			return nil, err
		}
		if g.Legs > len(c.Legs) {
			return nil, fmt.Errorf("%w: %v with %d legs, of which %d are given", ErrGeometry, g.Level, g.Legs, len(c.Legs))
		}
		size = min(size, g.Size())
	}
	if c.Size < 0 || c.Size > size {
		return nil, fmt.Errorf("%w: %d bytes in a %v of %d", ErrGeometry, c.Size, c.Geometry.Level, size)
	}
	if c.Size != 0 {
		size = c.Size
	}

	f := newFaults(len(c.Legs), c.OnError)
	a := &Array{size: size, faults: f, geometry: c.Geometry, block: c.Block}
	if c.Reshape == nil {
		if err := a.add(c, c.Geometry, 0, size, f); err != nil {
			return nil, err
		}
		return a, nil
	}
	low, high := c.Reshape.To, c.Geometry
	if c.Reshape.Backwards {
		low, high = high, low
	}
	at := min(max(c.Reshape.Position, 0), size)
	if err := errors.Join(a.add(c, low, 0, at, f), a.add(c, high, at, size, f)); err != nil {
		return nil, err
	}
	return a, nil
}

// add appends the part of the array between start and end, which has geometry g.
func (a *Array) add(c Config, g Geometry, start, end int64, f *faults) error {
	if start == end {
		return nil
	}
	l := legs{all: c.Legs[:g.Legs], base: g.DataOffset, faults: f, locks: &ranges{}, written: &a.written}
	s := synced{c.InSync, a.dirty(c.Dirty)}
	switch {
	case g.Level == RAID1:
		a.parts = append(a.parts, part{start: start, end: end, body: &copies{l, s, raid1Layout{g.Legs}}})
	case g.Level == RAID10:
		t, err := newRAID10Layout(g)
		if err != nil {
			return err
		}
		a.parts = append(a.parts, part{start: start, end: end, body: &copies{l, s, t}})
	case g.LegSizes != nil:
		for _, z := range zonesOf(g) {
			if z.start >= end || z.end <= start {
				continue
			}
			l.base = g.DataOffset + z.base
			body := newRows(l, s, []row{raid0Row(z.legs)}, g.Chunk)
			a.parts = append(a.parts, part{max(start, z.start), min(end, z.end), body, z.start})
		}
	default:
		table, err := rowsOf(g)
		if err != nil {
			return err
		}
		a.parts = append(a.parts, part{start: start, end: end, body: newRows(l, s, table, g.Chunk)})
	}
	return nil
}

// dirty is what is dirty since writing failed, or else by what New was told.
func (a *Array) dirty(before func(off, max int64) (bool, int64)) func(off, max int64) (bool, int64) {
	return func(off, max int64) (bool, int64) {
		if t := a.writing.Load(); t != nil {
			dirty, n := t.dirty(off, max)
			if dirty {
				return true, n
			}
			max = n
		}
		if before == nil || a.settled.Load() {
			return false, max
		}
		return before(off, max)
	}
}

// Size is the number of bytes of the array.
func (a *Array) Size() int64 { return a.size }

func (a *Array) part(off int64) *part {
	for i := range a.parts {
		if off < a.parts[i].end {
			return &a.parts[i]
		}
	}
	return &a.parts[len(a.parts)-1]
}

// Map answers where bytes are; see [mapping.Volume].
func (a *Array) Map(off, max int64) (mapping.Extent, error) {
	p := a.part(off)
	e := p.body.mapAt(off-p.origin, min(max, p.end-off), a.faults)
	if e.Kind == mapping.Missing && a.faults.any.Load() {
		// It is there if a leg that failed does not fail again. Only ReadAt tries.
		if e = p.body.mapAt(off-p.origin, e.Length, a.faults.again()); e.Kind != mapping.Missing {
			e = mapping.Extent{Kind: mapping.Computed, Length: e.Length}
		}
	}
	return e, nil
}

// ReadAt reads whole or fails; see [mapping.Volume]. Bytes of legs that are lost or fail
// come from the others.
func (a *Array) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("raid: read at %d", off)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= a.size {
			return done, io.EOF
		}
		part := a.part(at)
		n := min(int64(len(p)-done), part.end-at)
		got, err := part.body.readAt(p[done:done+int(n)], at-part.origin)
		done += got
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
