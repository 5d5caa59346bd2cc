package vdisk

import (
	"bytes"
	"encoding/binary"

	"lvm2fs/mapping"
)

// A VDI image counts its blocks in the header. A new one goes behind the last; once it is there the count covers it,
// and then the table leads to it.
const (
	vdiStageCount = 1
	vdiStageTable = 2
)

// vdiMaxEntries is how many there are in a table that is looked through before the image is written.
const vdiMaxEntries = 1 << 26

func (v *vdi) readOnly() error {
	switch {
	case v.table < sectorSize || v.table%4 != 0 || v.data%sectorSize != 0 || v.data < v.table+v.blocks*4:
		return unsupported("writing to a VDI image with a table at byte %d and blocks from byte %d on", v.table, v.data)
	case v.extra%sectorSize != 0 || v.blocks > vdiMaxEntries:
		return unsupported("writing to a VDI image of %d blocks of %d and %d bytes", v.blocks, v.extra, v.block)
	}
	return nil
}

func (v *vdi) files() []mapping.Device { return []mapping.Device{v.tables.dev} }
func (v *vdi) begin() error            { return nil }
func (v *vdi) finish() error           { return nil }
func (v *vdi) pending() int            { return len(v.tables.changed) }
func (v *vdi) commit() error           { return v.tables.commit() }

func (v *vdi) unmap(_, _ int64) (int64, error) { return 0, nil }

// stride is the length of a block in the file.
func (v *vdi) stride() int64 { return v.block + v.extra }

// start finds the end of the blocks, and that each has a place of its own.
func (v *vdi) start() error {
	v.tables.forget()
	now := make([]byte, vdiHeaderSize)
	if _, err := mapping.ReadFull(v.tables.dev, now, 0); err != nil {
		return err
	}
	// The count changes when the image is written.
	if !bytes.Equal(now[:vdiAllocated], v.opened[:vdiAllocated]) || !bytes.Equal(now[vdiUUID:], v.opened[vdiUUID:]) {
		return ErrChanged
	}
	v.allocated = int64(binary.LittleEndian.Uint32(now[vdiAllocated:]))
	if v.allocated > v.blocks {
		return damaged("%d blocks in the file, for a table of %d", v.allocated, v.blocks)
	}
	size := v.tables.dev.Size()
	if end := v.data + v.allocated*v.stride(); end > size+v.stride() {
		return beyond(v.tables.dev, end)
	}
	there := max(v.allocated, (max(size-v.data, 0)+v.stride()-1)/v.stride())
	v.tables.end = v.data + there*v.stride()
	used := make([]bool, there)
	for i := range v.blocks {
		block, err := v.tables.u32(v.table + i*4)
		if err != nil {
			return err
		}
		if block == vdiUnused || block == vdiDiscarded {
			continue
		}
		place := v.data + int64(block)*v.stride()
		if place+v.extra >= size {
			return beyond(v.tables.dev, place)
		}
		if used[block] {
			return damaged("two entries of the table lead to block %d, at byte %d", block, place)
		}
		used[block] = true
	}
	v.lost = nil
	for block, inUse := range used {
		if !inUse {
			v.lost = append(v.lost, int64(block))
		}
	}
	return nil
}

func (v *vdi) inPlace(off, max int64) (mapping.Extent, bool, error) {
	return inOwnFile(v, v.tables.dev, off, max)
}

func (v *vdi) assign(p []byte, off int64) (int64, error) {
	in := off % v.block
	n := min(int64(len(p)), v.block-in)
	block, zeros, err := v.newBlock()
	if err != nil {
		return 0, err
	}
	if err := fill(v, v.tables, v.data+block*v.stride()+v.extra, off-in, v.block, p[:n], off, zeros); err != nil {
		return 0, err
	}
	if block >= v.allocated {
		v.allocated = block + 1
		if err := v.tables.putU32(vdiAllocated, uint32(v.allocated), vdiStageCount); err != nil {
			return 0, err
		}
	}
	return n, v.tables.putU32(v.table+off/v.block*4, uint32(block), vdiStageTable)
}

// newBlock is a block that a power cut has left without an entry, or else a new one. zeros says whether the file has zeros for it.
func (v *vdi) newBlock() (block int64, zeros bool, err error) {
	if n := len(v.lost); n > 0 {
		block, v.lost = v.lost[0], v.lost[1:]
		return block, false, v.tables.extend(v.data + (block+1)*v.stride())
	}
	place, zeros, err := v.tables.grow(v.stride(), 1, 0)
	block = (place - v.data) / v.stride()
	if err == nil && block >= v.blocks {
		err = damaged("block %d of %d: %w", block, v.blocks, ErrNoSpace)
	}
	return block, zeros, err
}
