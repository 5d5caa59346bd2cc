package md

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// state is what the superblocks of an array say of its being written.
type state struct {
	events uint64
	inSync bool
	now    time.Time
}

// notes are the superblocks of the members in use, and the bitmaps if there are any.
// (docs/format/04-below-lvm.md, section 4.8)
type notes struct {
	raid.StateLog
	members []Member
	parity  bool
	version place

	supers [][]byte
	states []state // of the superblocks

	failing []int // legs, of which the next superblocks are to say that they have failed
}

// maxBits is more bytes than the bits of any internal bitmap that mdadm makes have.
const maxBits = 4 << 20

// crashEvents is how far apart in events a crash between writing superblocks may leave them. The kernel then still
// takes all members.
const crashEvents = 1

func (a *assembler) notes(array *raid.Array) *notes {
	n := &notes{parity: a.parity}
	i := slices.IndexFunc(places, func(p place) bool { return p.version == a.super.Version })
	n.version = places[i]
	n.Array, n.Supers, n.Lost, n.Covers = array, n, a.lost(), a.super.Size
	if a.super.Geometry.Level == Level(raid.RAID10) {
		n.Covers = array.Size()
	}
	for i, l := range a.legs {
		if l.Member == nil {
			continue
		}
		n.members, n.Legs = append(n.members, *l.Member), append(n.Legs, i)
	}
	return n
}

// Load implements [raid.Notes].
func (n *notes) Load() ([]byte, error) {
	n.supers, n.states, n.failing, n.Volumes, n.Bits, n.LogState = nil, nil, nil, nil, nil, raid.LogState{}
	var supers []*Superblock
	newest := 0
	var found []byte
	for i, m := range n.members {
		block, s, err := m.reread()
		if err != nil {
			return nil, err
		}
		supers, n.supers = append(supers, s), append(n.supers, block)
		n.states = append(n.states, state{events: s.Events, inSync: s.Resync == All})
		found = append(found, s.sum[:]...)
		if s.Events > supers[newest].Events {
			newest = i
		}
	}
	for i, s := range supers {
		if err := n.judge(n.members[i], s, supers[newest]); err != nil {
			return nil, fmt.Errorf("%s: %w", n.members[i].Device.Name(), err)
		}
	}
	n.Events = supers[newest].Events
	n.Untold = supers[newest].hasAny(n.Lost)
	for i, s := range supers {
		if s.Events < n.Events {
			n.Unsettled = true
			n.version.align(n.supers[i], n.supers[newest])
		}
	}
	dirty := supers[newest].Resync != All
	if supers[newest].Bitmap == 0 {
		n.withoutBitmap(dirty)
	} else {
		bits, err := n.loadBitmaps(supers, newest)
		if err != nil {
			return nil, err
		}
		found = append(found, bits...)
	}
	return found, n.judgeDirt(dirty)
}

// judge says why the array cannot be written, by the superblock of a member.
func (n *notes) judge(m Member, s, newest *Superblock) error {
	switch {
	case s.Array != m.Super.Array, s.Number != m.Super.Number, s.UUID != m.Super.UUID, !sameGeometry(s, m.Super), s.DataOffset != m.Super.DataOffset,
		s.role(s.Number) != m.Super.role(m.Super.Number), newest.role(s.Number) != s.role(s.Number):
		return errors.New("its superblock is another one by now")
	case s.Events+crashEvents < newest.Events, s.Events == newest.Events && !agree(s, newest), s.Recovery != All, s.Reshape != nil,
		s.features&^writableFeatures != 0:
		return errors.New("its superblock is not that of an array in order")
	case s.Resync != All && s.Resync != 0:
		return fmt.Errorf("a resync is done up to byte %d and no further", s.Resync)
	case s.Events > math.MaxInt64:
		return fmt.Errorf("its superblock has %d events", s.Events)
	case (s.Bitmap == 0) != (newest.Bitmap == 0):
		return errors.New("it has a bitmap and others have not, or the other way round")
	}
	bad, err := s.badBlocks.read(m.Device)
	if err == nil && len(bad) > 0 {
		err = errors.New("it has a list of bad blocks")
	}
	return err
}

// withoutBitmap makes the array one region, of which the superblocks alone tell.
func (n *notes) withoutBitmap(dirty bool) {
	n.Region, n.Bits = math.MaxInt64, []byte{0}
	if dirty {
		n.Bits[0] = 1
	}
}

