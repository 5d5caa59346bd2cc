package md

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The superblock of version 0.90: 32-bit words in the byte order of the machine that made the array.
// (docs/format/04-below-lvm.md, section 4.2)
const (
	v090Major        = 1
	v090Minor        = 2
	v090Array        = 5 // and 13 to 15
	v090Created      = 6
	v090ArrayRest    = 13
	v090Level        = 7
	v090Size         = 8 // KiB
	v090Present      = 9
	v090Disks        = 10
	v090Written      = 32 // seconds
	v090State        = 33
	v090Active       = 34
	v090Working      = 35 // active ones and spares
	v090Failed       = 36 // places that nobody has
	v090Checksum     = 38
	v090Events       = 39 // the low half first; the other way round in big-endian ones
	v090CheckEvents  = 41
	v090Recovered    = 43 // sectors
	v090Layout       = 64
	v090Chunk        = 65 // bytes
	v090Descriptors  = 128
	v090DescriptorSz = 32
	v090MaxDisks     = 27
	v090This         = 992

	// Of a descriptor.
	diskNumber = 0
	diskMajor  = 1 // of the device file
	diskMinor  = 2
	diskRole   = 3
	diskState  = 4

	stateClean  = 1 << 0
	stateBitmap = 1 << 8

	diskFaulty      = 1 << 0
	diskActive      = 1 << 1
	diskSync        = 1 << 2
	diskRemoved     = 1 << 3
	diskWriteMostly = 1 << 9

	v090BitmapAt = 8 * sector // from the superblock
)

