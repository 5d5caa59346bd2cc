package lvm2

import (
	"errors"
	"fmt"
	"slices"

	"lvm2fs/lvm2/internal/ondisk"
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

	lost   error // why the leg must not be read; nil if it may be
	inSync int64 // bytes that have been rebuilt
	behind bool  // other legs have a newer superblock
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
		leg.lost = leg.judge(i, s.newest)
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
	return s, nil
}

// judge says why leg i must not be read, by the newest of the superblocks.
func (leg *raidLegState) judge(i int, newest *ondisk.RAIDSuperblock) error {
	switch {
	case leg.super == nil && errors.Is(leg.err, ondisk.ErrNoSuperblock):
		return errors.New("it is new and not yet built")
	case leg.super == nil:
		return fmt.Errorf("its superblock cannot be read: %w", leg.err)
	case leg.super.Position == ondisk.Dropped:
		return errors.New("it is no longer part of the array")
	case newest.HasFailed(i):
		return errors.New("it missed writes and is stale")
	case leg.super.Position != i:
		return fmt.Errorf("its superblock is that of leg %d", leg.super.Position)
	case leg.super.Events < newest.Events && leg.super.Events+1 != newest.Events:
		// One behind is a crash between the writes of two superblocks.
		return fmt.Errorf("its superblock has %d events, the newest %d", leg.super.Events, newest.Events)
	}
	return nil
}

// judgeWithoutSuperblock says why a leg must not be read where no leg has a superblock.
func (leg *raidLegState) judgeWithoutSuperblock(legs []raidLegState) error {
	for i, other := range legs {
		if !errors.Is(other.err, ondisk.ErrNoSuperblock) {
			return fmt.Errorf("it is new, unless leg %d, whose superblock cannot be read, is so too: %w", i, other.err)
		}
	}
	if leg.rebuild {
		return errors.New("it is new and not yet built")
	}
	return nil
}

// activates is why the kernel refuses to activate the RAID; nil if it does not. Some
// versions leave a size of 0 behind when they have reshaped a small RAID, and then do not
// accept it.
func (s *raidState) activates() error {
	for i, leg := range s.legs {
		if leg.lost == nil && leg.super != nil && leg.super.LegSize == 0 {
			return fmt.Errorf("%w: the superblock of leg %d gives its size as 0", ErrNotActivated, i)
		}
	}
	return nil
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