// loadBitmaps reads the bitmaps, and gives a digest of them. A member with an older superblock may have an older
// bitmap too.
func (n *notes) loadBitmaps(supers []*Superblock, newest int) (found []byte, err error) {
	n.HeadAt, n.Offset = 0, raid.BitsOffset
	var all []*raid.Bitmap
	for i, s := range supers {
		m := n.members[i]
		bm, head, err := n.readBitmap(m, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Device.Name(), err)
		}
		room := raid.BitsOffset + int64(len(bm.Regions.Bits))
		n.Volumes = append(n.Volumes, mapping.Section(m.Device, s.Bitmap, room, m.Device.Name()).(mapping.Writable))
		n.Heads = append(n.Heads, head)
		all = append(all, bm)
		sum := sha256.Sum256(bm.Regions.Bits)
		found = append(append(found, head...), sum[:]...)
	}
	joint := all[newest].Clone()
	for i, bm := range all {
		switch {
		case bm.SyncSize != joint.SyncSize, bm.Regions.Size != joint.Regions.Size:
			return nil, fmt.Errorf("%s: its bitmap is of other regions", n.members[i].Device.Name())
		case supers[i].Events == n.Events:
			joint.Join(bm)
		}
	}
	for i, bm := range all {
		n.Unsettled = n.Unsettled || !bytes.Equal(bm.Regions.Bits, joint.Regions.Bits) || !bytes.Equal(n.Heads[i], n.Heads[0])
	}
	n.Region, n.Bits = joint.Regions.Size, joint.Regions.Bits
	return found, nil
}

func (n *notes) readBitmap(m Member, s *Superblock) (bm *raid.Bitmap, head []byte, err error) {
	room := min(m.Device.Size()-s.Bitmap, raid.BitsOffset+maxBits)
	if bm, err = raid.ReadBitmap(m.Device, s.Bitmap, room); err != nil {
		return nil, nil, err
	}
	head = make([]byte, raid.BitsOffset)
	if _, err := mapping.ReadFull(m.Device, head, s.Bitmap); err != nil {
		return nil, nil, err
	}
	bits, data := span{s.Bitmap, s.Bitmap + raid.BitsOffset + int64(len(bm.Regions.Bits))}, s.used()
	switch {
	case bm.UUID != s.bitmapUUID:
		return nil, nil, errors.New("its bitmap is that of another array")
	case bm.Events < s.Events:
		return nil, nil, errors.New("its bitmap was not kept up")
	case bm.Events > math.MaxInt64:
		return nil, nil, fmt.Errorf("its bitmap has %d events", bm.Events)
	case bm.SyncSize < n.Covers:
		return nil, nil, fmt.Errorf("its bitmap covers %d bytes of %d", bm.SyncSize, n.Covers)
	case data.start < bits.end && bits.start < data.end, s.Offset < bits.end && bits.start < s.Offset+superSize:
		return nil, nil, errors.New("its bitmap would lie over something else")
	}
	return bm, head, nil
}

// judgeDirt says why the array cannot be written because of what is not in sync. Superblocks that say that all is in
// sync are believed, as by the kernel, whatever bits are set: with all members there, these bits are left over.
func (n *notes) judgeDirt(dirty bool) error {
	size := n.DirtySize()
	if !dirty {
		n.Kept = true
		n.Unsettled = n.Unsettled || size > 0 && len(n.Lost) == 0
		return nil
	}
	n.Unsettled = true
	switch {
	case len(n.Lost) > 0 && n.parity:
		return errors.New("it was cut off while it was written, and its parity is not to be trusted while a member is lost")
	case size > raid.SettleMax:
		return fmt.Errorf("%d bytes are not known to be in sync; assembled by mdadm, it brings them in sync", size)
	}
	return nil
}

// Fail implements [raid.Superblocks].
func (n *notes) Fail(legs []int) { n.failing = legs }

// Put implements [raid.Superblocks]. It first brings superblocks that a crash has left behind to where the others
// are. So none ever is so far behind that the kernel would not take its member.
func (n *notes) Put(events uint64, inSync bool) error {
	newest := slices.MaxFunc(n.states, func(a, b state) int { return cmp.Compare(a.events, b.events) })
	behind := func(s state) bool { return s.events+crashEvents < events }
	if slices.ContainsFunc(n.states, behind) {
		if err := n.put(newest, behind); err != nil {
			return err
		}
	}
	return n.put(state{events: events, inSync: inSync}, func(state) bool { return true })
}

// put changes the superblocks that are in a state of some kind, on stable storage.
func (n *notes) put(to state, which func(state) bool) error {
	to.now = time.Now()
	var errs []error
	for i, m := range n.members {
		if !which(n.states[i]) {
			continue
		}
		if n.failing != nil {
			n.version.fail(n.supers[i], n.failing)
		}
		n.version.put(n.supers[i], to)
		w := m.Device.(mapping.WritableDevice)
		if _, err := w.WriteAt(n.supers[i], m.Super.Offset); err != nil {
			errs = append(errs, fmt.Errorf("superblock: %w", err))
			continue
		}
		n.states[i] = to
		// With a failed leg more than one sector of a superblock of version 0.90 changes. If the power goes, no more
		// than one superblock is to be torn.
		if n.failing != nil {
			errs = append(errs, w.Sync())
		}
	}
	n.failing = nil
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return n.flush()
}

// flush brings superblocks to stable storage, on all members at once.
func (n *notes) flush() error {
	log := raid.BitLog{Legs: n.Legs}
	for _, m := range n.members {
		log.Volumes = append(log.Volumes, mapping.Section(m.Device, 0, m.Device.Size(), m.Device.Name()).(mapping.Writable))
	}
	return log.Sync()
}
