package assembly

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// raidNotes are the superblocks and write-intent bitmaps of a RAID, one of each on every rmeta LV.
//
// The kernel looks at the bitmap of an array only if the superblocks say that it is out of sync. So while
// a region is dirty they say that the array is in sync nowhere; the bitmap then limits what is resynced.
//
//	before the first is dirty  bitmaps: events + 1, dirty bits | flush | superblocks: events + 1, not in sync | flush
//	when none is any more      bitmaps: events + 2, clean bits | flush | superblocks: events + 2, in sync | flush
//
// A bitmap with fewer events than the superblocks would be distrusted; superblocks of one array may be an
// event apart after a crash, and then the greater number counts.
//
// Without a leg the superblocks of the others say that it has failed, before anything else is written. They are then
// so many events ahead that its own, which still says that all is well, is not the newest, whatever crash it may have
// been through; but they never differ from each other by more than one. Bits stay set: they are what the leg lacks.
// (docs/format/03-mapping-linear-striped-raid.md, sections 7.2 to 7.4)
type raidNotes struct {
	raid.BitLog
	array  *raid.Array
	covers int64 // bytes that the bitmap has to cover, as regions are counted
	lost   []int // legs that are not written
	parity bool
	supers [][]byte
	heads  [][]byte // of the bitmaps
	events uint64
	dirty  int // regions; while there are any, the superblocks say that the array is out of sync
	// untold says whether a leg that is lost has not failed by the superblocks.
	untold bool
	// unsettled says whether a crash has left regions dirty, or superblocks that differ.
	unsettled bool
}

// maxRAIDBits is more bytes than the bits of any bitmap of lvm2's have: it makes no more than 2 Mi regions.
const maxRAIDBits = 1 << 20

// settleMax is the number of bytes of dirty regions up to which they are brought in sync before the first write, which
// waits for it. After a crash there are fewer; an array with more was never in sync.
const settleMax = 4 << 30

// legNotes is what is noted beside one leg.
type legNotes struct {
	block, head []byte
	super       *ondisk.RAIDSuperblock
	bitmap      *raid.Bitmap
}

func (n *raidNotes) read(i int) (l legNotes, err error) {
	v, leg := n.Volumes[i], n.Legs[i]
	l.block, l.head = make([]byte, ondisk.RAIDSuperblockSize), make([]byte, raid.BitsOffset)
	if _, err := v.ReadAt(l.block, 0); err != nil {
		return l, fmt.Errorf("superblock of leg %d: %w", leg, err)
	}
	if _, err := v.ReadAt(l.head, ondisk.RAIDBitmap); err != nil {
		return l, fmt.Errorf("bitmap of leg %d: %w", leg, err)
	}
	if l.super, err = ondisk.ReadRAIDSuperblock(bytes.NewReader(l.block)); err != nil {
		return l, fmt.Errorf("leg %d: %w", leg, err)
	}
	room := min(v.Size()-ondisk.RAIDBitmap, raid.BitsOffset+maxRAIDBits)
	if l.bitmap, err = raid.ReadBitmap(v, ondisk.RAIDBitmap, room); err != nil {
		return l, fmt.Errorf("leg %d: %w", leg, err)
	}
	return l, nil
}

