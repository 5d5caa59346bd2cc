package assembly

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// raidNotes are the superblocks and write-intent bitmaps of a RAID, one of each on every rmeta LV.
// (docs/format/03-mapping-linear-striped-raid.md, sections 7.2 to 7.4)
type raidNotes struct {
	raid.StateLog
	parity bool
	supers [][]byte
}

// maxRAIDBits bounds the bytes that the bits of a bitmap take. lvm2 makes at most 2 Mi regions, which take a quarter of it.
const maxRAIDBits = 1 << 20

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

// Load implements [raid.Notes].
func (n *raidNotes) Load() ([]byte, error) {
	n.supers, n.Bits, n.LogState = nil, nil, raid.LogState{}
	n.HeadAt, n.Offset = ondisk.RAIDBitmap, ondisk.RAIDBitmap+raid.BitsOffset
	var all []legNotes
	var found []byte
	for i := range n.Volumes {
		l, err := n.read(i)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		n.Events = max(n.Events, l.super.Events)
		n.supers, n.Heads = append(n.supers, l.block), append(n.Heads, l.head)
		sum := sha256.Sum256(l.bitmap.Regions.Bits)
		found = append(append(append(found, l.block...), l.head...), sum[:]...)
	}
	var joint *raid.Bitmap
	for i, l := range all {
		if err := n.judge(n.Legs[i], l, all[0]); err != nil {
			return nil, err
		}
		switch {
		case l.super.Events < n.Events: // its bitmap may be older too
		case joint == nil:
			joint = l.bitmap.Clone()
		case !bytes.Equal(joint.Regions.Bits, l.bitmap.Regions.Bits) && len(n.Lost) > 0, !joint.Join(l.bitmap):
			return nil, errors.New("the bitmaps of its legs differ")
		}
	}
	for i, l := range all {
		n.Unsettled = n.Unsettled || !bytes.Equal(l.bitmap.Regions.Bits, joint.Regions.Bits) || !bytes.Equal(l.head, all[0].head)
		if l.bitmap.SyncSize != joint.SyncSize || l.bitmap.Regions.Size != joint.Regions.Size {
			return nil, fmt.Errorf("the bitmap of leg %d is of other regions", n.Legs[i])
		}
	}
	if n.Unsettled && len(n.Lost) > 0 { // bits are what a leg lacks, so they cannot be cleared
		return nil, errors.New("the bitmaps of its legs differ, and a leg is lost")
	}
	n.Region, n.Bits = joint.Regions.Size, joint.Regions.Bits
	return found, n.judgeBits(all[0].super)
}

// judge is why what is noted beside a leg keeps the array from being written; nil if it does not.
func (n *raidNotes) judge(leg int, l, first legNotes) error {
	s := l.super
	agree := s.Events == n.Events && s.Resync == ondisk.All
	n.Unsettled = n.Unsettled || !agree
	switch {
	case s.Resync != ondisk.All && s.Resync != 0, s.Recovery != ondisk.All, s.Failed != first.super.Failed, s.Reshaping,
		n.Events-s.Events > raid.CrashEvents, !agree && len(n.Lost) > 0, !n.tells(s):
		// The superblocks were in order when the array was assembled. The kernel may have used it since.
		return fmt.Errorf("the superblock of leg %d is not that of an array in order", leg)
	case s.Events > math.MaxInt64:
		return fmt.Errorf("the superblock of leg %d has %d events", leg, s.Events)
	case l.bitmap.Events < s.Events:
		return fmt.Errorf("the bitmap of leg %d was not kept up", leg)
	case l.bitmap.SyncSize < n.Covers:
		return fmt.Errorf("the bitmap of leg %d covers %d bytes of %d", leg, l.bitmap.SyncSize, n.Covers)
	}
	return nil
}

// judgeBits is why the bits of its bitmaps keep the array from being written; nil if they do not. Where a leg has failed,
// they list what that leg lacks, and keep nobody from writing.
func (n *raidNotes) judgeBits(super *ondisk.RAIDSuperblock) error {
	if super.Failed != [4]uint64{} {
		return nil
	}
	dirty := n.DirtySize()
	switch {
	case dirty == 0:
	case len(n.Lost) > 0 && n.parity:
		return errors.New("regions are marked as out of sync since a crash, and its parity is not to be trusted there while a leg is lost")
	case len(n.Lost) > 0:
		return errors.New("regions are marked as out of sync since a crash, and a leg is lost")
	case dirty > raid.SettleMax:
		return fmt.Errorf("%d bytes are not in sync; lvchange --syncaction repair puts them right", dirty)
	default:
		n.Unsettled = true
	}
	return nil
}

// tells says whether a superblock names no leg as failed that is to be written. It notes whether a lost leg is one that
// the superblock does not name.
func (n *raidNotes) tells(super *ondisk.RAIDSuperblock) bool {
	for _, leg := range n.Legs {
		if super.HasFailed(leg) {
			return false
		}
	}
	for _, leg := range n.Lost {
		n.Untold = n.Untold || !super.HasFailed(leg)
	}
	return true
}

// Fail implements [raid.Superblocks].
func (n *raidNotes) Fail(legs []int) {
	for _, b := range n.supers {
		for _, leg := range legs {
			ondisk.PutRAIDFailed(b, leg)
		}
	}
}

// Put implements [raid.Superblocks].
func (n *raidNotes) Put(events uint64, inSync bool) error {
	resync := int64(0)
	if inSync {
		resync = ondisk.All
	}
	if err := n.PutBlocks(n.supers, 0, func(b []byte) { ondisk.PutRAIDSync(b, events, resync) }); err != nil {
		return err
	}
	return n.Sync()
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
	layers, reason := a.legLayers(m, c)
	if reason != "" {
		return newArrayWriting(array, nil, reason)
	}
	n := &raidNotes{parity: c.Geometry.ParityLegs() > 0}
	n.Array, n.Supers, n.Covers = array, n, c.Geometry.LegSize
	if c.Geometry.Level == raid.RAID10 {
		n.Covers = array.Size()
	}
	for i, leg := range m.Legs {
		if !written(c.Legs[i]) {
			n.Lost = append(n.Lost, i)
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
	w := newArrayWriting(array, n, "")
	w.layers = layers
	return w
}

// legLayers are the integrity layers of the legs that are written. reason is why one cannot be written, as a phrase.
func (a *Assembly) legLayers(m *metadata.RAID, c raid.Config) (layers []*dm.Checked, reason string) {
	for i, leg := range m.Legs {
		if !written(c.Legs[i]) {
			continue
		}
		layer, reason := a.writtenIntegrity(leg.Data)
		if reason != "" {
			return nil, fmt.Sprintf("leg %d: %s", i, reason)
		}
		if layer != nil {
			layers = append(layers, layer)
		}
	}
	return layers, ""
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

// cutOff says whether lvm2fs was cut off while it wrote the array: a superblock then says that it is in sync nowhere.
// Superblocks that differ are then those of before and after a step.
func cutOff(legs []raidLegState) bool {
	return slices.ContainsFunc(legs, func(leg raidLegState) bool { return leg.lost == nil && leg.super != nil && leg.super.Resync == 0 })
}
