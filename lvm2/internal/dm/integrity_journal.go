package dm

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"lvm2fs/mapping"
)

// journal is what an integrity layer wrote before it wrote data in place: sections of the same
// shape one after the other, from byte 4096 of the metadata.
//
//	section  | 8 sectors with entries | sectors with data, of entry 0, 1, …       |
//	sector   | 504 bytes                                         | commit ID      |
//	entry    | u64 sector of the data | last 8 bytes of each of its sectors | tag |
//
// The commit ID of a sector says where it belongs and to which of four rounds; it lies over
// the last 8 bytes of data, which the entry has. Entry e is in sector e mod 8 of its section. A
// section is committed when all its sectors are of one round.
// (docs/format/08-integrity.md, section 5)
type journal struct {
	sections         int64
	sectorsPerBlock  int64
	tagSize          int64
	entrySize        int64
	entriesPerSector int64
}

// journalEntry says where in the journal a block is.
type journalEntry struct{ section, entry int64 }

const (
	journalEntrySectors = 8
	journalCommitAt     = 504
	journalUnused       = 0xffffffff
	// maxJournalEntries bounds the memory of a replay.
	maxJournalEntries = 1 << 24
)

func newJournal(sections, sectorsPerBlock, tagSize int64) journal {
	j := journal{sections: sections, sectorsPerBlock: sectorsPerBlock, tagSize: tagSize}
	j.entrySize = (8 + 8*sectorsPerBlock + tagSize + 7) / 8 * 8
	j.entriesPerSector = journalCommitAt / j.entrySize
	return j
}

func (j journal) entries() int64        { return journalEntrySectors * j.entriesPerSector }
func (j journal) sectionSectors() int64 { return journalEntrySectors + j.entries()*j.sectorsPerBlock }
func (j journal) size() int64           { return j.sections * j.sectionSectors() * integritySector }

// at is the byte of the metadata at which a sector of a section begins.
func (j journal) at(section, sector int64) int64 {
	return integritySuperblock + (section*j.sectionSectors()+sector)*integritySector
}

// entryAt is the byte of a section at which an entry begins.
func (j journal) entryAt(e int64) int64 {
	return e%journalEntrySectors*integritySector + e/journalEntrySectors*j.entrySize
}

// commitIDs of the four rounds, before the place of the sector is mixed in.
var commitIDs = [4]uint64{0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444}

func commitID(round int, section, sector int64) uint64 {
	return commitIDs[round] ^ (uint64(section)<<32 ^ uint64(sector))
}

// round is the round that a sector was written in.
func (j journal) round(b []byte, section, sector int64) (int, error) {
	id := binary.LittleEndian.Uint64(b[journalCommitAt:])
	for k := range commitIDs {
		if id == commitID(k, section, sector) {
			return k, nil
		}
	}
	return 0, fmt.Errorf("%w: journal at byte %d: commit ID 0x%016x", ErrIntegrityMetadata, j.at(section, sector), id)
}

// scanned is what a scan of one section found.
type scanned struct {
	round int             // that all sectors are of; none if they differ
	used  map[int64]int64 // entry → sector of the data
	seen  uint            // a bit for each round seen
}

func (j journal) scan(meta mapping.Volume, section int64) (scanned, error) {
	le := binary.LittleEndian
	b := make([]byte, j.sectionSectors()*integritySector)
	if _, err := meta.ReadAt(b, j.at(section, 0)); err != nil {
		return scanned{}, fmt.Errorf("integrity journal: %w", err)
	}
	s := scanned{round: none}
	for sector := range j.sectionSectors() {
		k, err := j.round(b[sector*integritySector:], section, sector)
		if err != nil {
			return s, err
		}
		s.seen |= 1 << k
		s.round = k
	}
	if bits.OnesCount(s.seen) > 1 {
		s.round = none
	}
	for e := range j.entries() {
		if sector := le.Uint64(b[j.entryAt(e):]); sector>>32 != journalUnused && sector>>63 == 0 {
			if s.used == nil {
				s.used = map[int64]int64{}
			}
			s.used[e] = int64(sector)
		}
	}
	return s, nil
}

// journalState is what a journal holds, and where it goes on.
type journalState struct {
	overlay map[int64]journalEntry // blocks that are newer there than in place
	// next is the section to be written next, in nextRound, if the sections are whole and those of one turn after the
	// other. Else a power cut has left them behind, or a kernel has made the journal anew.
	next      int64
	nextRound int
	whole     bool
	newest    int // round
}

// read finds the blocks that the journal holds, and which are newer there than in place.
func (j journal) read(meta mapping.Volume, size int64) (*journalState, error) {
	all := make([]scanned, j.sections)
	var seen uint
	last := [4]int64{-1, -1, -1, -1}
	used := 0
	for i := range j.sections {
		s, err := j.scan(meta, i)
		if err != nil {
			return nil, err
		}
		all[i] = s
		seen |= s.seen
		for k := range last {
			if s.seen>>k&1 != 0 {
				last[k] = i
			}
		}
		if used += len(s.used); used > maxJournalEntries {
			return nil, fmt.Errorf("%w: more than %d journal entries", ErrIntegrityMetadata, maxJournalEntries)
		}
	}
	newest, err := newestRound(seen)
	if err != nil {
		if used == 0 {
			return &journalState{newest: none}, nil
		}
		return nil, err
	}
	state := &journalState{newest: newest}
	before := (newest + 3) % 4
	if seen>>before&1 == 0 && seen>>((newest+2)%4)&1 != 0 {
		return state, nil
	}
	section, expected := last[newest]+1, before
	if section == j.sections {
		section, expected = 0, newest
	}
	state.overlay = map[int64]journalEntry{}
	taken := int64(0)
	for ; taken < j.sections && all[section].round == expected; taken++ {
		for e := range j.entries() {
			sector, ok := all[section].used[e]
			if ok && sector%j.sectorsPerBlock == 0 && sector < size/integritySector {
				state.overlay[sector/j.sectorsPerBlock] = journalEntry{section, e}
			}
		}
		if section++; section == j.sections {
			section, expected = 0, (expected+1)%4
		}
	}
	state.next, state.nextRound, state.whole = section, expected, taken == j.sections
	return state, nil
}

// none is no round.
const none = -1

var errAllRounds = fmt.Errorf("%w: journal with sectors of all four rounds", ErrIntegrityMetadata)

// newestRound is the last of the rounds seen, of which one must be missing.
func newestRound(seen uint) (int, error) {
	if seen == 1<<4-1 {
		return 0, errAllRounds
	}
	if seen>>3 == 0 {
		return bits.Len(seen) - 1, nil
	}
	return (bits.TrailingZeros(^seen) + 3) % 4, nil
}

// block reads a block from the journal, and returns its tag.
func (j journal) block(meta mapping.Volume, e journalEntry, block []byte) (tag []byte, err error) {
	entry := make([]byte, j.entrySize)
	if _, err := meta.ReadAt(entry, j.at(e.section, 0)+j.entryAt(e.entry)); err != nil {
		return nil, fmt.Errorf("integrity journal: %w", err)
	}
	data := make([]byte, j.sectorsPerBlock*integritySector)
	if _, err := meta.ReadAt(data, j.at(e.section, journalEntrySectors+e.entry*j.sectorsPerBlock)); err != nil {
		return nil, fmt.Errorf("integrity journal: %w", err)
	}
	for k := range j.sectorsPerBlock {
		copy(data[k*integritySector+journalCommitAt:(k+1)*integritySector], entry[8+8*k:])
	}
	copy(block, data)
	return entry[8+8*j.sectorsPerBlock:][:j.tagSize], nil
}