func (n *raidNotes) load() ([]byte, error) {
	n.supers, n.heads, n.Bits, n.events, n.dirty, n.untold, n.unsettled = nil, nil, nil, 0, 0, false, false
	n.Offset = ondisk.RAIDBitmap + raid.BitsOffset
	var all []legNotes
	var found []byte
	for i := range n.Volumes {
		l, err := n.read(i)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		n.events = max(n.events, l.super.Events)
		n.supers, n.heads = append(n.supers, l.block), append(n.heads, l.head)
		sum := sha256.Sum256(l.bitmap.Regions.Bits)
		found = append(append(append(found, l.block...), l.head...), sum[:]...)
	}
	var joint *raid.Bitmap
	for i, l := range all {
		if err := n.judge(n.Legs[i], l, all[0]); err != nil {
			return nil, err
		}
		switch {
		case l.super.Events < n.events: // its bitmap may be older too
		case joint == nil:
			joint = l.bitmap.Clone()
		case !bytes.Equal(joint.Regions.Bits, l.bitmap.Regions.Bits) && len(n.lost) > 0, !joint.Join(l.bitmap):
			return nil, errors.New("the bitmaps of its legs differ")
		}
	}
	for i, l := range all {
		n.unsettled = n.unsettled || !bytes.Equal(l.bitmap.Regions.Bits, joint.Regions.Bits) || !bytes.Equal(l.head, all[0].head)
		if l.bitmap.SyncSize != joint.SyncSize || l.bitmap.Regions.Size != joint.Regions.Size {
			return nil, fmt.Errorf("the bitmap of leg %d is of other regions", n.Legs[i])
		}
	}
	if n.unsettled && len(n.lost) > 0 { // bits are what a leg lacks, so they cannot be cleared
		return nil, errors.New("the bitmaps of its legs differ, and a leg is lost")
	}
	n.Region, n.Bits = joint.Regions.Size, joint.Regions.Bits
	return found, n.judgeBits(all[0].super)
}

// judge says why the array cannot be written, by what is noted beside a leg.
func (n *raidNotes) judge(leg int, l, first legNotes) error {
	s := l.super
	agree := s.Events == n.events && s.Resync == ondisk.All
	n.unsettled = n.unsettled || !agree
	switch {
	case s.Resync != ondisk.All && s.Resync != 0, s.Recovery != ondisk.All, s.Failed != first.super.Failed, s.Reshaping,
		n.events-s.Events > crashEvents, !agree && len(n.lost) > 0, !n.tells(s):
		// They were in order when they were judged; the kernel may have used the array meanwhile.
		return fmt.Errorf("the superblock of leg %d is not that of an array in order", leg)
	case s.Events > math.MaxInt64:
		return fmt.Errorf("the superblock of leg %d has %d events", leg, s.Events)
	case l.bitmap.Events < s.Events:
		return fmt.Errorf("the bitmap of leg %d was not kept up", leg)
	case l.bitmap.SyncSize < n.covers:
		return fmt.Errorf("the bitmap of leg %d covers %d bytes of %d", leg, l.bitmap.SyncSize, n.covers)
	}
	return nil
}

// judgeBits says why the array cannot be written, by the bits of its bitmaps. Where a leg has failed, they are what it
// lacks.
func (n *raidNotes) judgeBits(super *ondisk.RAIDSuperblock) error {
	if super.Failed != [4]uint64{} {
		return nil
	}
	dirty := int64(0)
	for _, length := range n.dirtyRuns() {
		dirty += length
	}
	switch {
	case dirty == 0:
	case len(n.lost) > 0 && n.parity:
		return errors.New("regions are marked as out of sync since a crash, and its parity is not to be trusted there while a leg is lost")
	case len(n.lost) > 0:
		return errors.New("regions are marked as out of sync since a crash, and a leg is lost")
	case dirty > settleMax:
		return fmt.Errorf("%d bytes are not in sync; lvchange --syncaction repair puts them right", dirty)
	default:
		n.unsettled = true
	}
	return nil
}

// dirtyRuns are the runs of dirty regions: offset and length.
func (n *raidNotes) dirtyRuns() iter.Seq2[int64, int64] {
	return func(yield func(off, length int64) bool) {
		regions := raid.Regions{Size: n.Region, Bits: n.Bits}
		for off := int64(0); off < n.covers; {
			dirty, length := regions.Dirty(off, n.covers-off)
			if dirty && !yield(off, length) {
				return
			}
			off += length
		}
	}
}

// settle brings in sync what a crash has left dirty. Until all of it is on stable storage, the notes stay as they are;
// then all legs get the same.
func (n *raidNotes) settle() error {
	for off, length := range n.dirtyRuns() {
		if err := n.array.Settle(off, length); err != nil {
			return err
		}
	}
	if err := n.array.Settled(); err != nil {
		return err
	}
	n.clean()
	n.events++
	if err := n.putHeads(); err != nil {
		return err
	}
	err := n.Each(func(w mapping.Writable) error {
		_, err := w.WriteAt(n.Bits, n.Offset)
		return err
	})
	if err != nil {
		return err
	}
	if err := n.Sync(); err != nil {
		return err
	}
	if err := n.putSupers(ondisk.All); err != nil {
		return err
	}
	n.unsettled = false
	return nil
}

