package raid

import (
	"iter"

	"lvm2fs/mapping"
)

// StateLog is the [Log] of an array with superblocks, as dm-raid and MD have them, perhaps with write-intent bitmaps
// beside them. The kernel looks at the bitmap of an array only if the superblocks say that it is out of sync. So
// while a region is dirty they say that the array is in sync nowhere; the bitmap then limits what is resynced.
//
//	before the first is dirty  bitmaps: events + 1, dirty bits | flush | superblocks: events + 1, not in sync | flush
//	when none is any more      bitmaps: events + 2, clean bits | flush | superblocks: events + 2, in sync | flush
//
// The kernel would distrust a bitmap with fewer events than the superblocks. After a crash superblocks of one array
// may be an event apart; then the greater number counts.
//
// With a leg missing, the superblocks of the others say that it has failed, before anything else is written. The
// missing leg's own superblock still says that all is well, and must not be the newest after any crash. So the
// others are put enough events ahead of it; from each other they never differ by more than one. Dirty bits stay set:
// they list what that leg lacks.
//
// An array without bitmaps is one region: the log has no volumes, and one bit in memory.
// (docs/format/03-mapping-linear-striped-raid.md, sections 7.2 to 7.4; docs/format/04-below-lvm.md, section 4.8)
type StateLog struct {
	BitLog
	Supers Superblocks
	Array  *Array
	Covers int64 // bytes that a bitmap has to cover, as regions are counted
	Lost   []int // legs that are not written
	HeadAt int64 // of the bitmaps on the volumes
	LogState
}

// LogState is what was read from the disks of an array that nobody writes to.
type LogState struct {
	Heads  [][]byte // of the bitmaps
	Events uint64
	// Untold says whether a leg that is lost has not failed by the superblocks.
	Untold bool
	// Unsettled says whether a crash has left regions dirty, or superblocks that differ.
	Unsettled bool
	// Kept says that bits which are set tell of no crash: the superblocks are believed.
	Kept  bool
	dirty int // regions; while there are any, the superblocks say that the array is out of sync
}

// Superblocks are those beside the legs that are written.
type Superblocks interface {
	// Put changes all of them, on stable storage, to an array of so many events, that is in sync everywhere or nowhere.
	Put(events uint64, inSync bool) error
	// Fail makes all of them say that legs have failed. It takes effect with the next Put.
	Fail(legs []int)
}

// CrashEvents is how many events apart a crash may leave the superblocks, with a second one while the array was
// settled.
const CrashEvents = 2

// DirtyRuns are the runs of dirty regions: offset and length.
func (l *StateLog) DirtyRuns() iter.Seq2[int64, int64] {
	return func(yield func(off, length int64) bool) {
		regions := Regions{Size: l.Region, Bits: l.Bits}
		for off := int64(0); off < l.Covers; {
			dirty, length := regions.Dirty(off, l.Covers-off)
			if dirty && !yield(off, length) {
				return
			}
			off += length
		}
	}
}

// SettleMax bounds the bytes of each leg that are brought in sync before the first write, which waits for that. A crash
// leaves fewer. An array with more was never in sync.
const SettleMax = 4 << 30

// DirtySize is how many bytes the dirty regions have.
func (l *StateLog) DirtySize() (size int64) {
	for _, length := range l.DirtyRuns() {
		size += length
	}
	return size
}

// settle brings in sync what a crash has left dirty. The log stays as it is until all of that is on stable storage;
// then all legs get the same log.
func (l *StateLog) settle() error {
	for off, length := range l.DirtyRuns() {
		if l.Kept {
			break
		}
		if err := l.Array.Settle(off, length); err != nil {
			return err
		}
	}
	if err := l.Array.Settled(); err != nil {
		return err
	}
	l.clean()
	l.Events++
	if err := l.putHeads(); err != nil {
		return err
	}
	err := l.Each(func(w mapping.Writable) error {
		_, err := w.WriteAt(l.Bits, l.Offset)
		return err
	})
	if err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	if err := l.Supers.Put(l.Events, true); err != nil {
		return err
	}
	l.Unsettled = false
	return nil
}

// Settles implements [Settler].
func (l *StateLog) Settles() {}

// clean clears the bits of what the bitmap has to cover. With a leg lost, bits of bitmaps on disk stay: they list
// what it lacks.
func (l *StateLog) clean() {
	if len(l.Lost) > 0 && len(l.Heads) > 0 {
		return
	}
	for i := range (l.Covers-1)/l.Region + 1 {
		l.Bits[i/8] &^= 1 << (i % 8)
	}
}

// Mark implements [Log].
func (l *StateLog) Mark(regions []int64) error {
	if l.Unsettled {
		if err := l.settle(); err != nil {
			return err
		}
	}
	first := l.dirty == 0
	l.dirty += len(regions)
	if !first {
		return l.markBits(regions)
	}
	if l.Untold {
		if err := l.tellLost(); err != nil {
			return err
		}
	}
	l.Events++
	if err := l.putHeads(); err != nil {
		return err
	}
	if err := l.BitLog.Mark(regions); err != nil {
		return err
	}
	return l.Supers.Put(l.Events, false)
}

// markBits sets the bits of those regions that have none.
func (l *StateLog) markBits(regions []int64) error {
	known := Regions{Size: 1, Bits: l.Bits}
	var rest []int64
	for _, i := range regions {
		if set, _ := known.Dirty(i, 1); !set {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return l.BitLog.Mark(rest)
}

// tellLost notes on stable storage that legs are lost.
func (l *StateLog) tellLost() error {
	l.Supers.Fail(l.Lost)
	for range CrashEvents {
		l.Events++
		if err := l.putHeads(); err != nil {
			return err
		}
		if err := l.Sync(); err != nil {
			return err
		}
		if err := l.Supers.Put(l.Events, true); err != nil {
			return err
		}
	}
	l.Untold = false
	return nil
}

// Unmark implements [Log].
func (l *StateLog) Unmark(regions []int64) error {
	if len(l.Lost) == 0 {
		if err := l.BitLog.Unmark(regions); err != nil {
			return err
		}
	}
	if l.dirty -= len(regions); l.dirty > 0 {
		return nil
	}
	l.Events++
	if err := l.putHeads(); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	return l.Supers.Put(l.Events, true)
}

// Finish implements [Notes]. With the last mark gone, all is on stable storage.
func (l *StateLog) Finish() error { return nil }

// putHeads changes the bitmaps' number of events. They go with the bits to stable storage.
func (l *StateLog) putHeads() error {
	return l.PutBlocks(l.Heads, l.HeadAt, func(b []byte) {
		PutBitmapEvents(b, l.Events)
		if len(l.Lost) == 0 {
			PutBitmapCleared(b, l.Events-1)
		}
	})
}
