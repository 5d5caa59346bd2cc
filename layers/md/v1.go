package md

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The superblock of version 1. All fields are little-endian; sizes are in sectors.
// (docs/format/04-below-lvm.md, section 4.1)
const (
	v1Major         = 4
	v1Features      = 8
	v1Array         = 16
	v1Name          = 32
	v1NameEnd       = 64
	v1Created       = 64
	v1Level         = 72
	v1Layout        = 76
	v1Size          = 80
	v1Chunk         = 88
	v1Disks         = 92
	v1Bitmap        = 96 // signed, from the superblock
	v1NewLevel      = 100
	v1Reshape       = 104
	v1Delta         = 112 // signed
	v1NewLayout     = 116
	v1NewChunk      = 120
	v1NewOffset     = 124 // signed, from the data offset
	v1DataOffset    = 128
	v1DataSize      = 136
	v1SuperOffset   = 144
	v1Recovery      = 152
	v1Number        = 160
	v1UUID          = 168
	v1Flags         = 184
	v1BadShift      = 185
	v1BadSize       = 186
	v1BadOffset     = 188 // signed, from the superblock
	v1Written       = 192 // seconds
	v1Events        = 200
	v1Resync        = 208
	v1Checksum      = 216
	v1MaxRoles      = 220
	v1Roles         = 256
	v1LargestNumber = (superSize - v1Roles) / 2

	v1RoleSpare   = 0xffff
	v1RoleFaulty  = 0xfffe
	v1RoleJournal = 0xfffd
	v1RoleMax     = 0xff00

	v1WriteMostly = 1 // of the flags
)

// Bits of the feature map.
const (
	hasBitmap      = 1 << 0
	hasRecovery    = 1 << 1
	reshaping      = 1 << 2
	hasBadBlocks   = 1 << 3
	isReplacement  = 1 << 4
	backwards      = 1 << 5
	hasNewOffset   = 1 << 6
	recoveryBitmap = 1 << 7
	clustered      = 1 << 8
	hasJournal     = 1 << 9
	hasPPL         = 1 << 10
	hasSeveralPPLs = 1 << 11
	layoutOfRAID0  = 1 << 12

	knownFeatures = 1<<13 - 1
)

func marked1(b []byte) bool {
	return binary.LittleEndian.Uint32(b) == magic && binary.LittleEndian.Uint32(b[v1Major:]) == 1
}

func decode1(b []byte, version string, off, size int64) (*Superblock, error) {
	le := binary.LittleEndian
	u16 := func(at int) uint16 { return le.Uint16(b[at:]) }
	u32 := func(at int) uint32 { return le.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return le.Uint64(b[at:]) }

	if at := u64(v1SuperOffset); at != uint64(off/sector) {
		if version == "1.0" {
			return nil, nil // that of another device, which ends here too
		}
		return nil, fmt.Errorf("%w: it says that it is in sector %d", ErrDamaged, at)
	}
	n := u32(v1MaxRoles)
	if n > v1LargestNumber {
		return nil, fmt.Errorf("%w: %d roles", ErrDamaged, n)
	}
	if got, want := checksum1(b[:v1Roles+2*n]), u32(v1Checksum); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, not %08x", ErrDamaged, got, want)
	}
	features := u32(v1Features)
	if unknown := features &^ knownFeatures; unknown != 0 {
		return nil, fmt.Errorf("%w: features %#x", ErrUnsupported, unknown)
	}
	has := func(bits uint32) bool { return features&bits != 0 }

	var f fields
	s := &Superblock{
		Version: version,
		Offset:  off,
		Array:   UUID(b[v1Array:]),
		Created: u64(v1Created),
		Geometry: Geometry{
			Level:  Level(int32(u32(v1Level))),
			Layout: u32(v1Layout),
			Chunk:  f.bytes("a chunk", uint64(u32(v1Chunk))),
			Disks:  f.disks(int64(u32(v1Disks))),
		},
		Size:        f.bytes("the used size", u64(v1Size)),
		Events:      u64(v1Events),
		Resync:      f.offset("resync_offset", u64(v1Resync)),
		Number:      int(u32(v1Number)),
		UUID:        UUID(b[v1UUID:]),
		DataOffset:  f.bytes("data_offset", u64(v1DataOffset)),
		DataSize:    f.bytes("data_size", u64(v1DataSize)),
		Recovery:    All,
		Replacement: has(isReplacement),
		WriteMostly: b[v1Flags]&v1WriteMostly != 0,
		bitmapUUID:  [16]byte(b[v1Array:]),
		features:    features,
		journal:     has(hasJournal),
		layoutTold:  has(layoutOfRAID0),
	}
	s.Name, _, _ = strings.Cut(string(b[v1Name:v1NameEnd]), "\x00")
	for i := range n {
		s.Roles = append(s.Roles, roleOf(u16(v1Roles+2*int(i))))
	}
	s.Role = s.role(s.Number)
	if has(hasRecovery) && s.Role != Journal {
		s.Recovery = f.offset("recovery_offset", u64(v1Recovery))
	}
	if has(hasBitmap) && !has(hasPPL|hasSeveralPPLs) {
		s.Bitmap = f.at("the bitmap", off, int32(u32(v1Bitmap)), size)
	}
	if has(hasBadBlocks) {
		s.badBlocks = badBlockList{
			offset: f.at("the list of bad blocks", off, int32(u32(v1BadOffset)), size),
			size:   int64(u16(v1BadSize)) * sector,
			shift:  uint(b[v1BadShift]),
		}
	}
	if has(reshaping) && u64(v1Reshape) != math.MaxUint64 {
		to := Geometry{
			Level:  Level(int32(u32(v1NewLevel))),
			Layout: u32(v1NewLayout),
			Chunk:  f.bytes("a new chunk", uint64(u32(v1NewChunk))),
			Disks:  s.Geometry.Disks,
		}
		delta := int64(int32(u32(v1Delta)))
		s.Geometry.Disks = f.disks(int64(to.Disks) - delta)
		s.Reshape = &Reshape{
			To:        to,
			Position:  f.bytes("reshape_position", u64(v1Reshape)),
			Backwards: delta < 0 || delta == 0 && has(backwards),
		}
		if has(hasNewOffset) {
			s.Reshape.NewOffset = int64(int32(u32(v1NewOffset))) * sector
		}
	}
	f.data(s, size)
	return s, f.err
}

