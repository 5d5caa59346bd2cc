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
// (docs/format/03-mapping-linear-striped-raid.md, sections 7.2 to 7.4)
type raidNotes struct {
	raid.BitLog
	covers int64 // bytes that the bitmap has to cover, as regions are counted
	supers [][]byte
	heads  [][]byte // of the bitmaps
	events uint64
	dirty  int // regions; while there are any, the superblocks say that the array is out of sync
}

// maxRAIDBits is more bytes than the bits of any bitmap of lvm2's have: it makes no more than 2 Mi regions.
const maxRAIDBits = 1 << 20

func (n *raidNotes) load() ([]byte, error) {
	n.supers, n.heads, n.dirty = nil, nil, 0
	n.Offset = ondisk.RAIDBitmap + raid.BitsOffset
	var found []byte
	for i, v := range n.Volumes {
		b := make([]byte, ondisk.RAIDSuperblockSize)
		if _, err := v.ReadAt(b, 0); err != nil {
			return nil, fmt.Errorf("superblock of leg %d: %w", i, err)
		}
		head := make([]byte, raid.BitsOffset)
		if _, err := v.ReadAt(head, ondisk.RAIDBitmap); err != nil {
			return nil, fmt.Errorf("bitmap of leg %d: %w", i, err)
		}
		super, err := ondisk.ReadRAIDSuperblock(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("leg %d: %w", i, err)
		}
		bitmap, err := raid.ReadBitmap(v, ondisk.RAIDBitmap, min(v.Size()-ondisk.RAIDBitmap, raid.BitsOffset+maxRAIDBits))
		if err != nil {
			return nil, fmt.Errorf("leg %d: %w", i, err)
		}
		switch dirty, until := bitmap.Dirty(0, n.covers); {
		case super.Resync != ondisk.All, super.Recovery != ondisk.All, super.Failed != [4]uint64{}, super.Reshaping, i > 0 && super.Events != n.events:
			// They were in order when they were judged; the kernel may have used the array meanwhile.
			return nil, fmt.Errorf("the superblock of leg %d is not that of an array in order", i)
		case super.Events > math.MaxInt64:
			return nil, fmt.Errorf("the superblock of leg %d has %d events", i, super.Events)
		case bitmap.Events < super.Events:
			return nil, fmt.Errorf("the bitmap of leg %d was not kept up", i)
		case bitmap.SyncSize < n.covers:
			return nil, fmt.Errorf("the bitmap of leg %d covers %d bytes of %d", i, bitmap.SyncSize, n.covers)
		case dirty || until < n.covers:
			return nil, errors.New("regions are marked as out of sync since a crash; lvchange --syncaction repair puts them right")
		case i > 0 && !(bytes.Equal(head, n.heads[0]) && bytes.Equal(bitmap.Regions.Bits, n.Bits)):
			return nil, errors.New("the bitmaps of its legs differ")
		}
		n.supers, n.heads = append(n.supers, b), append(n.heads, head)
		n.Region, n.Bits, n.events = bitmap.Regions.Size, bitmap.Regions.Bits, super.Events
		sum := sha256.Sum256(bitmap.Regions.Bits)
		found = append(append(append(found, b...), head...), sum[:]...)
	}
	return found, nil
}

// Mark implements [raid.Log].
func (n *raidNotes) Mark(regions []int64) error {
	first := n.dirty == 0
	n.dirty += len(regions)
	if !first {
		return n.BitLog.Mark(regions)
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

// Unmark implements [raid.Log].
func (n *raidNotes) Unmark(regions []int64) error {
	if err := n.BitLog.Unmark(regions); err != nil {
		return err
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
	return n.put(n.heads, ondisk.RAIDBitmap, func(b []byte) { raid.PutBitmapEvents(b, n.events, n.events-1) })
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
			errs = append(errs, fmt.Errorf("leg %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// raidWriting is the state of a RAID.
func (a *Assembly) raidWriting(seg *metadata.Segment, m *metadata.RAID, text raid.Geometry, c raid.Config, state *raidState, array *raid.Array) *arrayWriting {
	if state == nil {
		return newArrayWriting(array, nil, "") // RAID0
	}
	if reason := a.raidReadOnly(seg, text, c, state); reason != "" {
		return newArrayWriting(array, nil, reason)
	}
	n := &raidNotes{covers: c.Geometry.LegSize}
	if c.Geometry.Level == raid.RAID10 {
		n.covers = array.Size()
	}
	for i, leg := range m.Legs {
		v, err := a.volume(leg.Meta)
		if err != nil {
			return newArrayWriting(array, nil, fmt.Sprintf("leg %d: %v", i, err))
		}
		w, ok := v.(mapping.Writable)
		if !ok {
			return newArrayWriting(array, nil, fmt.Sprintf("%s: %v", leg.Meta.Name, mapping.ErrNotWritable))
		}
		n.Volumes = append(n.Volumes, w)
	}
	return newArrayWriting(array, n, "")
}

// raidReadOnly is why a RAID cannot be written, by its superblocks and the metadata, as a phrase.
func (a *Assembly) raidReadOnly(seg *metadata.Segment, text raid.Geometry, c raid.Config, state *raidState) string {
	switch {
	case len(a.choices[seg.LV].TrustLegs) > 0:
		return "legs to be trusted were named"
	case state.newest == nil:
		return "it has never been activated"
	case state.newest.Reshaping, c.Reshape != nil:
		return "it is being reshaped"
	case state.newest.Failed != [4]uint64{}:
		return "a leg has failed"
	}
	for i, leg := range state.legs {
		switch {
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