// Settles implements [raid.Settler].
func (n *raidNotes) Settles() {}

// clean clears the bits of what the bitmap has to cover.
func (n *raidNotes) clean() {
	for i := range (n.covers + n.Region - 1) / n.Region {
		n.Bits[i/8] &^= 1 << (i % 8)
	}
}

// tells says whether the legs that have failed by a superblock are not written. It notes whether all those are named.
func (n *raidNotes) tells(super *ondisk.RAIDSuperblock) bool {
	for _, leg := range n.Legs {
		if super.HasFailed(leg) {
			return false
		}
	}
	for _, leg := range n.lost {
		n.untold = n.untold || !super.HasFailed(leg)
	}
	return true
}

// Mark implements [raid.Log].
func (n *raidNotes) Mark(regions []int64) error {
	if n.unsettled {
		if err := n.settle(); err != nil {
			return err
		}
	}
	first := n.dirty == 0
	n.dirty += len(regions)
	if !first {
		return n.markBits(regions)
	}
	if n.untold {
		if err := n.tellLost(); err != nil {
			return err
		}
	}
	n.events++
	if err := n.putHeads(); err != nil {
		return err
	}
	if err := n.BitLog.Mark(regions); err != nil {
		return err
	}
	return n.putSupers(0)
}

// markBits sets the bits of those regions that have none.
func (n *raidNotes) markBits(regions []int64) error {
	known := raid.Regions{Size: 1, Bits: n.Bits}
	var rest []int64
	for _, i := range regions {
		if set, _ := known.Dirty(i, 1); !set {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return n.BitLog.Mark(rest)
}

// tellLost notes on stable storage that legs are lost.
func (n *raidNotes) tellLost() error {
	for _, b := range n.supers {
		for _, leg := range n.lost {
			ondisk.PutRAIDFailed(b, leg)
		}
	}
	for range crashEvents {
		n.events++
		if err := n.putHeads(); err != nil {
			return err
		}
		if err := n.Sync(); err != nil {
			return err
		}
		if err := n.putSupers(ondisk.All); err != nil {
			return err
		}
	}
	n.untold = false
	return nil
}

// Unmark implements [raid.Log].
func (n *raidNotes) Unmark(regions []int64) error {
	if len(n.lost) == 0 {
		if err := n.BitLog.Unmark(regions); err != nil {
			return err
		}
	}
	if n.dirty -= len(regions); n.dirty > 0 {
		return nil
	}
	n.events++
	if err := n.putHeads(); err != nil {
		return err
	}
	if err := n.Sync(); err != nil {
		return err
	}
	return n.putSupers(ondisk.All)
}

// finish has nothing to do: with the last mark gone, all is on stable storage.
func (n *raidNotes) finish() error { return nil }

// putHeads changes the bitmaps' number of events. They go with the bits to stable storage.
func (n *raidNotes) putHeads() error {
	return n.put(n.heads, ondisk.RAIDBitmap, func(b []byte) {
		raid.PutBitmapEvents(b, n.events)
		if len(n.lost) == 0 {
			raid.PutBitmapCleared(b, n.events-1)
		}
	})
}

func (n *raidNotes) putSupers(resync int64) error {
	if err := n.put(n.supers, 0, func(b []byte) { ondisk.PutRAIDSync(b, n.events, resync) }); err != nil {
		return err
	}
	return n.Sync()
}

func (n *raidNotes) put(blocks [][]byte, off int64, change func(b []byte)) error {
	var errs []error
	for i, v := range n.Volumes {
		change(blocks[i])
		if _, err := v.WriteAt(blocks[i], off); err != nil {
			errs = append(errs, fmt.Errorf("leg %d: %w", n.Legs[i], err))
		}
	}
	return errors.Join(errs...)
}

// raidWriting is the state of a RAID.
func (a *Assembly) raidWriting(seg *metadata.Segment, m *metadata.RAID, text raid.Geometry, c raid.Config, state *raidState, array *raid.Array) *arrayWriting {
	if state == nil { // RAID0
		for i, leg := range c.Legs {
			if leg.Volume == nil || a.source.Partial(m.Legs[i].Data) {
				return newArrayWriting(array, nil, fmt.Sprintf("leg %d is lost", i))
			}
		}
		return newArrayWriting(array, nil, "")
	}
	if reason := a.raidReadOnly(seg, text, c, state); reason != "" {
		return newArrayWriting(array, nil, reason)
	}
	n := &raidNotes{array: array, covers: c.Geometry.LegSize, parity: c.Geometry.ParityLegs() > 0}
	if c.Geometry.Level == raid.RAID10 {
		n.covers = array.Size()
	}
	for i, leg := range m.Legs {
		if !written(c.Legs[i]) {
			n.lost = append(n.lost, i)
			continue
		}
		v, err := a.volume(leg.Meta)
		if err != nil {
			return newArrayWriting(array, nil, fmt.Sprintf("leg %d: %v", i, err))
		}
		w, ok := v.(mapping.Writable)
		if !ok {
			return newArrayWriting(array, nil, fmt.Sprintf("%s: %v", leg.Meta.Name, mapping.ErrNotWritable))
		}
		n.Volumes, n.Legs = append(n.Volumes, w), append(n.Legs, i)
	}
	return newArrayWriting(array, n, "")
}

// written says whether a leg is there to be written.
func written(leg raid.Leg) bool { return leg.Volume != nil && !leg.Gaps }

// raidReadOnly is why a RAID cannot be written, by its superblocks and the metadata, as a phrase.
func (a *Assembly) raidReadOnly(seg *metadata.Segment, text raid.Geometry, c raid.Config, state *raidState) string {
	switch {
	case len(a.choices[seg.LV].TrustLegs) > 0:
		return "legs to be trusted were named"
	case state.newest == nil:
		return "it has never been activated"
	case state.newest.Reshaping, c.Reshape != nil:
		return "it is being reshaped"
	case state.sizeless():
		return "a superblock gives the size of its leg as 0"
	}
	for i, leg := range state.legs {
		switch {
		case leg.lost != nil && (leg.missing || state.newest.HasFailed(i)): // it is written without
		case leg.lost != nil:
			return fmt.Sprintf("leg %d: %v", i, leg.lost)
		case c.Legs[i].Volume == nil:
			return fmt.Sprintf("leg %d is lost", i)
		case leg.inSync != ondisk.All:
			return fmt.Sprintf("leg %d is to be rebuilt", i)
		case leg.behind && !(state.rebuilt() && cutOff(state.legs)):
			return fmt.Sprintf("leg %d has an older superblock than others", i)
		}
	}
	switch {
	case !c.Geometry.Survives(func(i int) bool { return !written(c.Legs[i]) }):
		return "too many legs are lost"
	case state.newest.Resync != ondisk.All && c.InSync != raid.All, !state.rebuilt() && cutOff(state.legs):
		return "its legs are not in sync"
	case c.Geometry.ParityLegs() > 0 && seg.LV.HasStatus("NOTSYNCED"):
		return "its parity was never computed"
	case c.Geometry.Level != text.Level, c.Geometry.Layout != text.Layout, c.Geometry.Legs != text.Legs,
		text.Level != raid.RAID1 && c.Geometry.Chunk != text.Chunk:
		return "its superblocks and the metadata describe different arrays"
	}
	return ""
}

// cutOff says whether the array was being written, by lvm2fs, when it was cut off: a superblock says that it is in sync
// nowhere. Superblocks that differ are then those of before and after a step.
func cutOff(legs []raidLegState) bool {
	return slices.ContainsFunc(legs, func(leg raidLegState) bool { return leg.lost == nil && leg.super != nil && leg.super.Resync == 0 })
}