func claim1(b []byte) Claim {
	le := binary.LittleEndian
	var f fields
	c := Claim{
		Set:        Set{UUID(b[v1Array:]), '1'},
		Created:    le.Uint64(b[v1Created:]),
		DataOffset: f.bytes("data_offset", le.Uint64(b[v1DataOffset:])),
	}
	return c
}

func roleOf(n uint16) Role {
	switch {
	case n == v1RoleSpare:
		return Spare
	case n == v1RoleJournal:
		return Journal
	case n >= v1RoleMax:
		return Faulty
	}
	return Role(n)
}

// role is that of disk number n.
func (s *Superblock) role(n int) Role {
	if n < 0 || n >= len(s.Roles) {
		return Spare
	}
	return s.Roles[n]
}

// checksum1 adds up little-endian words, all but the checksum's own, and what is left at the end.
func checksum1(b []byte) uint32 {
	var sum uint64
	for i := 0; i+4 <= len(b); i += 4 {
		if i != v1Checksum {
			sum += uint64(binary.LittleEndian.Uint32(b[i:]))
		}
	}
	if len(b)%4 == 2 {
		sum += uint64(binary.LittleEndian.Uint16(b[len(b)-2:]))
	}
	return uint32(sum) + uint32(sum>>32)
}

func put1(b []byte, s state) {
	le := binary.LittleEndian
	le.PutUint64(b[v1Written:], uint64(s.now.Unix()))
	le.PutUint64(b[v1Events:], s.events)
	resync := uint64(0)
	if s.inSync {
		resync = math.MaxUint64
	}
	le.PutUint64(b[v1Resync:], resync)
	sum1(b)
}

// fail1 takes their places from the disks that have them, as the kernel does: the role that is left to them is that of a spare,
// which has to be built before it counts.
func fail1(b []byte, places []int) {
	le := binary.LittleEndian
	for i := range le.Uint32(b[v1MaxRoles:]) {
		role := b[v1Roles+2*i:]
		if slices.Contains(places, int(le.Uint16(role))) {
			le.PutUint16(role, v1RoleSpare)
		}
	}
}

// align1 gives a superblock the roles that the newest has.
func align1(b, newest []byte) {
	copy(b[v1MaxRoles:v1MaxRoles+4], newest[v1MaxRoles:])
	copy(b[v1Roles:], newest[v1Roles:])
}

func sum1(b []byte) {
	n := binary.LittleEndian.Uint32(b[v1MaxRoles:])
	binary.LittleEndian.PutUint32(b[v1Checksum:], checksum1(b[:v1Roles+2*n]))
}
