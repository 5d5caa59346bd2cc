package md

import (
	"fmt"
	"slices"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// DamagedError is the error of Find for a superblock that is there but cannot be believed. It wraps ErrDamaged.
type DamagedError struct {
	Claim Claim
	err   error
}

func (e *DamagedError) Error() string { return e.err.Error() }
func (e *DamagedError) Unwrap() error { return e.err }

// Claim is what a damaged superblock says. Each part of it may be what is damaged.
type Claim struct {
	Set        Set
	Created    uint64
	DataOffset int64
}

// DamagedMember is a device whose superblock is damaged.
type DamagedMember struct {
	Device mapping.Device
	Claim  Claim
}

// MayBelongTo says whether the device may be a member of the array of s.
func (d DamagedMember) MayBelongTo(s *Superblock) bool {
	set := s.Set()
	return d.Claim.Set == set || d.Claim.Set.Major == set.Major && d.Claim.Created != 0 && d.Claim.Created == s.Created
}

// suspect notes which places damaged members may have: those of disks that are in use by the newest superblock,
// and that no superblock is from.
func (a *assembler) suspect(members []Member) {
	for _, d := range a.Damaged {
		if d.MayBelongTo(a.super) {
			a.damaged = append(a.damaged, d)
		}
	}
	if len(a.damaged) == 0 {
		return
	}
	a.unknown = map[Role]bool{}
	for number, role := range a.super.Roles {
		found := slices.ContainsFunc(members, func(m Member) bool { return m.Super.Number == number })
		if role < 0 || int(role) >= a.disks || found {
			continue
		}
		a.unknown[role] = true
		if l := &a.legs[role]; l.Member == nil {
			l.doubted = true
		}
	}
}

// applyDamaged sees to damaged members. If the array could have gone on with them alone, then the superblocks that can
// be read may be older, and stale what they belong to, and only the damaged ones would say so. Copies then count only where they are the
// same everywhere; nothing of the sort can be said of parity.
// (docs/format/04-below-lvm.md, section 4.3)
func (a *assembler) applyDamaged(c *raid.Config) error {
	alone := func(g raid.Geometry) bool { return g.Survives(func(leg int) bool { return !a.unknown[Role(leg)] }) }
	if !alone(c.Geometry) && (c.Reshape == nil || !alone(c.Reshape.To)) {
		return nil
	}
	first := a.damaged[0].Device.Name()
	if c.Geometry.Level != raid.RAID1 || c.Reshape != nil {
		return fmt.Errorf("%w: the superblock of %s is damaged, and the others may be older: name only the right ones", ErrContradiction, first)
	}
	var rivals []mapping.Volume
	for _, d := range a.damaged {
		if d.Claim.DataOffset != a.super.DataOffset || d.Claim.DataOffset > d.Device.Size() {
			return fmt.Errorf("%w: the superblock of %s is damaged, and where its data begin is unknown: name only the right ones", ErrContradiction, d.Device.Name())
		}
		rivals = append(rivals, mapping.Section(d.Device, d.Claim.DataOffset, d.Device.Size()-d.Claim.DataOffset, d.Device.Name()))
	}
	for i := range c.Legs {
		if a.unknown[Role(i)] && len(rivals) > 0 {
			c.Legs[i].Rival, rivals = rivals[0], rivals[1:]
		}
	}
	if len(rivals) > 0 {
		return fmt.Errorf("%w: more devices with damaged superblocks than places, %s among them: name only the right ones", ErrContradiction, first)
	}
	a.warn("%s: the superblock of %s is damaged and might tell that the others are old: only what is the same on all can be read", a.super.ArrayName(), first)
	return nil
}
