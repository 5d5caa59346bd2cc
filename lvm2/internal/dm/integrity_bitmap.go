package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// bitmapWriter writes blocks in place, where a bit on stable storage says that tags may not fit:
//
//	before a region is written     its bit             | flush
//	when it has been quiet         data and tags flush | its bit cleared
//
// The flag that says that there is a bitmap stays set: one without bits asks nothing of the kernel. To make a journal of
// it again is the kernel's.
// (docs/format/08-integrity.md, section 10)
type bitmapWriter struct {
	*inPlace
	intent *raid.Intent
}

// tagsQuiet is for how long a region must not have been written to before its bit is cleared. A variable for tests, whose
// disks are for one at a time.
var tagsQuiet = 5 * time.Second

// bits is the number of regions.
func (v *Checked) bits() int64 { return (v.config.Size + v.bytesPerBit - 1) / v.bytesPerBit }

func (v *Checked) beginBitmap(place *inPlace) (blockWriter, error) {
	if !v.bitmap {
		if err := v.makeBitmap(place); err != nil {
			return nil, err
		}
	}
	log := &tagLog{meta: place.meta, region: v.bytesPerBit, bits: make([]byte, (v.bits()+7)/8)}
	if _, err := place.meta.ReadAt(log.bits, integritySuperblock); err != nil {
		return nil, fmt.Errorf("integrity bitmap: %w", err)
	}
	log.left = bytes.Clone(log.bits)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left = log.left
	return &bitmapWriter{place, raid.NewIntent(log, place.sync, tagsQuiet)}, nil
}

// makeBitmap replaces the journal by a bitmap of zeros. Between the two steps there is a bitmap of what the journal was:
// with bits where they need not be, and nothing is out of step anywhere.
func (v *Checked) makeBitmap(place *inPlace) error {
	if _, err := v.replay(place); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	b := bytes.Clone(v.superblock)
	b[integrityVersionAt] = max(b[integrityVersionAt], integrityBitmapVersion)
	le := binary.LittleEndian
	le.PutUint32(b[integrityFlagsAt:], le.Uint32(b[integrityFlagsAt:])|integrityDirtyBitmap)
	if _, err := place.meta.WriteAt(b, 0); err != nil {
		return fmt.Errorf("superblock of the integrity metadata: %w", err)
	}
	if err := place.meta.Sync(); err != nil {
		return err
	}
	v.superblock, v.bitmap = b, true
	zeros := make([]byte, min(v.journal.size(), pieceSize))
	for off, end := int64(integritySuperblock), v.tags; off < end; off += int64(len(zeros)) {
		if _, err := place.meta.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return fmt.Errorf("integrity bitmap: %w", err)
		}
	}
	return place.meta.Sync()
}

func (w *bitmapWriter) enter(off, n int64) error { return w.intent.Enter(off, off+n) }

func (w *bitmapWriter) leave(off, n int64, err error) {
	if kept := (errKept{}); errors.As(err, &kept) {
		err = nil
	}
	w.intent.Leave(off, off+n, err)
}

func (w *bitmapWriter) write(blocks []byte, off int64) error {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	return w.inPlace.write(blocks, off)
}

func (w *bitmapWriter) sync() error { return w.intent.Flush() }

func (w *bitmapWriter) stop() error {
	if err := w.intent.Stop(); err != nil {
		return err
	}
	if err := w.meta.Sync(); err != nil { // or the kernel would compute again what fits
		return err
	}
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	w.v.left = nil
	return nil
}

// tagLog is the bitmap, as a [raid.Log].
type tagLog struct {
	meta   mapping.Writable
	region int64
	bits   []byte
	left   []byte // that a crash has left set, for the kernel to compute the tags there; they stay
}

// RegionSize implements [raid.Log].
func (l *tagLog) RegionSize() int64 { return l.region }

// Mark implements [raid.Log].
func (l *tagLog) Mark(regions []int64) error {
	for _, i := range regions {
		l.bits[i/8] |= 1 << (i % 8)
	}
	if err := l.put(regions); err != nil {
		return err
	}
	return l.meta.Sync()
}

// Unmark implements [raid.Log].
func (l *tagLog) Unmark(regions []int64) error {
	for _, i := range regions {
		l.bits[i/8] &^= 1 << (i % 8) &^ l.left[i/8]
	}
	return l.put(regions)
}

// put writes the bytes from that of the first of regions to that of the last.
func (l *tagLog) put(regions []int64) error {
	from, to := regions[0]/8, regions[len(regions)-1]/8+1
	if _, err := l.meta.WriteAt(l.bits[from:to], integritySuperblock+from); err != nil {
		return fmt.Errorf("integrity bitmap: %w", err)
	}
	return nil
}
