package vdisk

import (
	"bytes"
	"math"

	"lvm2fs/mapping"
)

// A fixed VHD is written as a raw disk is.

func (f fixedVHD) readOnly() error         { return nil }
func (f fixedVHD) files() []mapping.Device { return []mapping.Device{f.dev} }
func (f fixedVHD) begin() error            { return nil }
func (f fixedVHD) pending() int            { return 0 }
func (f fixedVHD) finish() error           { return nil }
func (f fixedVHD) commit() error           { return newTable(f.dev, nil).sync() }

func (f fixedVHD) start() error {
	now, err := vhdFooter(f.dev)
	if err == nil && (now == nil || !bytes.Equal(now, f.footer)) {
		err = ErrChanged
	}
	return err
}

func (f fixedVHD) inPlace(off, max int64) (mapping.Extent, bool, error) {
	return inOwnFile(f, f.dev, off, max)
}

func (f fixedVHD) assign(_ []byte, off int64) (int64, error) { return 0, beyond(f.dev, off) }
func (f fixedVHD) unmap(_, _ int64) (int64, error)           { return 0, nil }

// A dynamic or differencing VHD: a new block takes the place of the footer, which moves behind it.
//
//	... | block | footer        ->    ... | block | bitmap, sectors | footer
//
// Until the footer is there its copy at the start of the file is what there is. Then comes the entry of the table that
// leads to the block. A sector of a differencing block that is there is written before its bit is set.
const (
	vhdStageNew = iota
	vhdStageTable
)

// vhdMaxEntries is how many there are in a table that is looked through before the image is written: for 32 TiB in blocks of 512 KiB.
const vhdMaxEntries = 1 << 26

func (v *vhd) readOnly() error {
	switch {
	case v.table%4 != 0 || v.table == math.MaxInt64/2:
		return unsupported("writing to a VHD image with a table at byte %d", v.table)
	case v.entries > vhdMaxEntries:
		return unsupported("writing to a VHD image of %d blocks", v.entries)
	}
	return nil
}

func (v *vhd) files() []mapping.Device { return []mapping.Device{v.tables.dev} }
func (v *vhd) begin() error            { return nil }
func (v *vhd) finish() error           { return nil }

func (v *vhd) unmap(_, _ int64) (int64, error) { return 0, nil }

// start finds the end of the file, and that each block has a place of its own in it.
func (v *vhd) start() error {
	v.tables.forget()
	v.moved = false
	dev := v.tables.dev
	first := make([]byte, vhdFooterSize)
	if _, err := mapping.ReadFull(dev, first, 0); err != nil {
		return err
	}
	last := make([]byte, vhdFooterSize)
	if _, err := mapping.ReadFull(dev, last, dev.Size()-vhdFooterSize); err != nil {
		return err
	}
	isFooter := string(last[:8]) == vhdMagic && vhdSum(last, vhdChecksum)
	switch {
	case !bytes.Equal(first, v.opened) && isFooter && bytes.Equal(last, v.opened):
		return damaged("the copy of the footer at byte 0 is another one, and an image whose footer moves needs it")
	case !bytes.Equal(first, v.opened), isFooter && !bytes.Equal(last, v.opened):
		return ErrChanged
	}
	v.tables.end = roundUp(dev.Size(), sectorSize)
	if isFooter {
		v.tables.end = dev.Size() - vhdFooterSize
	}
	return v.checkTable()
}

// stride is the length of a block in the file.
func (v *vhd) stride() int64 { return v.bitmapSize() + v.block }

// checkTable looks for blocks that overlap one another or the tables, or that the file has lost.
func (v *vhd) checkTable() error {
	var places []uint32
	for i := range v.entries {
		sector, err := v.tables.u32(v.table + i*4)
		if err != nil {
			return err
		}
		if sector == vhdUnused {
			continue
		}
		place := int64(sector) * sectorSize
		if place+v.stride() > v.tables.end {
			return beyond(v.tables.dev, place)
		}
		for _, other := range [][2]int64{{0, vhdFooterSize}, {v.header, vhdHeaderSize}, {v.table, v.entries * 4}} {
			if place < other[0]+other[1] && other[0] < place+v.stride() {
				return damaged("the block at byte %d overlaps the table at byte %d", place, other[0])
			}
		}
		places = append(places, sector)
	}
	return apart(places, v.stride())
}

