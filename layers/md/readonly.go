package md

import (
	"errors"
	"fmt"
	"slices"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// An array whose superblocks have these features can be written. That of bad blocks is only set while there are
// some.
const writableFeatures = hasBitmap | hasBadBlocks | layoutOfRAID0

// prepareWriting finds out whether the array can be written, and how.
func (a *assembler) prepareWriting(array *Array) {
	w := &array.writing
	if w.reason = a.readOnly(); w.reason != nil {
		return
	}
	var ok bool
	if w.to, ok = array.volume.(mapping.Writable); !ok {
		w.reason = errors.New("which of two layouts it has is unknown")
		return
	}
	v, ok := array.volume.(*raid.Array)
	if !ok { // linear: all members are needed, and no superblock says that it is written
		return
	}
	var n raid.Notes
	if a.super.Geometry.Level != Level(raid.RAID0) {
		n = a.notes(v)
	}
	w.noted = raid.NewWriting(v, n, "")
	if reason := w.noted.ReadOnlyReason(); reason != "" {
		w.reason = errors.New(reason)
	}
}

// readOnly is why the array is not to be written, by what it was assembled from; nil if it may be.
// (docs/format/04-below-lvm.md, section 4.8)
func (a *assembler) readOnly() error {
	s := a.super
	switch {
	case s.Reshape != nil:
		return errors.New("it is being reshaped")
	case s.features&(hasPPL|hasSeveralPPLs) != 0:
		return errors.New("it has a partial parity log, which writing would make a lie")
	case s.features&clustered != 0:
		return errors.New("it belongs to a cluster")
	case s.bigEndian:
		return errors.New("its superblocks are those of a big-endian machine")
	case len(a.damaged) > 0:
		return fmt.Errorf("%s, whose superblock is damaged, may be a member", a.damaged[0].Device.Name())
	case a.unused != nil:
		return fmt.Errorf("a member is not used: %w", a.unused)
	}
	taken := map[Role]bool{}
	for _, r := range s.Roles {
		if r >= 0 && taken[r] {
			return fmt.Errorf("%s is being replaced", r)
		}
		taken[r] = true
	}
	for _, l := range a.legs {
		if l.Member == nil {
			continue
		}
		if err := l.readOnly(); err != nil {
			return fmt.Errorf("%s: %w", l.Device.Name(), err)
		}
	}
	return nil
}

// readOnly is why a member that is used cannot be written.
func (l leg) readOnly() error {
	s := l.Super
	_, writable := l.Device.(mapping.WritableDevice)
	switch {
	case !writable:
		return mapping.ErrNotWritable
	case !l.whole():
		return errors.New("it is being rebuilt")
	case len(l.bad) > 0:
		return errors.New("it has a list of bad blocks")
	case s.features&^writableFeatures != 0:
		return fmt.Errorf("its superblock has features %#x", s.features)
	}
	return s.roomy(l.Device.Size())
}

// used is where on the member the array keeps its bytes.
func (s *Superblock) used() span {
	size := s.DataSize
	if s.Geometry.Level > 0 {
		size = s.Size
	}
	return span{s.DataOffset, s.DataOffset + size}
}

// roomy says why the data of a member of size bytes would overwrite what else is on it.
func (s *Superblock) roomy(size int64) error {
	data := s.used()
	if data.end > size || s.Size > s.DataSize && s.Geometry.Level > 0 {
		return fmt.Errorf("its data would end at byte %d, which it has not room for", data.end)
	}
	for _, other := range []span{
		{s.Offset, s.Offset + superSize},
		{s.Bitmap, s.Bitmap + min(s.Bitmap, raid.BitsOffset)},
		{s.badBlocks.offset, s.badBlocks.offset + s.badBlocks.size},
	} {
		if data.start < other.end && other.start < data.end {
			return fmt.Errorf("its data would lie over what is at byte %d", other.start)
		}
	}
	return nil
}

// lost are the places that nobody has.
func (a *assembler) lost() (places []int) {
	for i, l := range a.legs {
		if l.Member == nil {
			places = append(places, i)
		}
	}
	return places
}

// hasAny says whether a superblock gives one of places to a disk.
func (s *Superblock) hasAny(places []int) bool {
	return slices.ContainsFunc(s.Roles, func(r Role) bool { return r >= 0 && slices.Contains(places, int(r)) })
}
