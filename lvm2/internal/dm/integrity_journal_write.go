package dm

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// journalWriter writes blocks to the journal and then in place, a section at a time:
//
//	what is in place of the section that is written over | flush
//	section: blocks, tags, commit IDs of the next round  | flush
//	data and tags in place
//
// Blocks are kept in memory until they fill a section, or have to be on stable storage. A power cut leaves a
// section with IDs of two rounds, of which nothing is in place, or a whole one, which is replayed. What it held before is
// in place by then.
// (docs/format/08-integrity.md, sections 5 and 10)
type journalWriter struct {
	*inPlace
	journal
	next      int64 // section to be written
	round     int   // that it is to be of
	since     int64 // sections written since all was in place on stable storage
	blocks    *pendingBlocks
	buf       []byte // a section
	failed    error
	blockSize int64
}

// pendingBlocks are blocks that are newer than in place, as many as go into a section. Nil has none.
type pendingBlocks struct {
	size  int64
	data  []byte
	slots map[int64]int // block → its place in data
}

func newPendingBlocks(count, size int64) *pendingBlocks {
	return &pendingBlocks{size, make([]byte, 0, count*size), make(map[int64]int, count)}
}

func (p *pendingBlocks) slot(i int) []byte { return p.data[int64(i)*p.size:][:p.size] }

func (p *pendingBlocks) read(block []byte, number int64) bool {
	if p == nil {
		return false
	}
	i, ok := p.slots[number]
	if ok {
		copy(block, p.slot(i))
	}
	return ok
}

// put takes a block, and says whether there was room for it.
func (p *pendingBlocks) put(block []byte, number int64) bool {
	if i, ok := p.slots[number]; ok {
		copy(p.slot(i), block)
		return true
	}
	if len(p.data) == cap(p.data) {
		return false
	}
	p.slots[number] = len(p.slots)
	p.data = append(p.data, block...)
	return true
}

