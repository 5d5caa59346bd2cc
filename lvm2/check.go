package lvm2

import (
	"context"
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/assembly"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// Checker looks for what is wrong with LVs, by reading everything. A RAID or thin pool that several LVs lie on is verified
// once. It is for one goroutine.
//
// It has the VG assembled once more, by the same code and choices. For an array remembers which of its legs failed, and
// what a check finds must not change the health of LVs in use. Options.LegFailed is not told either.
type Checker struct {
	// Found is called for each finding. Its error ends the check.
	Found func(Finding) error
	// Progress, which may be nil, is told how many bytes of total are done of what is being read now: lv, or a RAID or
	// mirror beneath the LV that is checked. A RAID with legs that fail to read is read twice: first leg by leg, then as
	// the array.
	Progress func(lv *LV, done, total int64)
	// Contents, which may be nil, gives what is read of an LV in place of v, its bytes on the devices. It is for an LV
	// whose changes are kept elsewhere. What is beneath the LV is verified all the same.
	Contents func(lv *LV, v mapping.Volume) (mapping.Volume, error)

	assemblies map[*VG]*assembly.Assembly
	verified   map[*metadata.LV]CheckSummary // RAIDs, mirrors and thin pools
}

// Finding is one thing that is wrong.
type Finding struct {
	// LV is what offsets are of: the LV that was checked, or a RAID, mirror or thin pool beneath it.
	LV     *LV
	Offset int64 // bytes of LV
	Length int64 // bytes
	// Err says why bytes cannot be read: those of LV or, with Legs, those of the leg that is blamed.
	Err error
	// Metadata says that Err is about the metadata of LV, a thin pool. Offset and Length mean nothing then.
	Metadata bool
	// Legs is what is wrong with the legs of a RAID or mirror; nil for bytes of LV that cannot be read.
	Legs *raid.Finding
	// Places are where the first bytes of Legs.Places lie.
	Places []FindingPlace
}

// FindingPlace is a place on a device.
type FindingPlace struct {
	Device Device // nil if the leg says no place
	Offset int64  // bytes
}

// CheckSummary is the result of a check of an LV. All numbers but Faults are bytes.
type CheckSummary struct {
	Size       int64 // of the LV; 0 for one without contents of its own
	Lost       int64 // of the LV, that cannot be read
	Redundant  int64 // of the RAIDs and mirrors beneath
	Compared   int64 // of Redundant: those that are in sync, on legs that are there
	Differing  int64 // of legs, that contradict others
	Unreadable int64 // of legs, that fail to read
	Metadata   int64 // of thin pools beneath, in use
	Faults     int   // found in Metadata, or between it and what it says of itself
	// Uncompared is why not all of Redundant was compared, apart from what is Unreadable.
	Uncompared []error
	Err        error // why the LV, or one beneath, a leg, or a cache of one, cannot be opened; nil if it can be

	legs error // of Err: damaged superblocks and the like of legs that others make up for
}

// Good says whether nothing wrong was found. Bytes that could not be compared may still be wrong: see Uncompared.
func (s CheckSummary) Good() bool {
	return s.Lost == 0 && s.Differing == 0 && s.Unreadable == 0 && s.Faults == 0 && s.Err == nil
}

func (s *CheckSummary) add(other CheckSummary) {
	s.Redundant += other.Redundant
	s.Compared += other.Compared
	s.Differing += other.Differing
	s.Unreadable += other.Unreadable
	s.Metadata += other.Metadata
	s.Faults += other.Faults
	s.Uncompared = append(s.Uncompared, other.Uncompared...)
	s.Err = errors.Join(s.Err, other.Err)
}

// Check reads all of an LV, all legs of the RAIDs and mirrors beneath it, and all metadata of its thin pool. So it
// verifies every checksum on the way, compares legs and parity where they should agree, and counts what space maps count.
// Bytes that are out of sync, dirty, missing, stale or still to be rebuilt are read where that is possible, but not
// compared.
//
// Unreadable bytes are found by sectors of 512 bytes. After a mebibyte without a good sector, a piece that begins and
// ends with bad sectors is presumed lost. Check fails with the error of Found or ctx only; why an LV cannot be opened is
// in the summary.
func (c *Checker) Check(ctx context.Context, lv *LV) (CheckSummary, error) {
	var sum CheckSummary
	var arrays, pools []*metadata.LV
	lv.Through(func(seg *metadata.Segment) bool {
		switch seg.Mapping.(type) {
		case *metadata.RAID, *metadata.Mirror:
			if len(arrays) == 0 || arrays[len(arrays)-1] != seg.LV { // the segments of an LV come together
				arrays = append(arrays, seg.LV)
			}
		case *metadata.ThinPool:
			pools = append(pools, seg.LV)
		}
		return false
	})
	for _, array := range arrays {
		one, err := c.once(ctx, lv.VG.Of(array), c.array)
		if err != nil {
			return sum, err
		}
		if array == lv.LV {
			one.Err = one.legs // why it cannot be opened is told below
		}
		sum.add(one)
	}
	for _, pool := range pools {
		one, err := c.once(ctx, lv.VG.Of(pool), c.pool)
		if err != nil {
			return sum, err
		}
		if pool != lv.LV {
			one.Err = nil // it is why lv cannot be opened, which is told below
		}
		sum.add(one)
	}
	a := c.assembly(lv.VG)
	v, err := a.Contents(lv.LV)
	switch {
	case errors.Is(err, ErrNoContents):
		return sum, nil
	case err != nil:
		sum.Err = errors.Join(err, sum.Err)
		return sum, nil
	}
	sum.Size, sum.Err = v.Size(), errors.Join(sum.Err, a.CachesLost(lv.LV))
	r := contentsCheck{Checker: c, ctx: ctx, lv: lv, volume: v, mapped: a.IsArray(lv.LV) && sum.Unreadable == 0}
	if c.Contents != nil {
		if r.volume, err = c.Contents(lv, v); err != nil {
			sum.Err = errors.Join(err, sum.Err)
			return sum, nil
		}
		r.mapped = r.mapped && r.volume == v
	}
	err = r.run()
	sum.Lost = r.lost
	return sum, err
}

// assembly is what the LVs of a VG are opened with here. It is made as the VG's own is, but tells nobody.
func (c *Checker) assembly(vg *VG) *assembly.Assembly {
	if c.assemblies[vg] == nil {
		if c.assemblies == nil {
			c.assemblies = map[*VG]*assembly.Assembly{}
		}
		c.assemblies[vg] = vg.assembly.Apart()
	}
	return c.assemblies[vg]
}

// once verifies lv, unless that was done for another LV that lies on it.
func (c *Checker) once(ctx context.Context, lv *LV, verify func(context.Context, *LV) (CheckSummary, error)) (CheckSummary, error) {
	if done, ok := c.verified[lv.LV]; ok {
		return done, nil
	}
	sum, err := verify(ctx, lv)
	if err != nil {
		return sum, err
	}
	if c.verified == nil {
		c.verified = map[*metadata.LV]CheckSummary{}
	}
	c.verified[lv.LV] = sum
	return sum, nil
}

// array verifies a RAID or mirror.
func (c *Checker) array(ctx context.Context, lv *LV) (CheckSummary, error) {
	var sum CheckSummary
	a := c.assembly(lv.VG)
	if _, err := a.Contents(lv.LV); err != nil && !errors.Is(err, ErrNoContents) {
		sum.Err = err
	}
	for _, kept := range a.Arrays(lv.LV) {
		array, err := raid.New(kept.Config)
		if err != nil {
			sum.Err = errors.Join(sum.Err, err)
			continue
		}
		if kept.Redundant() {
			sum.Redundant += array.Size()
		}
		unreadable := false
		compared, err := array.Verify(ctx, raid.Verification{
			Found: func(f raid.Finding) error {
				if f.Problem == raid.Unreadable {
					unreadable = true
					sum.Unreadable += f.Length
				} else {
					sum.Differing += f.Length
				}
				return c.Found(finding(lv, kept, f))
			},
			Progress: func(done int64) { c.progress(lv, kept.Start+done, lv.Size()) },
		})
		sum.Compared += compared
		if err != nil {
			return sum, err
		}
		if kept.Redundant() && compared < array.Size() {
			sum.Uncompared = append(sum.Uncompared, kept.Uncompared...)
			if len(kept.Uncompared) == 0 && !unreadable {
				sum.Uncompared = append(sum.Uncompared, fmt.Errorf("%s: its bitmap or log says where legs may differ", lv.Name))
			}
		}
		for _, leg := range kept.Config.Legs {
			if assembly.Damaged(leg.Lost) {
				sum.legs = errors.Join(sum.legs, leg.Lost)
			}
		}
	}
	sum.Err = errors.Join(sum.Err, sum.legs)
	return sum, nil
}

func (c *Checker) progress(lv *LV, done, total int64) {
	if c.Progress != nil {
		c.Progress(lv, done, total)
	}
}

func finding(lv *LV, k assembly.Array, f raid.Finding) Finding {
	out := Finding{LV: lv, Length: f.Length, Err: f.Err, Legs: &f}
	for i := range f.Places {
		f.Places[i].Offset += k.Start
		var at FindingPlace
		p := f.Places[i]
		if e, err := k.Data[p.Leg].Map(p.LegOffset, f.Length); err == nil && e.Kind == mapping.Data {
			at = FindingPlace{e.Device, e.Offset}
		}
		out.Places = append(out.Places, at)
	}
	out.Offset = f.Places[max(f.Blamed, 0)].Offset
	return out
}

// contentsCheck reads the bytes of one LV.
type contentsCheck struct {
	*Checker
	ctx    context.Context
	lv     *LV
	volume mapping.Volume
	mapped bool // all that is mapped has been read already

	lost int64
	open *Finding // that may go on
}

const checkPiece = 1 << 20

func (r *contentsCheck) run() error {
	survey := mapping.NewSurvey(r.volume)
	buf := make([]byte, checkPiece)
	size := r.volume.Size()
	for off := int64(0); off < size; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		e, err := r.volume.Map(off, size-off)
		n := e.Length
		if err == nil && e.Kind == mapping.Missing {
			if err := r.add(off, n, e.Err); err != nil {
				return err
			}
		} else if err != nil || e.Kind != mapping.Zero && !r.mapped {
			if n, err = r.read(survey, buf, off, n, err); err != nil {
				return err
			}
		}
		off += n
		if !r.mapped {
			r.progress(r.lv, off, size)
		}
	}
	return r.close()
}

