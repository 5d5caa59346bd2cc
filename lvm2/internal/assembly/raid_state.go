package assembly

import (
	"errors"
	"fmt"
	"slices"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/raid"
)

// raidState is what the superblocks of a RAID's legs say, taken together: which leg can be
// trusted, and how far. It follows the kernel's logic, and is stricter where the kernel
// would guess.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.2)
type raidState struct {
	newest *ondisk.RAIDSuperblock // nil if no leg has one: the RAID has never been active
	at     int                    // the leg that it is from
	legs   []raidLegState
}

// raidLegState is what is known of one leg.
type raidLegState struct {
	super   *ondisk.RAIDSuperblock
	err     error // why there is no super
	rebuild bool  // lvm2 has asked for the leg to be rebuilt
	missing bool  // its data or its superblock is on a PV that is not there

	lost    error // why the leg must not be read; nil if it may be
	unknown bool  // it is lost because its superblock, which is there, cannot be read
	doubted bool  // it is lost because what its superblock says cannot be believed, or is unknown
	inSync  int64 // bytes that have been rebuilt
	behind  bool  // other legs have a newer superblock
}

// judge works out the state of a RAID from the superblocks of its legs. The legs in trusted
// are taken as good whatever the superblocks say, and what these legs say goes.
func judge(legs []raidLegState, trusted []int) (*raidState, error) {
	s := &raidState{legs: legs, at: -1}
	isTrusted := func(i int) bool { return slices.Contains(trusted, i) }
	for i, leg := range legs {
		if leg.super == nil {
			continue
		}
		first := s.newest == nil || isTrusted(i) && !isTrusted(s.at)
		if first || leg.super.Events > s.newest.Events && isTrusted(i) == isTrusted(s.at) {
			s.newest, s.at = leg.super, i
		}
	}
	for i := range legs {
		leg := &legs[i]
		leg.inSync = ondisk.All
		if isTrusted(i) {
			continue
		}
		if s.newest == nil {
			leg.lost = leg.judgeWithoutSuperblock(legs)
			continue
		}
		leg.judge(i, s.newest)
		if leg.super != nil && leg.super.Events == s.newest.Events && !agree(leg.super, s.newest) {
			leg.lost = fmt.Errorf("%w: legs %d and %d have superblocks with %d events that differ", ErrLegs, s.at, i, s.newest.Events)
			if !isTrusted(s.at) {
				return nil, leg.lost
			}
		}
		if leg.super != nil {
			leg.inSync = leg.super.Recovery
			leg.behind = leg.super.Events < s.newest.Events
		}
	}
	if s.newest == nil || isTrusted(s.at) {
		return s, nil
	}
	return s, s.contradicted()
}

// judge notes why leg i must not be read, by the newest of the superblocks.
func (leg *raidLegState) judge(i int, newest *ondisk.RAIDSuperblock) {
	switch {
	case newest.HasFailed(i):
		leg.lost = errors.New("it missed writes and is stale")
	case leg.super == nil && leg.rebuild && errors.Is(leg.err, ondisk.ErrNoSuperblock):
		leg.lost = errors.New("it is new and not yet built")
	case leg.super == nil:
		leg.lost = fmt.Errorf("its superblock cannot be read: %w", leg.err)
		leg.unknown = true
	case leg.super.Position == ondisk.Dropped:
		leg.lost = errors.New("it is no longer part of the array")
	case leg.super.Position != i:
		leg.lost = fmt.Errorf("its superblock is that of leg %d", leg.super.Position)
		leg.unknown = true
	case leg.super.Events < newest.Events && newest.Events-leg.super.Events > raid.CrashEvents:
		leg.lost = fmt.Errorf("its superblock has %d events, the newest %d", leg.super.Events, newest.Events)
		leg.doubted = true
	}
	leg.doubted = leg.doubted || leg.unknown
	if leg.missing { // the kernel does not ask it
		leg.unknown, leg.doubted = false, false
	}
}

// contradicted fails if one leg's superblock says that another leg missed writes, but that leg's own, which is no older,
// says that it is whole and nothing of the first. A leg is whole again only after it was rebuilt, and then the first
// would say so.
func (s *raidState) contradicted() error {
	for i, accuser := range s.legs {
		for j, leg := range s.legs {
			if accuser.super == nil || leg.super == nil || accuser.super.Position != i || leg.super.Position != j {
				continue
			}
			if accuser.super.HasFailed(j) && !leg.super.HasFailed(i) && !leg.super.HasFailed(j) && leg.super.Recovery == ondisk.All && leg.super.Events >= accuser.super.Events {
				return fmt.Errorf("%w: leg %d missed writes by the superblock of leg %d, and is whole by its own, which is no older", ErrLegs, j, i)
			}
		}
	}
	return nil
}

// mayBeOld says whether all legs whose superblocks can be read may be stale: a leg is there whose superblock cannot be
// read, and the array could have gone on without all the others.
func (s *raidState) mayBeOld(g raid.Geometry) bool {
	unknown := func(leg raidLegState) bool { return leg.unknown }
	return slices.ContainsFunc(s.legs, unknown) && g.Survives(func(i int) bool {
		return s.legs[i].super != nil && !s.legs[i].unknown
	})
}

// judgeWithoutSuperblock says why a leg must not be read where no leg has a superblock.
func (leg *raidLegState) judgeWithoutSuperblock(legs []raidLegState) error {
	for i, other := range legs {
		if !errors.Is(other.err, ondisk.ErrNoSuperblock) {
			return fmt.Errorf("no leg has a readable superblock; leg %d: %w", i, other.err)
		}
	}
	if leg.rebuild {
		return errors.New("it is new and not yet built")
	}
	return nil
}

// activates is why the kernel refuses to activate the RAID; nil if it does not. Some
// versions leave a size of 0 behind when they have reshaped a small RAID, and then do not
// accept it, unless a leg is missing.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.1)
func (s *raidState) activates() error {
	if !s.sizeless() || slices.ContainsFunc(s.legs, func(leg raidLegState) bool { return leg.missing }) {
		return nil
	}
	return fmt.Errorf("%w: the superblock of leg %d gives its size as 0", ErrNotActivated, s.at)
}

// sizeless says whether a superblock in use gives the size of its leg as 0.
func (s *raidState) sizeless() bool {
	return slices.ContainsFunc(s.legs, func(leg raidLegState) bool { return leg.lost == nil && leg.super != nil && leg.super.LegSize == 0 })
}

// incomplete says whether one of the legs that the array has by its superblocks is missing.
func (s *raidState) incomplete() bool {
	return s.newest != nil && slices.ContainsFunc(s.legs[:min(s.newest.Devices, len(s.legs))], func(leg raidLegState) bool { return leg.missing })
}

// agree says whether two superblocks describe the same state of the same array.
func agree(a, b *ondisk.RAIDSuperblock) bool {
	x, y := *a, *b
	x.Position, y.Position = 0, 0
	x.Recovery, y.Recovery = 0, 0
	x.LegSize, y.LegSize = 0, 0
	return x == y
}

// rebuilt says whether every leg is whole.
func (s *raidState) rebuilt() bool {
	return !slices.ContainsFunc(s.legs, func(leg raidLegState) bool { return leg.lost != nil || leg.inSync != ondisk.All })
}
