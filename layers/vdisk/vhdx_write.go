package vdisk

import (
	"bytes"
	"cmp"
	"slices"

	"lvm2fs/mapping"
)

// A VHDX image is written as [MS-VHDX] asks. Before the first change its header gets new GUIDs, and what a crash has
// left in the log is written to where it belongs. What is in blocks is written in place. Every change of the BAT or of
// a bitmap of sectors goes through the log, in one entry for each commit; vhdx_log_write.go has the order of that.
//
// A new block goes behind all others. In a disk that differs from another one it is there in part, by its bits in
// the bitmap of its chunk of blocks, which is made with the first of them.

const (
	vhdxMiB = 1 << 20 // blocks, bitmaps and regions begin at multiples of that

	// vhdxMaxEntries is how many there are in a BAT that is looked through before the image is written: for 16 TiB
	// in the smallest blocks.
	vhdxMaxEntries = 1 << 24
)

func (v *vhdx) readOnly() error {
	if v.lastEntry()/8 >= vhdxMaxEntries {
		return unsupported("writing to a VHDX image with a BAT of %d bytes", v.lastEntry()+8)
	}
	if v.bat%pageSize != 0 {
		return unsupported("writing to a VHDX image with a BAT at byte %d", v.bat)
	}
	place, length, err := vhdxLogRegion(v.header)
	if err != nil || v.log == nil {
		return err
	}
	for _, page := range v.log.pages {
		if off := page * pageSize; off < vhdxMiB || off >= place && off < place+length {
			return unsupported("writing to a VHDX image whose log changes its headers, or itself, at byte %d", off)
		}
	}
	return nil
}

func (v *vhdx) files() []mapping.Device { return []mapping.Device{v.file} }

// pending exceeds what any commit waits for if another change might not have room in the entry of the log.
func (v *vhdx) pending() int {
	if len(v.changedPages())+vhdxPagesOfOne > vhdxMaxDescriptors {
		return maxPending + 1
	}
	return len(v.tables.changed)
}

// start reads all again, and looks for what overlaps.
func (v *vhdx) start() error {
	now := &vhdx{file: v.file, beneath: v.beneath, known: v.known}
	if _, err := now.load(); err != nil {
		return err
	}
	if !slices.ContainsFunc(v.known, func(id []byte) bool { return bytes.Equal(id, now.fileWrite()) }) || now.shape() != v.shape() {
		return ErrChanged
	}
	if err := now.readOnly(); err != nil {
		return err
	}
	if err := now.checkPlaces(); err != nil {
		return err
	}
	*v = *now
	return nil
}

// shape is what of an image does not change.
func (v *vhdx) shape() vhdxShape {
	return vhdxShape{v.bytes, v.sectors, v.block, v.bat, v.batSize, v.differs}
}

type vhdxShape struct {
	bytes, sectors, block, bat, batSize int64
	differs                             bool
}

// fileWrite is the GUID that changes before anybody changes the file.
func (v *vhdx) fileWrite() []byte { return v.header[vhdxFileWrite:][:16] }

// checkPlaces looks for parts of the file that overlap, and finds the end of the last one.
func (v *vhdx) checkPlaces() error {
	place, length, err := vhdxLogRegion(v.header)
	if err != nil {
		return err
	}
	parts := []region{{0, vhdxMiB}, {place, length}}
	for _, r := range v.regions {
		parts = append(parts, r)
	}
	for off := int64(0); off < v.bytes; off += v.block {
		b, err := v.partAt(v.entry(off), v.block, vhdxPresent, vhdxPartly)
		if err != nil {
			return err
		}
		parts = append(parts, b...)
		if v.differs && off/v.block%v.chunk == 0 {
			if b, err = v.partAt(v.bitmapEntry(off), vhdxMiB, vhdxPresent); err != nil {
				return err
			}
			parts = append(parts, b...)
		}
	}
	slices.SortFunc(parts, func(a, b region) int { return cmp.Compare(a.place, b.place) })
	v.tables.end = 0
	for _, p := range parts {
		if p.place < v.tables.end {
			return damaged("what lies at byte %d overlaps what ends at byte %d", p.place, v.tables.end)
		}
		if p.length > v.tables.dev.Size()-p.place {
			return beyond(v.tables.dev, p.place)
		}
		v.tables.end = p.place + p.length
	}
	return nil
}

// partAt is the part of the file that an entry of the BAT leads to. There is none if the entry is in none of the
// states.
func (v *vhdx) partAt(entry, length int64, states ...uint64) ([]region, error) {
	e, err := v.tables.u64(v.bat + entry)
	if err != nil || !slices.Contains(states, e&7) {
		return nil, err
	}
	place, err := placeIn(e)
	return []region{{place, length}}, err
}

