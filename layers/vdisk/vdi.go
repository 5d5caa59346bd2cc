package vdisk

import (
	"encoding/binary"

	"lvm2fs/mapping"
)

// VDI. Integers are little-endian. A table has one u32 for each block of the disk: which
// block of the file it is.
const (
	vdiVersion     = 68  // u32, major in the upper half
	vdiType        = 76  // u32
	vdiTable       = 340 // u32, bytes
	vdiData        = 344 // u32, bytes
	vdiSectorSize  = 360 // u32
	vdiSize        = 368 // u64, bytes
	vdiBlockSize   = 376 // u32
	vdiBlockExtra  = 380 // u32, bytes before the data of each block
	vdiBlocks      = 384 // u32
	vdiAllocated   = 388 // u32, blocks that the file has
	vdiUUID        = 392 // of the image
	vdiHeaderSize  = 408
	vdiDynamic     = 1
	vdiStatic      = 2
	vdiUnused      = 0xffffffff
	vdiDiscarded   = 0xfffffffe
	vdiMaxBlock    = 256 << 20
	vdiTheVersion  = 1
	vdiSignature   = "\x7f\x10\xda\xbe"
	vdiSignatureAt = 64
)

type vdi struct {
	tables *table
	bytes  int64
	table  int64 // bytes from the start of the file
	data   int64 // the same
	block  int64 // bytes
	extra  int64
	opened []byte // the header, when it was opened
	blocks int64  // entries of the table

	allocated int64   // blocks that the header counts
	lost      []int64 // of these, those that no entry led to when the file was claimed
}

var isVDI = hasAt(vdiSignatureAt, vdiSignature)

func openVDI(o *opening) (layout, error) {
	b := make([]byte, vdiHeaderSize)
	if _, err := mapping.ReadFull(o.dev, b, 0); err != nil {
		return nil, err
	}
	u32 := func(off int) int64 { return int64(binary.LittleEndian.Uint32(b[off:])) }
	size := binary.LittleEndian.Uint64(b[vdiSize:])
	v := &vdi{
		tables: newTable(o.dev, binary.LittleEndian),
		bytes:  int64(min(size, maxSize+1)),
		table:  u32(vdiTable),
		data:   u32(vdiData),
		block:  u32(vdiBlockSize),
		extra:  u32(vdiBlockExtra),
		opened: b,
		blocks: u32(vdiBlocks),
	}
	o.based = u32(vdiVersion)>>16 == vdiTheVersion && (u32(vdiType) == vdiDynamic || u32(vdiType) == vdiStatic)
	switch {
	case u32(vdiVersion)>>16 != vdiTheVersion:
		return nil, unsupported("version %d.%d", u32(vdiVersion)>>16, u32(vdiVersion)&0xffff)
	case u32(vdiType) != vdiDynamic && u32(vdiType) != vdiStatic:
		return nil, unsupported("a VDI image of type %d, which lies over another", u32(vdiType))
	case u32(vdiSectorSize) != 512:
		return nil, unsupported("sectors of %d bytes", u32(vdiSectorSize))
	case v.block < 512 || v.block > vdiMaxBlock || v.block&(v.block-1) != 0 || v.extra > vdiMaxBlock:
		return nil, damaged("blocks of %d and %d bytes", v.extra, v.block)
	case v.bytes > maxSize || (v.bytes+v.block-1)/v.block > u32(vdiBlocks):
		return nil, damaged("%d blocks of %d bytes, for a disk of %d", u32(vdiBlocks), v.block, size)
	}
	return v, nil
}

func (v *vdi) size() int64   { return v.bytes }
func (v *vdi) sector() int64 { return 512 }

func (v *vdi) Map(off, max int64) (mapping.Extent, error) {
	n := min(max, v.bytes-off, v.block-off%v.block)
	i, err := v.tables.u32(v.table + off/v.block*4)
	if err != nil {
		return mapping.Extent{}, err
	}
	if i == vdiUnused || i == vdiDiscarded {
		return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
	}
	place := v.data + int64(i)*(v.block+v.extra) + v.extra
	return mapping.Extent{Kind: mapping.Data, Length: n, Device: v.tables.dev, Offset: place + off%v.block}, nil
}

func (v *vdi) compute([]byte, int64) error { return damaged("nothing in it is computed") }
