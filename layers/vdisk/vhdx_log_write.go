package vdisk

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
)

// How a VHDX image is changed, with a flush between any two lines:
//
//	header: new GUIDs of the file and of what it holds
//	pages of the log that a crash has left, to where they belong; header: no log
//	each commit:
//	    data; and the pages that the entry before this one is about
//	    an entry of the log with all pages that change
//	    header: the GUID of the log, with the first entry
//	    pages, to where they belong
//	header: no log
//
// So whatever an entry is about is on stable storage before the next one is written: its tail is itself, and only
// the newest is ever replayed. Where the ring ends the log is emptied first, and begins anew with another GUID: no
// reader comes from an entry to one that is older.

const (
	vhdxFileWrite = 16 // 16, of the header: changes when anything in the file does

	// vhdxMaxDescriptors is how many have room in the first page of an entry. QEMU replays no entry with more.
	vhdxMaxDescriptors = (pageSize - vhdxEntryHeader) / vhdxDescriptor
	// vhdxPagesOfOne is the most pages that one change is about: one or two of the BAT, and the bits of a block.
	vhdxPagesOfOne = 3 + vhdxMaxBlock/sectorSize/8/pageSize
)

// vhdxRing is the log as it is written to.
type vhdxRing struct {
	guid     []byte // nil if the header names none
	next     int64  // bytes in the ring: where the next entry goes
	sequence uint64 // of the entry before that
}

// begin lets everybody know that the image is another one from now on, and ends what a crash has cut off.
func (v *vhdx) begin() error {
	file, data := newGUID(), newGUID()
	v.known = append(v.known, file)
	err := v.updateHeader(func(h []byte) {
		copy(h[vhdxFileWrite:], file)
		copy(h[vhdxDataWrite:], data)
	})
	if err != nil || v.log == nil {
		return err
	}
	to := newTable(v.file, binary.LittleEndian)
	if err := to.extend(v.log.Size()); err != nil {
		return err
	}
	for _, i := range v.log.pages {
		b := v.log.changed[i]
		if b == nil {
			b = make([]byte, pageSize)
		}
		if err := to.write(b, i*pageSize); err != nil {
			return err
		}
	}
	if err := to.sync(); err != nil {
		return err
	}
	to.end, v.tables, v.log = v.tables.end, to, nil
	return v.emptyLog()
}

// finish leaves a log that is empty.
func (v *vhdx) finish() error { return v.emptyLog() }

// emptyLog has the header name no log. All that entries were about is on stable storage.
func (v *vhdx) emptyLog() error {
	v.ring = vhdxRing{}
	return v.nameLog(make([]byte, 16))
}

func (v *vhdx) nameLog(id []byte) error {
	return v.updateHeader(func(h []byte) { copy(h[vhdxLogGUID:], id) })
}

// updateHeader changes both headers, first the one that does not count.
func (v *vhdx) updateHeader(change func(h []byte)) error {
	for range vhdxHeaderPlaces {
		h, at, err := vhdxCurrentHeader(v.file)
		if err != nil {
			return err
		}
		change(h)
		binary.LittleEndian.PutUint64(h[vhdxSequence:], binary.LittleEndian.Uint64(h[vhdxSequence:])+1)
		binary.LittleEndian.PutUint32(h[vhdxSum:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
		file := newTable(v.file, binary.LittleEndian)
		if err := file.write(h, vhdxHeaderPlaces[1-at]); err != nil {
			return err
		}
		if err := file.sync(); err != nil {
			return err
		}
		v.header = h
	}
	return nil
}

// changedPages are the pages of the file that are to change, in order.
func (v *vhdx) changedPages() []int64 {
	pages := map[int64]bool{}
	for sector := range v.tables.changed {
		pages[sector*sectorSize/pageSize] = true
	}
	return slices.Sorted(maps.Keys(pages))
}

// commit writes an entry of the log, and what that is about.
func (v *vhdx) commit() error {
	if err := v.tables.sync(); err != nil || len(v.tables.changed) == 0 {
		return err
	}
	place, length, err := vhdxLogRegion(v.header)
	if err != nil {
		return err
	}
	pages := v.changedPages()
	size := int64(1+len(pages)) * pageSize
	if v.ring.guid != nil && v.ring.next+size > length {
		if err := v.emptyLog(); err != nil {
			return err
		}
	}
	ring := v.ring
	if ring.guid == nil {
		ring = vhdxRing{guid: newGUID()}
	}
	ring.sequence++
	entry, err := v.entryOf(pages, ring)
	if err != nil {
		return err
	}
	if err := v.tables.write(entry, place+ring.next); err != nil {
		return err
	}
	if err := v.tables.sync(); err != nil {
		return err
	}
	if v.ring.guid == nil {
		if err := v.nameLog(ring.guid); err != nil {
			return err
		}
	}
	ring.next += size
	v.ring = ring
	return v.writePages(pages)
}

// writePages writes pages that are in the log to where they belong.
func (v *vhdx) writePages(pages []int64) error {
	for _, i := range pages {
		b, err := v.changedPage(i)
		if err != nil {
			return err
		}
		if err := v.tables.write(b, i*pageSize); err != nil {
			return err
		}
	}
	for _, i := range pages {
		v.tables.pages.Delete(i)
	}
	clear(v.tables.changed)
	return nil
}

// changedPage is a page of the file as it is to be.
func (v *vhdx) changedPage(i int64) ([]byte, error) {
	return v.tables.at(i*pageSize, pageSize)
}

// entryOf is the entry of the log that makes pages what they are to be.
func (v *vhdx) entryOf(pages []int64, ring vhdxRing) ([]byte, error) {
	le := binary.LittleEndian
	b := make([]byte, pageSize, int64(1+len(pages))*pageSize)
	copy(b, "loge")
	le.PutUint32(b[vhdxEntryLength:], uint32(cap(b)))
	le.PutUint32(b[vhdxEntryTail:], uint32(ring.next))
	le.PutUint64(b[vhdxEntrySequence:], ring.sequence)
	le.PutUint32(b[vhdxEntryDescriptors:], uint32(len(pages)))
	copy(b[vhdxEntryGUID:], ring.guid)
	le.PutUint64(b[vhdxEntryFlushed:], uint64(v.file.Size()))
	le.PutUint64(b[vhdxEntryLast:], uint64(v.tables.end))
	for n, i := range pages {
		data, err := v.changedPage(i)
		if err != nil {
			return nil, err
		}
		d := b[vhdxEntryHeader+n*vhdxDescriptor:]
		copy(d, "desc")
		copy(d[4:8], data[pageSize-4:])
		copy(d[8:16], data[:8])
		le.PutUint64(d[16:], uint64(i*pageSize))
		le.PutUint64(d[24:], ring.sequence)
		b = append(b, data...)
		page := b[len(b)-pageSize:]
		copy(page, "data")
		le.PutUint32(page[4:], uint32(ring.sequence>>32))
		le.PutUint32(page[pageSize-4:], uint32(ring.sequence))
	}
	le.PutUint32(b[vhdxSum:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b, nil
}

// newGUID is one that nobody has had before: of version 4, as it is on disk.
func newGUID() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[7] = b[7]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return b
}
