package vdisk

import (
	"bytes"
	"encoding/binary"
	"math"

	"lvm2fs/mapping"
)

// VHD. Integers are big-endian. A footer of 512 bytes ends the file, and begins it too
// unless the disk is fixed. A table (BAT) has one u32 for each block of the disk: the sector
// of the file where the block's bitmap of sectors is, behind which are the sectors.
const (
	vhdFooterSize  = 512
	vhdMagic       = "conectix"
	vhdHeaderPlace = 16 // u64, bytes
	vhdMade        = 24 // u32, seconds from 2000 on
	vhdSize        = 48 // u64, bytes
	vhdType        = 60 // u32
	vhdChecksum    = 64 // u32
	vhdID          = 68 // 16
	vhdFixed       = 2
	vhdDynamic     = 3
	vhdDiffering   = 4

	vhdHeaderSize     = 1024
	vhdHeaderMagic    = "cxsparse"
	vhdTable          = 16 // u64, bytes
	vhdEntries        = 28 // u32
	vhdBlockSize      = 32 // u32
	vhdHeaderChecksum = 36 // u32
	vhdMaxBlock       = 256 << 20
	vhdUnused         = 0xffffffff
)

type vhd struct {
	tables  *table
	opened  []byte // the footer, when it was opened
	header  int64  // bytes from the start of the file
	entries int64  // of the table
	bytes   int64
	table   int64 // bytes from the start of the file
	block   int64 // bytes
	differs bool  // from the disk beneath
	moved   bool  // the footer is still to be written at the end
	beneath mapping.Volume
}

// vhdFooter returns the footer, or the copy of it at the start; nil if neither is there.
func vhdFooter(dev mapping.Device) ([]byte, error) {
	for _, off := range []int64{dev.Size() - vhdFooterSize, 0} {
		if yes, err := hasAt(max(off, 0), vhdMagic)(dev); err != nil || !yes {
			if err != nil {
				return nil, err
			}
			continue
		}
		b := make([]byte, vhdFooterSize)
		if dev.Size() < vhdFooterSize {
			continue
		}
		if _, err := mapping.ReadFull(dev, b, off); err != nil {
			return nil, err
		}
		if vhdSum(b, vhdChecksum) {
			return b, nil
		}
	}
	return nil, nil
}

// vhdSum verifies a checksum: the sum of all other bytes, inverted.
func vhdSum(b []byte, place int) bool {
	sum := uint32(0)
	for i, c := range b {
		if i < place || i >= place+4 {
			sum += uint32(c)
		}
	}
	return ^sum == binary.BigEndian.Uint32(b[place:])
}

// isVHD wants a footer with a good checksum at the end: the last sector of a disk can hold
// anything. One with its copy at the start is an image all the same.
func isVHD(dev mapping.Device) (bool, error) {
	b, err := vhdFooter(dev)
	if b != nil || err != nil {
		return b != nil, err
	}
	return startsWith(vhdMagic)(dev)
}

func openVHD(o *opening) (layout, error) {
	b, err := vhdFooter(o.dev)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, damaged("the checksums of the footer and of its copy are wrong")
	}
	size := binary.BigEndian.Uint64(b[vhdSize:])
	if size > maxSize {
		return nil, damaged("a disk of %d bytes", size)
	}
	switch kind := binary.BigEndian.Uint32(b[vhdType:]); kind {
	case vhdFixed:
		o.based = true
		return fixedVHD{o.dev, int64(size), b}, nil
	case vhdDynamic, vhdDiffering:
		return openDynamicVHD(o, b, int64(size), kind == vhdDiffering)
	default:
		return nil, unsupported("a VHD image of type %d", kind)
	}
}

// fixedVHD is the bytes of the disk, before the footer.
type fixedVHD struct {
	dev    mapping.Device
	bytes  int64
	footer []byte
}

func (f fixedVHD) size() int64                 { return f.bytes }
func (f fixedVHD) sector() int64               { return 512 }
func (f fixedVHD) compute([]byte, int64) error { return damaged("nothing in it is computed") }

func (f fixedVHD) Map(off, max int64) (mapping.Extent, error) {
	// The footer is no part of the disk.
	if end := f.dev.Size() - vhdFooterSize; off < end {
		return mapping.Extent{Kind: mapping.Data, Length: min(max, f.bytes-off, end-off), Device: f.dev, Offset: off}, nil
	}
	return mapping.Extent{Kind: mapping.Missing, Length: min(max, f.bytes-off), Err: beyond(f.dev, off)}, nil
}