// read reads at most a piece from off, and returns how many bytes that were. The first n bytes are one run.
func (r *contentsCheck) read(survey *mapping.Survey, buf []byte, off, n int64, unmapped error) (int64, error) {
	most := min(r.volume.Size()-off, checkPiece-off%checkPiece)
	for unmapped == nil && n < most {
		e, err := r.volume.Map(off+n, most-n)
		if err != nil || e.Kind == mapping.Zero || e.Kind == mapping.Missing {
			most = n
			break
		}
		n += e.Length
	}
	var failure error
	survey.Read(buf[:most], off, func(at, n int64, err error) {
		if failure == nil {
			failure = r.add(at, n, err)
		}
	})
	return most, failure
}

// add takes bytes that cannot be read.
func (r *contentsCheck) add(off, n int64, err error) error {
	r.lost += n
	if r.open != nil && r.open.Offset+r.open.Length == off && errors.Is(err, ErrMissing) == errors.Is(r.open.Err, ErrMissing) {
		r.open.Length += n
		return nil
	}
	if err := r.close(); err != nil {
		return err
	}
	r.open = &Finding{LV: r.lv, Offset: off, Length: n, Err: err}
	return nil
}

func (r *contentsCheck) close() error {
	if r.open == nil {
		return nil
	}
	f := *r.open
	r.open = nil
	return r.Found(f)
}
