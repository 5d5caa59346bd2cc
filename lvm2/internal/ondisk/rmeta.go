package ondisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"lvm2fs/mapping"
)

// Each leg of a RAID has an rmeta LV beside its data. In it lie the superblock of dm-raid
// and, at RAIDBitmap, the write-intent bitmap of MD, which package raid reads.
// (docs/format/03-mapping-linear-striped-raid.md, section 7)

// Offsets in bytes of the superblock's fields, all little-endian.
const (
	rmetaMagic         = 0
	rmetaCompat        = 4
	rmetaDevices       = 8
	rmetaPosition      = 12
	rmetaEvents        = 16
	rmetaFailed        = 24
	rmetaRecovery      = 32
	rmetaResync        = 40
	rmetaLevel         = 48
	rmetaLayout        = 52
	rmetaChunk         = 56
	rmetaFlags         = 60
	rmetaReshape       = 64
	rmetaNewLevel      = 72
	rmetaNewLayout     = 76
	rmetaNewChunk      = 80
	rmetaDelta         = 84
	rmetaDataOffset    = 96
	rmetaNewDataOffset = 104
	rmetaLegSize       = 112
	rmetaFailedFrom64  = 120
	rmetaIncompat      = 144
	rmetaSize          = 512
	rmetaMagicValue    = 0x64526d44 // "DmRd"
	rmetaExtended      = 0x1        // of compat_features
	rmetaReshaping     = 0x1        // of flags
	rmetaBackwards     = 0x2
	rmetaBitmapMagic   = "bitm"
	// RAIDBitmap is the offset of the write-intent bitmap.
	RAIDBitmap = 4096
)

// ErrNoSuperblock: there is no superblock; the leg is new.
var ErrNoSuperblock = errors.New("no RAID superblock")

// All is an offset beyond every other: of a leg or array that is wholly in sync.
const All = math.MaxInt64

// RAIDSuperblock is what a leg of a RAID says of itself and of the array. Offsets and sizes
// are in bytes; All where the field says so.
type RAIDSuperblock struct {
	Devices  int // legs of the array; of a reshape, after it
	Position int // of this leg; Dropped if a reshape took it out
	Events   uint64
	Failed   [4]uint64 // bit i: leg i has failed, or is stale
	Recovery int64     // this leg is in sync below, from the data offset
	Resync   int64     // the array is in sync below: of a leg; for RAID10 of the array
	Geometry RAIDGeometry
	LegSize  int64 // used of the leg; not to be relied on, but the kernel refuses a leg with 0

	Reshaping       bool
	Backwards       bool
	ReshapePosition int64 // of the array
	New             RAIDGeometry
	DeltaDevices    int // legs after the reshape less those before
}

// RAIDGeometry is how a superblock describes a layout.
type RAIDGeometry struct {
	Level, Layout uint32 // numbers of MD
	ChunkSize     int64  // 0 for RAID1
	DataOffset    int64  // of a leg
}

// Dropped is the Position of a leg that is no longer part of the array.
const Dropped = -1

// HasFailed says whether the superblock lists leg i as failed or stale.
func (s *RAIDSuperblock) HasFailed(i int) bool {
	return i >= 0 && i < 64*len(s.Failed) && s.Failed[i/64]>>(i%64)&1 != 0
}

// ReadRAIDSuperblock reads the superblock at the start of an rmeta LV. It fails with
// ErrNoSuperblock where there never was one, with ErrFormat for one that makes no sense or has
// features unknown here, and with the error of r.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.1)
func ReadRAIDSuperblock(r io.ReaderAt) (*RAIDSuperblock, error) {
	b := make(structure, rmetaSize)
	if _, err := mapping.ReadFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("RAID superblock at byte 0: %w", err)
	}
	if b.u32(rmetaMagic) != rmetaMagicValue {
		return nil, noRAIDSuperblock(r, b)
	}
	s, err := decodeRAIDSuperblock(b)
	if err != nil {
		return nil, fmt.Errorf("RAID superblock at byte 0: %w", err)
	}
	return s, nil
}

// noRAIDSuperblock is ErrNoSuperblock for the zeros that LVM2 leaves for the kernel. With a bitmap behind them it is
// ErrFormat, since the kernel writes a bitmap after the superblock. The bitmap may be left over from an earlier use
// of the place; nothing tells that from an array whose superblock was lost.
func noRAIDSuperblock(r io.ReaderAt, b structure) error {
	if magic := b.u32(rmetaMagic); len(bytes.Trim(b, "\x00")) > 0 {
		return fmt.Errorf("RAID superblock at byte 0: %w: magic %#08x", ErrFormat, magic)
	}
	magic := make([]byte, len(rmetaBitmapMagic))
	if _, err := mapping.ReadFull(r, magic, RAIDBitmap); err == nil && string(magic) == rmetaBitmapMagic {
		return fmt.Errorf("RAID superblock at byte 0: %w: zeros, but there is a bitmap at byte %d", ErrFormat, RAIDBitmap)
	}
	return ErrNoSuperblock
}