func order090(b []byte) binary.ByteOrder {
	if binary.BigEndian.Uint32(b) == magic {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func marked090(b []byte) bool {
	order := order090(b)
	minor := order.Uint32(b[4*v090Minor:])
	return order.Uint32(b) == magic && order.Uint32(b[4*v090Major:]) == 0 && (minor == 90 || minor == 91)
}

func decode090(b []byte, version string, off, size int64) (*Superblock, error) {
	order := order090(b)
	word := func(i int) uint32 { return order.Uint32(b[4*i:]) }
	double := func(i int) uint64 {
		if order == binary.ByteOrder(binary.BigEndian) {
			return uint64(word(i))<<32 | uint64(word(i+1))
		}
		return uint64(word(i+1))<<32 | uint64(word(i))
	}
	if got, want := checksum090(word), word(v090Checksum); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, not %08x", ErrDamaged, got, want)
	}
	if word(v090Minor) == 91 {
		return nil, fmt.Errorf("%w: a reshape is under way, a part of which may be in a backup file", ErrUnsupported)
	}

	var f fields
	s := &Superblock{
		Version: version,
		Offset:  off,
		Geometry: Geometry{
			Level:  Level(int32(word(v090Level))),
			Layout: word(v090Layout),
			Chunk:  int64(word(v090Chunk)),
			Disks:  f.disks(int64(word(v090Disks))),
		},
		Created:  uint64(word(v090Created)),
		Size:     int64(word(v090Size)) * 1024,
		Events:   double(v090Events),
		DataSize: off,
		Recovery: All,

		bigEndian: order == binary.ByteOrder(binary.BigEndian),
	}
	s.Array = array090(word)
	for i, at := range v090ArrayWords {
		copy(s.bitmapUUID[4*i:], b[4*at:4*at+4])
	}
	s.Roles = make([]Role, v090MaxDisks)
	for i := range s.Roles {
		s.Roles[i] = role090(word, v090Descriptors+v090DescriptorSz*i, s.Geometry)
	}
	s.Number = int(word(v090This + diskNumber))
	s.Role = role090(word, v090This, s.Geometry)
	// The members of this version have no identity but their number.
	s.UUID = UUID{byte(s.Number)}
	s.WriteMostly = word(v090This+diskState)&diskWriteMostly != 0
	if s.Number < 0 || s.Number >= v090MaxDisks {
		f.damaged("it is that of disk %d", s.Number)
	}
	switch {
	case word(v090State)&stateClean != 0:
		s.Resync = All
	case double(v090CheckEvents) == s.Events && word(v090Recovered) != math.MaxUint32:
		s.Resync = int64(word(v090Recovered)) * sector
	}
	if word(v090State)&stateBitmap != 0 {
		s.Bitmap = off + v090BitmapAt
	}
	if s.Geometry.Level > 0 && s.Size > off {
		f.damaged("members of %d bytes with a superblock at byte %d", s.Size, off)
	}
	f.data(s, size)
	return s, f.err
}

var v090ArrayWords = [4]int{v090Array, v090ArrayRest, v090ArrayRest + 1, v090ArrayRest + 2}

func array090(word func(i int) uint32) (array UUID) {
	for i, at := range v090ArrayWords {
		binary.BigEndian.PutUint32(array[4*i:], word(at))
	}
	return array
}

func claim090(b []byte) Claim {
	order := order090(b)
	word := func(i int) uint32 { return order.Uint32(b[4*i:]) }
	return Claim{Set: Set{array090(word), '0'}, Created: uint64(word(v090Created))}
}

// role090 is the role of the disk with the descriptor at a word. One that is active but not yet in
// sync is as good as a spare.
func role090(word func(int) uint32, at int, g Geometry) Role {
	state, role := word(at+diskState), word(at+diskRole)
	switch {
	case state&(diskFaulty|diskRemoved) != 0:
		return Faulty
	case state&(diskActive|diskSync) != diskActive|diskSync, role >= uint32(g.Disks):
		return Spare
	}
	return Role(role)
}

func checksum090(word func(i int) uint32) uint32 {
	var sum uint64
	for i := range superSize / 4 {
		if i != v090Checksum {
			sum += uint64(word(i))
		}
	}
	return uint32(sum) + uint32(sum>>32)
}

// words090 are the words of a little-endian superblock.
type words090 []byte

func (b words090) at(i int) uint32     { return binary.LittleEndian.Uint32(b[4*i:]) }
func (b words090) put(i int, v uint32) { binary.LittleEndian.PutUint32(b[4*i:], v) }

func put090(block []byte, s state) {
	b := words090(block)
	b.put(v090Written, uint32(s.now.Unix()))
	for _, i := range [2]int{v090Events, v090CheckEvents} {
		b.put(i, uint32(s.events))
		b.put(i+1, uint32(s.events>>32))
	}
	if s.inSync {
		b.put(v090State, b.at(v090State)|stateClean)
		b.put(v090Recovered, math.MaxUint32)
	} else {
		b.put(v090State, b.at(v090State)&^stateClean)
		b.put(v090Recovered, 0)
	}
	b.put(v090Checksum, checksum090(b.at))
}

// fail090 makes the descriptors of disks those of places that nobody has, and counts again, as the kernel does.
func fail090(block []byte, places []int) {
	b := words090(block)
	g := Geometry{Disks: int(b.at(v090Disks))}
	active, gone := 0, 0
	for i := range v090MaxDisks {
		at := v090Descriptors + v090DescriptorSz*i
		role := role090(b.at, at, g)
		switch {
		case role >= 0 && slices.Contains(places, int(role)):
			b.put(at+diskNumber, uint32(i))
			b.put(at+diskMajor, 0)
			b.put(at+diskMinor, 0)
			b.put(at+diskState, diskFaulty|diskRemoved)
			gone++
		case role >= 0:
			active++
		}
	}
	b.put(v090Present, b.at(v090Present)-uint32(gone))
	b.put(v090Working, b.at(v090Working)-uint32(gone))
	b.put(v090Active, uint32(active))
	b.put(v090Failed, uint32(g.Disks-active))
}

// align090 gives a superblock all that the newest says of the array.
func align090(b, newest []byte) { copy(b[:4*v090This], newest) }