func (v *vhdx) inPlace(off, max int64) (mapping.Extent, bool, error) {
	return inOwnFile(v, v.file, off, max)
}

func (v *vhdx) assign(p []byte, off int64) (int64, error) {
	in := off % v.block
	p = p[:min(int64(len(p)), v.block-in)]
	e, err := v.tables.u64(v.bat + v.entry(off))
	switch {
	case err != nil:
		return 0, err
	case e&7 == vhdxPartly, e&7 == vhdxNotPresent && v.differs && int64(len(p)) < v.block:
		return int64(len(p)), v.assignSectors(e, p, off)
	}
	place, zeros, err := v.tables.grow(v.block, vhdxMiB, 0)
	if err != nil {
		return 0, err
	}
	if err := fill(v, v.tables, place, off-in, v.block, p, off, zeros); err != nil {
		return 0, err
	}
	return int64(len(p)), v.lead(v.entry(off), place, vhdxPresent)
}

// lead has an entry of the BAT lead to a place.
func (v *vhdx) lead(entry, place int64, state uint64) error {
	return v.tables.putU64(v.bat+entry, uint64(place)|state, 0)
}

// assignSectors writes p to a block that is, or will be, there in part.
func (v *vhdx) assignSectors(entry uint64, p []byte, off int64) error {
	first := off / v.sectors * v.sectors
	end := min(roundUp(off+int64(len(p)), v.sectors), v.bytes)
	sectors := p
	if end-first != int64(len(p)) {
		sectors = make([]byte, end-first)
		if _, err := readLayout(v, sectors, first); err != nil {
			return err
		}
		copy(sectors[off-first:], p)
	}
	bits, err := v.bitmapFor(off)
	if err != nil {
		return err
	}
	if entry&7 == vhdxPartly {
		place, err := placeIn(entry)
		if err != nil {
			return err
		}
		if err := v.tables.write(sectors, place+first%v.block); err != nil {
			return err
		}
		return v.mark(bits, first, end, false)
	}
	// A place that was used before may hold other bytes. They belong to no sector.
	place, _, err := v.tables.grow(v.block, vhdxMiB, 0)
	if err != nil {
		return err
	}
	if err := v.tables.write(sectors, place+first%v.block); err != nil {
		return err
	}
	if err := v.mark(bits, first, end, true); err != nil {
		return err
	}
	return v.lead(v.entry(off), place, vhdxPartly)
}

// bitmapFor is where the bitmap for the block at off is. If there is none one is made.
func (v *vhdx) bitmapFor(off int64) (place int64, err error) {
	e, err := v.tables.u64(v.bat + v.bitmapEntry(off))
	if err != nil {
		return 0, err
	}
	if e&7 == vhdxPresent {
		return placeIn(e)
	}
	place, zeros, err := v.tables.grow(vhdxMiB, vhdxMiB, 0)
	if err != nil {
		return 0, err
	}
	if !zeros {
		if err := v.tables.write(make([]byte, vhdxMiB), place); err != nil {
			return 0, err
		}
		v.tables.pages.Clear()
	}
	return place, v.lead(v.bitmapEntry(off), place, vhdxPresent)
}

// mark sets the bits of the sectors from first to end, all of one block. If the block is new it clears all the
// others.
func (v *vhdx) mark(bits, first, end int64, isNew bool) error {
	from, to := first, end
	if isNew {
		from = first / v.block * v.block
		to = from + v.block
	}
	// A bit is that of a sector of the chunk. A byte may be shared only with sectors of the same block.
	chunk := first / (v.chunk * v.block) * v.chunk * v.block
	at, n := (from-chunk)/v.sectors/8, ((to-chunk)+v.sectors*8-1)/v.sectors/8
	b := make([]byte, n-at)
	if !isNew {
		var err error
		if b, err = v.tables.copyOf(bits+at, n-at); err != nil {
			return err
		}
	}
	for s := (first - chunk) / v.sectors; s < (end-chunk+v.sectors-1)/v.sectors; s++ {
		b[s/8-at] |= 1 << (s % 8)
	}
	return v.tables.put(bits+at, b, 0)
}

// unmap makes zeros of blocks that show what lies beneath.
func (v *vhdx) unmap(off, n int64) (int64, error) {
	if off%v.block != 0 || n < min(v.block, v.bytes-off) {
		return 0, nil
	}
	e, err := v.tables.u64(v.bat + v.entry(off))
	if err != nil || e&7 != vhdxNotPresent {
		return 0, err
	}
	return min(v.block, v.bytes-off), v.lead(v.entry(off), 0, vhdxZero)
}