// openDynamicVHD opens a disk of blocks, which differs from another one perhaps.
func openDynamicVHD(o *opening, footer []byte, size int64, differs bool) (layout, error) {
	o.based = !differs
	place := binary.BigEndian.Uint64(footer[vhdHeaderPlace:])
	b := make([]byte, vhdHeaderSize)
	if place > math.MaxInt64/2 {
		return nil, damaged("its header is at byte %d", place)
	}
	if _, err := mapping.ReadFull(o.dev, b, int64(place)); err != nil {
		return nil, err
	}
	if string(b[:8]) != vhdHeaderMagic || !vhdSum(b, vhdHeaderChecksum) {
		return nil, damaged("no header with a good checksum at byte %d", place)
	}
	v := &vhd{
		tables: newTable(o.dev, binary.BigEndian),
		bytes:  size,
		block:  int64(binary.BigEndian.Uint32(b[vhdBlockSize:])),

		opened:  bytes.Clone(footer),
		header:  int64(place),
		entries: int64(binary.BigEndian.Uint32(b[vhdEntries:])),
		differs: differs,
	}
	table, entries := binary.BigEndian.Uint64(b[vhdTable:]), v.entries
	v.table = int64(min(table, math.MaxInt64/2))
	switch {
	case v.block < 4096 || v.block > vhdMaxBlock || v.block&(v.block-1) != 0:
		return nil, damaged("blocks of %d bytes", v.block)
	case (size+v.block-1)/v.block > entries:
		return nil, damaged("%d blocks of %d bytes, for a disk of %d", entries, v.block, size)
	}
	if differs {
		var err error
		if v.beneath, err = o.vhdParent(v.tables, b); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *vhd) size() int64   { return v.bytes }
func (v *vhd) sector() int64 { return 512 }

// blockAt returns where in the file the bitmap of a block is, 0 for none.
func (v *vhd) blockAt(i int64) (int64, error) {
	sector, err := v.tables.u32(v.table + i*4)
	if err != nil || sector == vhdUnused {
		return 0, err
	}
	return int64(sector) * 512, nil
}

// bitmapSize is the length of a block's bitmap in bytes, padded to sectors.
func (v *vhd) bitmapSize() int64 { return (v.block/512/8 + 511) / 512 * 512 }

func (v *vhd) bitmap(place int64) bitmap { return bitmap{tables: v.tables, place: place, sector: 512} }

// Map says Computed of sectors that are in the file, but were never written by its bitmap. If the disk differs
// from another, these are there.
func (v *vhd) Map(off, max int64) (mapping.Extent, error) {
	n := min(max, v.bytes-off, v.block-off%v.block)
	place, err := v.blockAt(off / v.block)
	if err != nil {
		return mapping.Extent{}, err
	}
	if place == 0 {
		return mapBeneath(v.beneath, off, n)
	}
	written, run, err := v.bitmap(place).run(off%v.block, n)
	switch {
	case err != nil:
		return mapping.Extent{}, err
	case !written && v.differs:
		return mapBeneath(v.beneath, off, run)
	case !written:
		return mapping.Extent{Kind: mapping.Computed, Length: run}, nil
	}
	return mapping.Extent{Kind: mapping.Data, Length: run, Device: v.tables.dev, Offset: place + v.bitmapSize() + off%v.block}, nil
}

// compute reads sectors that were never written: from the disk beneath, or else they are zeros; if the file has
// something else for them, it does not tell which is right.
func (v *vhd) compute(p []byte, off int64) error {
	if v.differs {
		return computeBeneath(v, v.beneath, p, off)
	}
	for len(p) > 0 {
		n := min(int64(len(p)), v.block-off%v.block)
		bitmap, err := v.blockAt(off / v.block)
		if err != nil {
			return err
		}
		if _, err := mapping.ReadFull(v.tables.dev, p[:n], bitmap+v.bitmapSize()+off%v.block); err != nil {
			return err
		}
		for i, c := range p[:n] {
			if c != 0 {
				return damaged("byte %d was never written, by the bitmap at byte %d, but is there", off+int64(i), bitmap)
			}
		}
		p, off = p[n:], off+n
	}
	return nil
}
