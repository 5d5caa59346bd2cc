package dm

import (
	"encoding/binary"
	"fmt"
)

// vdoJournal is the recovery journal: a ring of blocks with the changes of the block map. The block
// with sequence number q is at q mod size.
//
//	sector 0     0 u64 block map head  8 u64 slab journal head  16 u64 sequence number
//	             24 u64 nonce  32 u8 type 3  33 u16 entries  51 u8 check byte  52 u8 recovery count
//	sector 1-7   0 check byte  1 recovery count  2 entries  3 entries of 16 bytes, up to 31
//	entry        0 u16: operation (2 bits), slot (10), PBN of the page bits 32-35 (4)
//	             2 u32 PBN of the page  6 new block map entry  11 old block map entry
//
// Operation 0 maps a logical block, 1 a page of the block map that was allocated. An entry that cannot be shows
// that what was read is not what was written, so the pool is refused, as the kernel does, also for fields that
// a reader has no use for.
//
// (docs/format/09-vdo.md, section 8)
type vdoJournal struct {
	first uint64 // physical block number
	size  uint64 // blocks, a power of two
	start uint64 // sequence number
}

const (
	vdoJournalPartition     = 2
	vdoJournalType          = 3
	vdoJournalEntries       = 217 // of a block
	vdoJournalSectorEntries = 31
	vdoJournalEntrySize     = 16
	vdoOperationPage        = 1 // of the lowest bit
	vdoJournalSectorHeader  = 3
	// maxVDOJournal bounds the work and memory of a replay.
	maxVDOJournal = 1 << 18 // blocks
)

type vdoJournalHeader struct {
	blockMapHead, slabJournalHead, sequence uint64
	entries                                 int
	checkByte, recoveryCount                byte
}

// header decodes the header of the block at place i of the ring, if it is one of this life of the pool.
func (v *vdo) journalHeader(b []byte, i uint64) (h vdoJournalHeader, ok bool) {
	le := binary.LittleEndian
	h = vdoJournalHeader{
		blockMapHead: le.Uint64(b), slabJournalHead: le.Uint64(b[8:]), sequence: le.Uint64(b[16:]),
		entries: int(le.Uint16(b[33:])), checkByte: b[51], recoveryCount: b[52],
	}
	ok = le.Uint64(b[24:]) == v.nonce && h.recoveryCount == byte(v.recoveries) && b[32] == vdoJournalType &&
		h.entries <= vdoJournalEntries && h.sequence%v.journal.size == i
	return h, ok
}

// replay is what the journal says of the block map that is newer than the pages on disk.
func (v *vdo) replay() (map[vdoSlot]vdoEntry, error) {
	j := v.journal
	if j.size > maxVDOJournal {
		return nil, fmt.Errorf("%w: a recovery journal of %d blocks, more than %d", ErrVDO, j.size, maxVDOJournal)
	}
	block := make([]byte, VDOBlock)
	read := func(i uint64) error {
		if err := v.readPhysical(block, j.first+i); err != nil {
			return fmt.Errorf("recovery journal, block %d: %w", i, err)
		}
		return nil
	}
	var highest, blockMapHead, slabJournalHead uint64
	found := false
	for i := range j.size {
		if err := read(i); err != nil {
			return nil, err
		}
		h, ok := v.journalHeader(block, i)
		if !ok {
			continue
		}
		if h.sequence >= j.start {
			found = true
			highest = max(highest, h.sequence)
		}
		if found {
			blockMapHead, slabJournalHead = max(blockMapHead, h.blockMapHead), max(slabJournalHead, h.slabJournalHead)
		}
	}
	overlay := map[vdoSlot]vdoEntry{}
	if !found {
		return overlay, nil
	}
	head := min(blockMapHead, slabJournalHead)
	if max(blockMapHead, slabJournalHead) > highest || highest-head >= j.size {
		return nil, fmt.Errorf("%w: recovery journal from %d and %d to %d, in %d blocks", ErrVDO, blockMapHead, slabJournalHead, highest, j.size)
	}
	for q := head; q <= highest; q++ {
		if err := read(q % j.size); err != nil {
			return nil, err
		}
		h, ok := v.journalHeader(block, q%j.size)
		if !ok || h.sequence != q {
			break
		}
		whole, err := v.replayBlock(block, h, q >= blockMapHead, overlay)
		if err != nil {
			return nil, err
		}
		if !whole {
			break
		}
	}
	return overlay, nil
}

// replayBlock takes the entries of a journal block into the overlay, if they are to be applied, and
// says whether another block may follow.
func (v *vdo) replayBlock(block []byte, h vdoJournalHeader, apply bool, overlay map[vdoSlot]vdoEntry) (whole bool, err error) {
	remaining := h.entries
	for s := 512; s < VDOBlock; s += 512 {
		sector := block[s : s+512]
		count := int(sector[2])
		if sector[0] != h.checkByte || sector[1] != h.recoveryCount || count > vdoJournalSectorEntries {
			break
		}
		n := min(count, remaining)
		for i := range n {
			from := vdoJournalSectorHeader + i*vdoJournalEntrySize
			e := decodeVDOJournalEntry(sector[from:])
			if err := v.checkJournalEntry(e); err != nil {
				at := v.at(v.journal.first+h.sequence%v.journal.size) + int64(s+from)
				return false, fmt.Errorf("%w: recovery journal block %d, byte %d: %w", ErrVDO, h.sequence, at, err)
			}
			if apply {
				overlay[e.at] = e.mapped
			}
		}
		remaining -= n
		if n < vdoJournalSectorEntries || remaining == 0 {
			break
		}
	}
	return h.entries == vdoJournalEntries && remaining == 0, nil
}

// vdoJournalEntry is a change of the block map.
type vdoJournalEntry struct {
	operation     byte
	at            vdoSlot
	mapped, freed vdoEntry // the new one and the old one
}

func decodeVDOJournalEntry(b []byte) vdoJournalEntry {
	le := binary.LittleEndian
	word := le.Uint16(b)
	return vdoJournalEntry{
		operation: byte(word & 3),
		at:        vdoSlot{uint64(word>>12)<<32 | uint64(le.Uint32(b[2:])), int(word >> 2 & 0x3ff)},
		mapped:    decodeVDOEntry(b[6:]),
		freed:     decodeVDOEntry(b[11:]),
	}
}

// checkJournalEntry says why an entry cannot be.
func (v *vdo) checkJournalEntry(e vdoJournalEntry) error {
	if e.at.page >= v.physical || e.at.slot >= vdoPageEntries {
		return fmt.Errorf("an entry for page %d, slot %d", e.at.page, e.at.slot)
	}
	if !v.inBounds(e.mapped) || !v.inBounds(e.freed) {
		return fmt.Errorf("page %d, slot %d leads from %s to %s", e.at.page, e.at.slot, e.freed, e.mapped)
	}
	if page := e.operation&vdoOperationPage != 0; page && (e.mapped.state != vdoUncompressed || e.mapped.zero() || e.freed != vdoEntry{}) {
		return fmt.Errorf("page %d, slot %d leads from %s to a page, %s", e.at.page, e.at.slot, e.freed, e.mapped)
	}
	return nil
}