func (v *vhd) inPlace(off, max int64) (mapping.Extent, bool, error) {
	return inOwnFile(v, v.tables.dev, off, max)
}

func (v *vhd) pending() int {
	n := len(v.tables.changed)
	if v.moved {
		n++
	}
	return n
}

// commit writes the footer at the end of the file too, if that is new.
func (v *vhd) commit() error {
	if v.moved {
		if err := v.tables.put(v.tables.end, v.opened, vhdStageNew); err != nil {
			return err
		}
	}
	err := v.tables.commit()
	v.moved = v.moved && err != nil
	return err
}

// assign writes whole sectors of one block: they are in the file from then on, by its bitmap.
func (v *vhd) assign(p []byte, off int64) (int64, error) {
	i, in := off/v.block, off%v.block
	n := min(int64(len(p)), v.block-in)
	first := off / sectorSize * sectorSize
	sectors := p[:n]
	if end := min(roundUp(off+n, sectorSize), v.bytes); first != off || end != off+n {
		sectors = make([]byte, end-first)
		if _, err := readLayout(v, sectors, first); err != nil {
			return 0, err
		}
		copy(sectors[off-first:], p[:n])
	}
	in = first % v.block
	place, err := v.blockAt(i)
	if err != nil {
		return 0, err
	}
	isNew := place == 0
	if !isNew && !v.differs {
		return 0, v.markZeros(place, first, int64(len(sectors)))
	}
	if isNew {
		if place, err = v.newBlock(); err != nil {
			return 0, err
		}
	}
	if err := v.tables.write(sectors, place+v.bitmapSize()+in); err != nil {
		return 0, err
	}
	if err := v.mark(place, in, int64(len(sectors)), isNew); err != nil {
		return 0, err
	}
	if isNew {
		err = v.tables.putU32(v.table+i*4, uint32(place/sectorSize), vhdStageTable)
	}
	return n, err
}

// markZeros marks n bytes of sectors at first that were never written, which are zeros then: they can be overwritten where
// they are from then on. The other way round a power cut would leave something that is not marked.
func (v *vhd) markZeros(place, first, n int64) error {
	if _, err := readLayout(v, make([]byte, n), first); err != nil {
		return err
	}
	if err := v.mark(place, first%v.block, n, false); err != nil {
		return err
	}
	return v.commit()
}

// newBlock makes room for a block of zeros.
func (v *vhd) newBlock() (place int64, err error) {
	if (v.tables.end+v.stride())/sectorSize >= vhdUnused {
		return 0, damaged("a file of %d bytes has no room for another block: %w", v.tables.end, ErrNoSpace)
	}
	// If a footer was there, the bitmap takes its sector.
	place, _, err = v.tables.grow(v.stride(), sectorSize, vhdFooterSize)
	v.moved = v.moved || err == nil
	return place, err
}

// mark sets the bits of n bytes of sectors in a block. A new block that does not differ from another disk gets all
// its bits: the rest of it is zeros.
func (v *vhd) mark(place, in, n int64, isNew bool) error {
	stage := vhdStageTable
	var bits []byte
	if isNew {
		stage, bits = vhdStageNew, make([]byte, v.bitmapSize())
		if !v.differs {
			in, n = 0, v.block
		}
	} else {
		var err error
		if bits, err = v.tables.copyOf(place, v.bitmapSize()); err != nil {
			return err
		}
	}
	for s := in / sectorSize; s < (in+n+sectorSize-1)/sectorSize; s++ {
		bits[s/8] |= 0x80 >> (s % 8)
	}
	return v.tables.put(place, bits, stage)
}
