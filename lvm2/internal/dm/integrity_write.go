package dm

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"lvm2fs/mapping"
)

// ErrIntegrityChanged: the metadata of an integrity layer are not what they were when it was opened.
var ErrIntegrityChanged = errors.New("the metadata of the integrity layer have changed")

// How data and tags are kept together, as the VG's metadata call it.
const (
	IntegrityJournal = "J" // both are in the journal before they are written in place
	IntegrityBitmap  = "B" // a bit says where they may not fit
)

var _ mapping.Writable = (*Checked)(nil)

// blockWriter changes whole blocks so that a power cut leaves no tag that does not fit and is believed.
type blockWriter interface {
	// enter returns once blocks of n bytes at off may be written. leave is to be called then.
	enter(off, n int64) error
	leave(off, n int64, err error)
	// write is called by one at a time, without a lock that readers need.
	write(blocks []byte, off int64) error
	// sync and stop return once all that was written is on stable storage; stop also once it is in place.
	sync() error
	stop() error
}

// integrityWriting is what a volume keeps to be written.
type integrityWriting struct {
	mu     sync.Mutex // one changes blocks at a time
	begun  blockWriter
	failed error // why nothing more can be begun
}

// BlockSize is the number of bytes that are written as a whole. Of less, the rest is read, checked and written again.
func (v *Checked) BlockSize() int64 { return v.config.BlockSize }

// ReadOnlyReason is why the volume cannot be written, as a phrase; "" if it can be.
func (v *Checked) ReadOnlyReason() string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	switch {
	case v.config.Size%v.config.BlockSize != 0:
		return fmt.Sprintf("its size is no multiple of the blocks of %d bytes that have checksums", v.config.BlockSize)
	case v.config.Mode == IntegrityJournal && v.bitmap:
		return "its checksums are kept with a journal by the VG's metadata, but with a bitmap on disk"
	case v.config.Mode == IntegrityBitmap && v.bits() > 8*v.journal.size():
		return fmt.Sprintf("its bitmap of %d bits has room for %d", v.bits(), 8*v.journal.size())
	case v.config.Mode != IntegrityJournal && v.config.Mode != IntegrityBitmap:
		return fmt.Sprintf("its checksums are kept in mode %q", v.config.Mode)
	}
	return ""
}

// StartWriting reads the metadata again. It fails with ErrIntegrityChanged if they are not what they were, and with
// ErrIntegrityMetadata if the journal holds what the kernel would not take.
func (v *Checked) StartWriting() error {
	b := make([]byte, integritySector)
	if _, err := v.meta.ReadAt(b, 0); err != nil {
		return fmt.Errorf("superblock of the integrity metadata: %w", err)
	}
	if !bytes.Equal(b, v.superblock) {
		return fmt.Errorf("superblock of the integrity metadata: %w", ErrIntegrityChanged)
	}
	if v.bitmap {
		return nil
	}
	found, err := v.journal.read(v.meta, v.config.Size)
	if err != nil {
		return err
	}
	return v.checkJournal(found)
}

// checkJournal checks the blocks that the journal holds, each of which the kernel has to write in place.
func (v *Checked) checkJournal(found *journalState) error {
	if found.newest == none {
		return errAllRounds
	}
	block := make([]byte, v.config.BlockSize)
	for number, e := range found.overlay {
		tag, err := v.journal.block(v.meta, e, block)
		if err != nil {
			return err
		}
		if !v.matches(tag, v.sectorOf(number*v.config.BlockSize), block) {
			return fmt.Errorf("%w: journal: block at byte %d does not match its checksum", ErrIntegrityMetadata, number*v.config.BlockSize)
		}
	}
	return nil
}

// begin makes the layer ready to be written, once.
func (v *Checked) begin() (blockWriter, error) {
	w := &v.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun != nil || w.failed != nil {
		return w.begun, w.failed
	}
	if reason := v.ReadOnlyReason(); reason != "" {
		return nil, fmt.Errorf("%w: %s", mapping.ErrNotWritable, reason)
	}
	data, err := writable(v.data)
	if err != nil {
		return nil, err
	}
	meta, err := writable(v.meta)
	if err != nil {
		return nil, err
	}
	place := &inPlace{v: v, data: data, meta: meta}
	if v.config.Mode == IntegrityBitmap {
		w.begun, err = v.beginBitmap(place)
	} else {
		w.begun, err = v.beginJournal(place)
	}
	if err != nil {
		w.begun, w.failed = nil, err // what is on disk is for the kernel to make sense of
	}
	return w.begun, w.failed
}

