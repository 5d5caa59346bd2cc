// Package ondisk reads what LVM2 keeps on a PV beside the data: the label, the PV
// header and the metadata areas. It goes from bytes to the metadata text, which package
// text reads.
// (docs/format/01-label-and-metadata-area.md)
//
// Functions here read and never write, and are safe for concurrent use. Every error of a
// structure names it and its byte offset on the device.
package ondisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// SectorSize is the size in bytes of a sector, whatever that of the device.
const SectorSize = 512

// Offsets and sizes in bytes of the structures, all little-endian.
// (docs/format/01-label-and-metadata-area.md, sections 2, 4 and 6)
const (
	labelSectors   = 4 // the label is in one of the first
	labelMagic     = 0
	labelSector    = 8
	labelCRC       = 16
	labelCRCStart  = 20 // the checksum covers all from here
	labelPVHeader  = 20 // where in the sector the PV header is
	labelType      = 24
	labelTypeEnd   = 32
	pvUUID         = 0
	pvDeviceSize   = 32
	pvLists        = 40
	uuidSize       = 32
	locnOffset     = 0
	locnAreaSize   = 8
	locnSize       = 16
	extVersion     = 0
	extFlags       = 4
	extLists       = 8
	flagInUse      = 0x1
	mdaCRC         = 0
	mdaCRCStart    = 4 // the checksum covers all from here
	mdaMagic       = 4
	mdaVersion     = 20
	mdaStart       = 24
	mdaSize        = 32
	mdaSlots       = 40
	mdaHeaderSize  = 512
	slotOffset     = 0
	slotTextSize   = 8
	slotCRC        = 16
	slotFlags      = 20
	slotSize       = 24
	flagIgnored    = 0x1
	labelMagicText = "LABELONE"
	labelTypeText  = "LVM2 001"
	mdaMagicText   = " LVM2 x[5A%r0N*>"
	knownVersion   = 1 // of the metadata area header
)

var (
	// ErrNoLabel: the device has no label in any of the places for it.
	ErrNoLabel = errors.New("no PV label")
	// ErrChecksum: a structure does not match its checksum.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrFormat: a structure holds what it must not hold, or lies where it cannot.
	ErrFormat = errors.New("invalid format")
)

// Area is a run of bytes of a PV.
type Area struct {
	Offset int64 // bytes from the start of the device
	Size   int64 // bytes; 0 of a data area is up to the end
}

// CRC is the checksum that LVM2 uses everywhere: CRC-32 with its own start value and
// without the inversions.
// (docs/format/01-label-and-metadata-area.md, section 3)
func CRC(b []byte) uint32 {
	const start = 0xf597a6cf
	return ^crc32.Update(^uint32(start), crc32.IEEETable, b)
}

// structure is the bytes of a structure, or the rest of a sector from one on.
type structure []byte

func (s structure) u64(off int) uint64 { return binary.LittleEndian.Uint64(s[off:]) }

func (s structure) u32(off int) uint32 { return binary.LittleEndian.Uint32(s[off:]) }

// size is a number of bytes, or a byte offset.
func (s structure) size(off int) (int64, error) {
	n := binary.LittleEndian.Uint64(s[off:])
	if n > math.MaxInt64 {
		return 0, fmt.Errorf("%w: %d bytes are more than 63 bits hold", ErrFormat, n)
	}
	return int64(n), nil
}

func checkCRC(stored uint32, b []byte) error {
	if computed := CRC(b); computed != stored {
		return fmt.Errorf("%w: %#08x stored, %#08x computed", ErrChecksum, stored, computed)
	}
	return nil
}