// numbers are those of the blocks, in order.
func (p *pendingBlocks) numbers() []int64 {
	numbers := make([]int64, 0, len(p.slots))
	for number := range p.slots {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	return numbers
}

func (p *pendingBlocks) clear() {
	p.data = p.data[:0]
	clear(p.slots)
}

func (v *Checked) beginJournal(place *inPlace) (blockWriter, error) {
	found, err := v.replay(place)
	if err != nil {
		return nil, err
	}
	w := &journalWriter{
		inPlace: place, journal: v.journal, next: found.next, round: found.nextRound, blockSize: v.config.BlockSize,
		blocks: newPendingBlocks(v.journal.entries(), v.config.BlockSize),
		buf:    make([]byte, v.journal.sectionSectors()*integritySector),
	}
	if !found.whole {
		if err := w.reset(found); err != nil {
			return nil, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pending = w.blocks
	return w, nil
}

// replay has in place, on stable storage, what the journal holds.
func (v *Checked) replay(place *inPlace) (*journalState, error) {
	// What a process that died has written need not be on stable storage, and goes on from there.
	if err := place.meta.Sync(); err != nil {
		return nil, err
	}
	found, err := v.journal.read(v.meta, v.config.Size)
	if err != nil {
		return nil, err
	}
	if err := v.checkJournal(found); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	block := make([]byte, v.config.BlockSize)
	for number, e := range found.overlay {
		if _, err := v.journal.block(v.meta, e, block); err != nil {
			return nil, err
		}
		if err := place.write(block, number*v.config.BlockSize); err != nil {
			return nil, err
		}
	}
	if len(found.overlay) > 0 {
		if err := place.sync(); err != nil {
			return nil, err
		}
	}
	v.replayed = true
	return found, nil
}

// reset makes all sections anew, after replay. At each moment the kernel would replay nothing, or what is the
// newest of each block: entries that do not count go first, then those that do, and only then the rounds change.
func (w *journalWriter) reset(found *journalState) error {
	counts := map[journalEntry]bool{}
	for _, e := range found.overlay {
		counts[e] = true
	}
	for _, keep := range []map[journalEntry]bool{counts, nil} {
		for section := range w.sections {
			if err := w.erase(section, keep); err != nil {
				return err
			}
		}
		if err := w.meta.Sync(); err != nil {
			return err
		}
	}
	for section := range w.sections {
		w.encode(section, found.newest, nil)
		if _, err := w.meta.WriteAt(w.buf, w.at(section, 0)); err != nil {
			return fmt.Errorf("integrity journal: %w", err)
		}
	}
	w.next, w.round = 0, (found.newest+1)%4
	return w.meta.Sync()
}

// erase makes all entries of a section unused but those in keep. Its sectors stay of the rounds that they are of.
func (w *journalWriter) erase(section int64, keep map[journalEntry]bool) error {
	b := make([]byte, journalEntrySectors*integritySector)
	if _, err := w.meta.ReadAt(b, w.at(section, 0)); err != nil {
		return fmt.Errorf("integrity journal: %w", err)
	}
	for e := range w.entries() {
		if !keep[journalEntry{section, e}] {
			putUnused(b[w.entryAt(e):])
		}
	}
	if _, err := w.meta.WriteAt(b, w.at(section, 0)); err != nil {
		return fmt.Errorf("integrity journal: %w", err)
	}
	return nil
}

func putUnused(entry []byte) { binary.LittleEndian.PutUint64(entry, journalUnused<<32) }

// encode makes buf a section with blocks.
func (w *journalWriter) encode(section int64, round int, numbers []int64) {
	le := binary.LittleEndian
	clear(w.buf)
	for e := range w.entries() {
		entry := w.buf[w.entryAt(e):]
		if e >= int64(len(numbers)) {
			putUnused(entry)
			continue
		}
		block, sector := w.blocks.slot(w.blocks.slots[numbers[e]]), numbers[e]*w.sectorsPerBlock
		le.PutUint64(entry, uint64(sector))
		copy(w.buf[(journalEntrySectors+e*w.sectorsPerBlock)*integritySector:], block)
		for k := range w.sectorsPerBlock {
			copy(entry[8+8*k:][:8], block[k*integritySector+journalCommitAt:])
		}
		copy(entry[8+8*w.sectorsPerBlock:], w.v.appendTag(nil, le.AppendUint64(nil, uint64(sector)), block))
	}
	for sector := range w.sectionSectors() {
		le.PutUint64(w.buf[sector*integritySector+journalCommitAt:], commitID(round, section, sector))
	}
}

func (w *journalWriter) enter(int64, int64) error  { return nil }
func (w *journalWriter) leave(int64, int64, error) {}

// write is called while v.writing.mu is held.
func (w *journalWriter) write(blocks []byte, off int64) error {
	if w.failed != nil {
		return w.failed
	}
	for done := int64(0); done < int64(len(blocks)); {
		w.v.mu.Lock()
		for done < int64(len(blocks)) && w.blocks.put(blocks[done:done+w.blockSize], (off+done)/w.blockSize) {
			done += w.blockSize
		}
		w.v.mu.Unlock()
		if done < int64(len(blocks)) {
			if err := w.commit(); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit writes what is pending: it is on stable storage then, and in place.
func (w *journalWriter) commit() error {
	if w.failed == nil && len(w.blocks.slots) > 0 {
		if err := w.commitSection(); err != nil {
			w.failed = fmt.Errorf("no more writes after one that failed: %w", err)
			return err
		}
	}
	return w.failed
}

func (w *journalWriter) commitSection() error {
	if w.since == w.sections { // what the section holds need not be in place
		if err := w.inPlace.sync(); err != nil {
			return err
		}
		w.since = 0
	}
	numbers := w.blocks.numbers()
	w.encode(w.next, w.round, numbers)
	if _, err := w.meta.WriteAt(w.buf, w.at(w.next, 0)); err != nil {
		return fmt.Errorf("integrity journal: %w", err)
	}
	if err := w.meta.Sync(); err != nil {
		return fmt.Errorf("integrity journal: %w", err)
	}
	w.since++
	if w.next++; w.next == w.sections {
		w.next, w.round = 0, (w.round+1)%4
	}
	// Readers have these blocks from memory.
	if err := w.putInPlace(numbers); err != nil {
		return err
	}
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	w.blocks.clear()
	return nil
}

// putInPlace writes blocks in place, neighbours that are neighbours in memory in one go.
func (w *journalWriter) putInPlace(numbers []int64) error {
	for len(numbers) > 0 {
		n, slot := int64(1), w.blocks.slots[numbers[0]]
		for n < int64(len(numbers)) && numbers[n] == numbers[0]+n && w.blocks.slots[numbers[n]] == slot+int(n) {
			n++
		}
		at := int64(slot) * w.blockSize
		if err := w.inPlace.write(w.blocks.data[at:at+n*w.blockSize], numbers[0]*w.blockSize); err != nil {
			return err
		}
		numbers = numbers[n:]
	}
	return nil
}

func (w *journalWriter) sync() error {
	w.v.writing.mu.Lock()
	defer w.v.writing.mu.Unlock()
	return w.commit()
}

// stop is called while v.writing.mu is held.
func (w *journalWriter) stop() error {
	if err := w.commit(); err != nil {
		return err
	}
	if err := w.inPlace.sync(); err != nil {
		w.failed = err
		return err
	}
	w.since = 0
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	w.v.pending = nil
	return nil
}