func decodeRAIDSuperblock(b structure) (*RAIDSuperblock, error) {
	compat := b.u32(rmetaCompat)
	if compat&^rmetaExtended != 0 {
		return nil, fmt.Errorf("%w: compat_features %#x", ErrFormat, compat)
	}
	d := sectorDecoder{b: b}
	s := &RAIDSuperblock{
		Devices:         d.count(rmetaDevices),
		Position:        d.position(rmetaPosition),
		Events:          b.u64(rmetaEvents),
		Failed:          [4]uint64{b.u64(rmetaFailed)},
		Recovery:        d.bytes(rmetaRecovery),
		Resync:          d.bytes(rmetaResync),
		Geometry:        RAIDGeometry{Level: b.u32(rmetaLevel), Layout: b.u32(rmetaLayout), ChunkSize: int64(b.u32(rmetaChunk)) * SectorSize},
		LegSize:         All,
		ReshapePosition: All,
	}
	s.New = s.Geometry
	if compat&rmetaExtended == 0 {
		return s, d.err
	}
	if incompat := b.u32(rmetaIncompat); incompat != 0 {
		return nil, fmt.Errorf("%w: incompat_features %#x", ErrFormat, incompat)
	}
	for i := range s.Failed[1:] {
		s.Failed[1+i] = b.u64(rmetaFailedFrom64 + 8*i)
	}
	s.Geometry.DataOffset = d.bytes(rmetaDataOffset)
	s.LegSize = int64(min(b.u64(rmetaLegSize), math.MaxInt64/SectorSize) * SectorSize)
	s.ReshapePosition = d.bytes(rmetaReshape)
	// The kernel does not write the flags of a leg that it adds: they are whatever was
	// there before. Only the position tells that there is a reshape.
	flags := b.u32(rmetaFlags)
	s.Reshaping = flags&rmetaReshaping != 0 && s.ReshapePosition != All
	s.Backwards = s.Reshaping && flags&rmetaBackwards != 0
	s.New = RAIDGeometry{
		Level:      b.u32(rmetaNewLevel),
		Layout:     b.u32(rmetaNewLayout),
		ChunkSize:  int64(b.u32(rmetaNewChunk)) * SectorSize,
		DataOffset: d.bytes(rmetaNewDataOffset),
	}
	s.DeltaDevices = int(int32(b.u32(rmetaDelta)))
	if before := s.Devices - s.DeltaDevices; d.err == nil && (before < 1 || before > maxLegs) {
		d.err = fmt.Errorf("%w: %d legs, of which %d are new", ErrFormat, s.Devices, s.DeltaDevices)
	}
	return s, d.err
}

// RAIDSuperblockSize is the number of bytes of a superblock that are used.
const RAIDSuperblockSize = rmetaSize

// PutRAIDSync changes a superblock: how often the array has been updated, and below which byte of a leg, for
// RAID10 of the array, it is in sync; All for everywhere.
func PutRAIDSync(superblock []byte, events uint64, resync int64) {
	sectors := uint64(math.MaxUint64)
	if resync != All {
		sectors = uint64(resync / SectorSize)
	}
	binary.LittleEndian.PutUint64(superblock[rmetaEvents:], events)
	binary.LittleEndian.PutUint64(superblock[rmetaResync:], sectors)
}

// PutRAIDFailed notes in a superblock that a leg missed writes. A superblock has room for 256 legs.
func PutRAIDFailed(superblock []byte, leg int) {
	at := rmetaFailed + leg/8
	if leg >= 64 {
		at = rmetaFailedFrom64 + (leg-64)/8
	}
	superblock[at] |= 1 << (leg % 8)
}

// maxLegs is more than any array has.
const maxLegs = 1 << 12

// sectorDecoder reads fields in sectors, and keeps the first error.
type sectorDecoder struct {
	b   structure
	err error
}

func (d *sectorDecoder) bytes(off int) int64 {
	n := d.b.u64(off)
	if n == math.MaxUint64 {
		return All
	}
	if n > math.MaxInt64/SectorSize && d.err == nil {
		d.err = fmt.Errorf("%w: %d sectors are more than 63 bits of bytes hold", ErrFormat, n)
	}
	return int64(n) * SectorSize
}

func (d *sectorDecoder) count(off int) int {
	n := d.b.u32(off)
	if (n == 0 || n > maxLegs) && d.err == nil {
		d.err = fmt.Errorf("%w: %d legs", ErrFormat, n)
	}
	return int(n)
}

func (d *sectorDecoder) position(off int) int {
	n := d.b.u32(off)
	if n == math.MaxUint32 {
		return Dropped
	}
	if n > maxLegs && d.err == nil {
		d.err = fmt.Errorf("%w: leg %d", ErrFormat, n)
	}
	return int(n)
}
