package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"lvm2fs/mapping"
)

const (
	blockSize  = 4096
	sectorSize = 512 // what a disk writes wholly or not at all

	areaBlocks = 1920 // whose states are what a sector has room for
	areaSize   = areaBlocks * blockSize
	placeSize  = 2 * areaSize
)

// state says where a block is.
type state uint8

const (
	inBase state = iota // as it was
	inSlot0
	inSlot1
	zeroed
)

func (s state) inSlot() bool { return s == inSlot0 || s == inSlot1 }

// other is the slot to write to while this state is on stable storage.
func (s state) other() state {
	if s == inSlot0 {
		return inSlot1
	}
	return inSlot0
}

// area is what the map says of an area. It does not change once others know it.
type area struct {
	place  int64 // of its two slots, counted from 1; 0: none yet
	states [areaBlocks / 4]byte
}

// untouched is an area without a sector in the file.
var untouched = &area{}

func (a *area) at(block int) state { return state(a.states[block/4] >> (block % 4 * 2) & 3) }

func (a *area) set(block int, s state) {
	shift := block % 4 * 2
	a.states[block/4] = a.states[block/4]&^(3<<shift) | byte(s)<<shift
}

// run is the end of the blocks from block on that are all in one state, at most limit.
func (a *area) run(block, limit int) int {
	s := a.at(block)
	four := byte(s) * 0x55
	for block++; block < limit; {
		switch {
		case block%4 == 0 && limit-block >= 4 && a.states[block/4] == four:
			block += 4
		case a.at(block) == s:
			block++
		default:
			return block
		}
	}
	return block
}

// layout is where things are in the file (docs/format/11, section 1).
//
//	0        4096                  dataStart
//	| header | map: sector of area 0, 1, ... | place 1: slot 0, slot 1 | place 2 ...
type layout struct {
	size      int64 // of the volume in bytes
	areaCount int64
	dataStart int64
	maxPlace  int64 // that has room in front of the largest offset
}

// layoutOf is without dataStart for a size that is too large.
func layoutOf(size int64) layout {
	l := layout{size: size, areaCount: (size-1)/areaSize + 1}
	if l.areaCount > (math.MaxInt64-2*headerSize)/sectorSize {
		return l
	}
	l.dataStart = (headerSize + l.areaCount*sectorSize + blockSize - 1) / blockSize * blockSize
	l.maxPlace = (math.MaxInt64 - l.dataStart) / placeSize
	return l
}

func (l layout) sector(area int64) int64 { return headerSize + area*sectorSize }

// blocks is the number of blocks of an area; the last one may be shorter.
func (l layout) blocks(area int64) int {
	return int((min(areaSize, l.size-area*areaSize) + blockSize - 1) / blockSize)
}

// slot is where a block is in the file.
func (l layout) slot(place int64, s state, block int) int64 {
	off := l.dataStart + (place-1)*placeSize + int64(block)*blockSize
	if s == inSlot1 {
		off += areaSize
	}
	return off
}

// A sector of the map (docs/format/11, section 3).
//
//	0    4       8      16      24             32
//	| crc | zeros | area | place | id, 8 bytes  | states, two bits a block ... 512
const statesAt = 32

func (a *area) encode(id fileID, index int64) []byte {
	le := binary.LittleEndian
	p := make([]byte, sectorSize)
	le.PutUint64(p[8:], uint64(index))
	le.PutUint64(p[16:], uint64(a.place))
	copy(p[24:32], id[:8])
	copy(p[statesAt:], a.states[:])
	putSum(p, sectorSum(p))
	return p
}

// sectorSum is the CRC-32C of what follows the sum.
func sectorSum(sector []byte) uint32 { return crc32.Checksum(sector[4:], castagnoli) }

func putSum(field []byte, sum uint32) { binary.LittleEndian.PutUint32(field, sum) }

var noSector [sectorSize]byte

// decode reads the sector of an area. One of zeros was never written.
func (l layout) decode(p []byte, id fileID, index int64) (*area, error) {
	if bytes.Equal(p, noSector[:]) {
		return untouched, nil
	}
	le := binary.LittleEndian
	switch {
	case le.Uint32(p) != sectorSum(p):
		return nil, errors.New("wrong checksum")
	case !bytes.Equal(p[24:32], id[:8]):
		return nil, errors.New("it is of another overlay")
	case le.Uint64(p[8:]) != uint64(index):
		return nil, fmt.Errorf("it is of area %d", le.Uint64(p[8:]))
	case le.Uint32(p[4:]) != 0:
		return nil, errors.New("unknown flags")
	case le.Uint64(p[16:]) > uint64(l.maxPlace):
		return nil, fmt.Errorf("its place %d is beyond what a file can have", le.Uint64(p[16:]))
	}
	a := &area{place: int64(le.Uint64(p[16:]))}
	copy(a.states[:], p[statesAt:])
	for b := 0; b < areaBlocks; {
		end := a.run(b, areaBlocks)
		switch s := a.at(b); {
		case s.inSlot() && a.place == 0:
			return nil, fmt.Errorf("block %d is in a slot, and it has none", b)
		case s != inBase && end > l.blocks(index):
			return nil, fmt.Errorf("block %d is behind the end of the volume", end-1)
		}
		b = end
	}
	return a, nil
}

// end is where in the file the last byte is that an area has in its slots.
func (l layout) end(a *area, index int64) (end int64) {
	start := index * areaSize
	for b := 0; b < l.blocks(index); {
		next := a.run(b, l.blocks(index))
		if s := a.at(b); s.inSlot() {
			length := min(int64(next)*blockSize, l.size-start) - int64(b)*blockSize
			end = max(end, l.slot(a.place, s, b)+length)
		}
		b = next
	}
	return end
}

func (o *Overlay) damagedArea(index int64, err error) error {
	return fmt.Errorf("%s: map sector of area %d at byte %d: %w: %w: %w", o.file.Name(), index, o.sector(index), ErrDamaged, err, mapping.ErrMissing)
}
