package assembly

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

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
	covers int64 // bytes that the bitmap has to cover, as regions are counted
	lost   []int // legs that are not written
	parity bool
	supers [][]byte
	heads  [][]byte // of the bitmaps
	events uint64
	dirty  int // regions; while there are any, the superblocks say that the array is out of sync
	// untold says whether a leg that is lost has not failed by the superblocks.
	untold bool
}

// maxRAIDBits is more bytes than the bits of any bitmap of lvm2's have: it makes no more than 2 Mi regions.
const maxRAIDBits = 1 << 20

func (n *raidNotes) load() ([]byte, error) {
	n.supers, n.heads, n.dirty, n.untold = nil, nil, 0, false
	n.Offset = ondisk.RAIDBitmap + raid.BitsOffset
	var found []byte
	var failed [4]uint64
	for i, v := range n.Volumes {
		leg := n.Legs[i]
		b := make([]byte, ondisk.RAIDSuperblockSize)
		if _, err := v.ReadAt(b, 0); err != nil {
			return nil, fmt.Errorf("superblock of leg %d: %w", leg, err)
		}
		head := make([]byte, raid.BitsOffset)
		if _, err := v.ReadAt(head, ondisk.RAIDBitmap); err != nil {
			return nil, fmt.Errorf("bitmap of leg %d: %w", leg, err)
		}
		super, err := ondisk.ReadRAIDSuperblock(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("leg %d: %w", leg, err)
		}
		bitmap, err := raid.ReadBitmap(v, ondisk.RAIDBitmap, min(v.Size()-ondisk.RAIDBitmap, raid.BitsOffset+maxRAIDBits))
		if err != nil {
			return nil, fmt.Errorf("leg %d: %w", leg, err)
		}
		if i == 0 {
			failed = super.Failed
		}
		switch {
		case super.Resync != ondisk.All, super.Recovery != ondisk.All, super.Failed != failed, super.Reshaping, i > 0 && super.Events != n.events, !n.tells(super):
			// They were in order when they were judged; the kernel may have used the array meanwhile.
			return nil, fmt.Errorf("the superblock of leg %d is not that of an array in order", leg)
		case super.Events > math.MaxInt64:
			return nil, fmt.Errorf("the superblock of leg %d has %d events", leg, super.Events)
		case bitmap.Events < super.Events:
			return nil, fmt.Errorf("the bitmap of leg %d was not kept up", leg)
		case bitmap.SyncSize < n.covers:
			return nil, fmt.Errorf("the bitmap of leg %d covers %d bytes of %d", leg, bitmap.SyncSize, n.covers)
		case i > 0 && !(bytes.Equal(head, n.heads[0]) && bytes.Equal(bitmap.Regions.Bits, n.Bits)):
			return nil, errors.New("the bitmaps of its legs differ")
		}
		// Where a leg has failed, bits are what it lacks.
		if dirty, until := bitmap.Dirty(0, n.covers); (dirty || until < n.covers) && failed == [4]uint64{} {
			return nil, n.dirtyReason()
		}
		n.supers, n.heads = append(n.supers, b), append(n.heads, head)
		n.Region, n.Bits, n.events = bitmap.Regions.Size, bitmap.Regions.Bits, super.Events
		sum := sha256.Sum256(bitmap.Regions.Bits)
		found = append(append(append(found, b...), head...), sum[:]...)
	}
	return found, nil
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

func (n *raidNotes) dirtyReason() error {
	if n.parity && len(n.lost) > 0 {
		return errors.New("regions are marked as out of sync since a crash, and its parity is not to be trusted there while a leg is lost")
	}
	return errors.New("regions are marked as out of sync since a crash; lvchange --syncaction repair puts them right")
}

// Mark implements [raid.Log].
func (n *raidNotes) Mark(regions []int64) error {
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
	n := &raidNotes{covers: c.Geometry.LegSize, parity: c.Geometry.ParityLegs() > 0}
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
		case leg.behind:
			return fmt.Sprintf("leg %d has an older superblock than others", i)
		}
	}
	switch {
	case !c.Geometry.Survives(func(i int) bool { return !written(c.Legs[i]) }):
		return "too many legs are lost"
	case state.newest.Resync != ondisk.All:
		return "its legs are not in sync"
	case c.Geometry.ParityLegs() > 0 && seg.LV.HasStatus("NOTSYNCED"):
		return "its parity was never computed"
	case c.Geometry.Level != text.Level, c.Geometry.Layout != text.Layout, c.Geometry.Legs != text.Legs,
		text.Level != raid.RAID1 && c.Geometry.Chunk != text.Chunk:
		return "its superblocks and the metadata describe different arrays"
	}
	return ""
}