// StopWriting returns once all that was written is in place on stable storage.
func (v *Checked) StopWriting() error {
	w := &v.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun == nil {
		return w.failed
	}
	err := w.begun.stop()
	if err == nil {
		w.begun = nil
	}
	return err
}

// WriteAt implements [mapping.Writable]. Of a block that is written in part the rest must match its checksum.
func (v *Checked) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), v.Size()); err != nil || len(p) == 0 {
		return 0, err
	}
	w, err := v.begin()
	if err != nil {
		return 0, err
	}
	size := v.config.BlockSize
	start, end := off/size*size, (off+int64(len(p))+size-1)/size*size
	if err := w.enter(start, end-start); err != nil {
		return 0, err
	}
	n, err := v.writeBlocks(w, p, off)
	w.leave(start, end-start, err)
	return n, err
}

// errKept is the error of a block that is left as it is.
type errKept struct{ error }

func (e errKept) Unwrap() error { return e.error }

// writeBlocks writes p, with what else is in its first and last block.
func (v *Checked) writeBlocks(w blockWriter, p []byte, off int64) (int, error) {
	v.writing.mu.Lock()
	defer v.writing.mu.Unlock()
	size := v.config.BlockSize
	done := 0
	for done < len(p) {
		at, rest := off+int64(done), p[done:]
		inside := at % size
		if whole := int64(len(rest)) / size * size; inside == 0 && whole > 0 {
			if err := w.write(rest[:whole], at); err != nil {
				return done, err
			}
			done += int(whole)
			continue
		}
		block := make([]byte, size)
		if _, err := v.read(block, at-inside); err != nil {
			return done, errKept{fmt.Errorf("part of a block: %w", err)}
		}
		n := copy(block[inside:], rest)
		if err := w.write(block, at-inside); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// PunchHole implements [mapping.Writable]. It writes zeros: they have checksums, too.
func (v *Checked) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, v.Size()); err != nil {
		return err
	}
	zeros := make([]byte, min(n, pieceSize))
	for n > 0 {
		part := zeros[:min(n, int64(len(zeros)))]
		if _, err := v.WriteAt(part, off); err != nil {
			return err
		}
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	return nil
}

// Sync implements [mapping.Writable].
func (v *Checked) Sync() error {
	v.writing.mu.Lock()
	w, failed := v.writing.begun, v.writing.failed
	v.writing.mu.Unlock()
	if w == nil {
		return failed
	}
	return w.sync()
}

// inPlace is where blocks and their tags have their place.
type inPlace struct {
	v          *Checked
	data, meta mapping.Writable
	tags       []byte
}

// write writes blocks and their tags. Whoever calls it holds v.mu, or knows that nobody reads those blocks in place.
func (w *inPlace) write(blocks []byte, off int64) error {
	size := w.v.config.BlockSize
	w.tags = w.tags[:0]
	for done := int64(0); done < int64(len(blocks)); done += size {
		w.tags = w.v.appendTag(w.tags, w.v.sectorOf(off+done), blocks[done:done+size])
	}
	if _, err := w.data.WriteAt(blocks, off); err != nil {
		return err
	}
	if _, err := w.meta.WriteAt(w.tags, w.v.tags+off/size*w.v.config.TagSize); err != nil {
		return fmt.Errorf("integrity tags: %w", err)
	}
	return nil
}

// sync brings to stable storage what was written.
func (w *inPlace) sync() error {
	dataErr, metaErr := w.data.Sync(), w.meta.Sync() // they are of one disk, as a rule
	if metaErr != nil {
		metaErr = fmt.Errorf("integrity metadata: %w", metaErr)
	}
	return errors.Join(dataErr, metaErr)
}
