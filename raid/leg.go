package raid

import (
	"fmt"
	"math"
	"sync/atomic"

	"lvm2fs/mapping"
)

// Leg is one of an array's legs, and how far it is to be trusted.
type Leg struct {
	// Volume is the leg's bytes; nil if the leg is lost or must not be used.
	Volume mapping.Volume
	// Lost says why there is no Volume. It wraps mapping.ErrMissing.
	Lost error
	// InSync is the number of bytes, from the data offset on, that the leg has in
	// common with the array: All unless it is being rebuilt.
	InSync int64
	// Stale says whether the leg's bytes at off, from the data offset, are old, and for
	// how many of max bytes that holds. Nil for a leg without such bytes.
	Stale func(off, max int64) (stale bool, n int64)
	// Gaps says whether parts of the leg are missing. It is read until the array is written for the first time. From
	// then on it counts as lost, because what is written does not go to it.
	Gaps bool
	// WriteMostly legs of a RAID1 are read only where others cannot be.
	WriteMostly bool
	// Behind legs, whose notes are older than those of others, are read only where others
	// cannot be. Where the array is not in sync the order of the legs counts and nothing else:
	// the kernel would bring the others in line with the first.
	Behind bool
	// Doubted legs have no Volume because what they say of themselves cannot be believed. The
	// kernel might take such a leg all the same, so where the array is not in sync no leg
	// behind it stands in for it.
	Doubted bool
	// Rival is what a doubted leg holds, if it may be newer than all others; nil if it is not.
	// Copies are read only where the leg that is chosen has the same bytes as every rival.
	Rival mapping.Volume
}

// All is the InSync of what is in sync to its end.
const All = math.MaxInt64

const endless = math.MaxInt64

var (
	errRebuilding = fmt.Errorf("%w: leg not rebuilt to here", mapping.ErrMissing)
	errStale      = fmt.Errorf("%w: leg out of sync here", mapping.ErrMissing)
	errGaps       = fmt.Errorf("%w: parts of the leg are missing, and the array has been written without it", mapping.ErrMissing)
	errEnd        = fmt.Errorf("%w: beyond the end of the leg", mapping.ErrMissing)
	errRival      = fmt.Errorf("%w: legs differ, and nothing says which is right", mapping.ErrMissing)
	errFault      = fmt.Errorf("%w: leg failed to read", mapping.ErrMissing)
)

// legs is the legs of one geometry: all its offsets are from base.
type legs struct {
	all    []Leg
	base   int64
	faults *faults
	locks  *ranges // of what is being written; see copies and rows for the unit
	// written says whether the array has been opened for writing.
	written *atomic.Bool
}

// out says whether leg i is not written.
func (l legs) out(i int) bool { return l.all[i].Volume == nil || l.all[i].Gaps }

// look says what leg i has at x, for at most max bytes: missing whatever cannot be used,
// otherwise the extent of the volume beneath.
func (l legs) look(i int, x, max int64, f *faults) mapping.Extent {
	leg := &l.all[i]
	missing := func(n int64, err error) mapping.Extent {
		return mapping.Extent{Kind: mapping.Missing, Length: min(max, n), Err: err}
	}
	if leg.Volume == nil {
		return missing(max, leg.Lost)
	}
	if leg.Gaps && l.written.Load() {
		return missing(max, errGaps)
	}
	if x >= leg.InSync {
		return missing(max, errRebuilding)
	}
	max = min(max, leg.InSync-x)
	if leg.Stale != nil {
		stale, n := leg.Stale(x, max)
		if stale {
			return missing(n, errStale)
		}
		max = n
	}
	off := l.base + x
	if off >= leg.Volume.Size() {
		return missing(max, errEnd)
	}
	max = min(max, leg.Volume.Size()-off)
	bad, n := f.find(i, off, max)
	if bad {
		return missing(n, errFault)
	}
	e, err := leg.Volume.Map(off, n)
	if err != nil {
		return missing(min(n, faultBlock), fmt.Errorf("%w: %w", errFault, err))
	}
	return e
}

// good says whether all of leg i in [x, x+n) can be used.
func (l legs) good(i int, x, n int64) bool {
	for n > 0 {
		e := l.look(i, x, n, l.faults)
		if e.Kind == mapping.Missing {
			return false
		}
		x, n = x+e.Length, n-e.Length
	}
	return true
}

// lost appends the ranges in [x, x+n) of leg i that cannot be used.
func (l legs) lost(i int, x, n int64, f *faults, into []span) []span {
	for end := x + n; x < end; {
		e := l.look(i, x, end-x, f)
		if e.Kind == mapping.Missing {
			if last := len(into) - 1; last >= 0 && into[last].end == x {
				into[last].end += e.Length
			} else {
				into = append(into, span{x, x + e.Length})
			}
		}
		x += e.Length
	}
	return into
}

// read reads p from x of leg i. It returns the number of good bytes; of fewer than all it
// has remembered the fault that follows them.
func (l legs) read(i int, p []byte, x int64, f *faults) (int, error) {
	off := l.base + x
	n, err := mapping.ReadFull(l.all[i].Volume, p, off)
	if err == nil {
		return n, nil
	}
	f.add(i, off+int64(n), err)
	return n, err
}
