package lvm2

import (
	"errors"
	"fmt"
	"sync"

	"lvm2fs/lvm2/internal/assembly"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Volume is an open LV. It is safe for concurrent use.
type Volume struct {
	lv       *LV
	contents mapping.Volume
	writer   mapping.Writable // nil when read-only
	moves    bool

	release sync.Once
	claims  []mapping.WritableDevice // held until Close
	writing *assembly.Writing        // stopped at Close
}

var _ mapping.Writable = (*Volume)(nil)

// Open makes the LV readable. It fails with ErrUnsupported, ErrNoContents or ErrMetadata
// where there is nothing to read. It succeeds for an LV with lost ranges; reading those
// fails with ErrMissing.
func (lv *LV) Open() (*Volume, error) {
	contents, err := lv.VG.assembly.Contents(lv.LV)
	if err != nil {
		return nil, fmt.Errorf("LV %s: %w", lv, err)
	}
	moves := lv.SnapshotOf() != nil || lv.Through(func(seg *metadata.Segment) bool {
		_, thin := seg.Mapping.(*metadata.Thin)
		return thin
	})
	return &Volume{lv: lv, contents: contents, moves: moves}, nil
}

// OpenWritable makes the LV readable and writable. It claims the devices beneath, and for an origin or a snapshot those
// beneath the whole family; then it reads the metadata of the VG again. It fails with ErrReadOnly and the reason of
// [LV.ReadOnlyReason], with ErrStale if the metadata has changed, and with the device's error if a claim fails.
func (lv *LV) OpenWritable() (*Volume, error) {
	v, err := lv.Open()
	if err != nil {
		return nil, err
	}
	if err := lv.ReadOnlyReason(); err != nil {
		return nil, err
	}
	for _, dev := range lv.VG.found(lv.FamilyPVs()) {
		w, ok := dev.(mapping.WritableDevice)
		if !ok {
			return nil, errors.Join(fmt.Errorf("LV %s: %s: %w", lv, dev.Name(), mapping.ErrNotWritable), v.Close())
		}
		if err := w.Claim(); err != nil {
			return nil, errors.Join(fmt.Errorf("LV %s: %w", lv, err), v.Close())
		}
		v.claims = append(v.claims, w)
	}
	err = lv.VG.recheck()
	if err == nil {
		v.writing, err = lv.VG.assembly.StartWriting(lv.LV)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("LV %s: %w", lv, err), v.Close())
	}
	v.writer, _ = v.contents.(mapping.Writable)
	if v.writer == nil {
		return nil, errors.Join(fmt.Errorf("LV %s: %w", lv, mapping.ErrNotWritable), v.Close())
	}
	return v, nil
}

// LV is the logical volume.
func (v *Volume) LV() *LV { return v.lv }

// Size is the size in bytes of the block device that the kernel would make.
func (v *Volume) Size() int64 { return v.contents.Size() }

// Writable says whether the volume is from OpenWritable.
func (v *Volume) Writable() bool { return v.writer != nil }

// Moves says whether bytes of the volume may come to lie elsewhere while it is open: those of a snapshot when its origin
// is written, those of a thin LV when it is written. An answer of Map must then be used at once, while nobody writes.
func (v *Volume) Moves() bool { return v.moves }

// Map answers where bytes are; see [mapping.Volume].
func (v *Volume) Map(off, max int64) (mapping.Extent, error) { return v.contents.Map(off, max) }

// ReadAt reads whole or fails; see [mapping.Volume].
func (v *Volume) ReadAt(p []byte, off int64) (int, error) { return v.contents.ReadAt(p, off) }

// WriteAt writes all of p, which must end within Size. It fails with ErrReadOnly if the
// volume is not from OpenWritable.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) {
	if v.writer == nil {
		return 0, v.errReadOnly()
	}
	return v.writer.WriteAt(p, off)
}

// PunchHole makes n bytes at off read as zeros. It fails with errors.ErrUnsupported
// where the devices beneath cannot guarantee that.
func (v *Volume) PunchHole(off, n int64) error {
	if v.writer == nil {
		return v.errReadOnly()
	}
	return v.writer.PunchHole(off, n)
}

// Sync returns once all that was written is on stable storage.
func (v *Volume) Sync() error {
	if v.writer == nil {
		return nil
	}
	return v.writer.Sync()
}

// Close syncs and gives up the claims of a writable volume. Nobody may use the volume any more; further calls of Close do
// nothing.
func (v *Volume) Close() error {
	var errs []error
	v.release.Do(func() {
		errs = append(errs, v.Sync(), v.writing.Stop())
		for _, w := range v.claims {
			errs = append(errs, w.Release())
		}
	})
	return errors.Join(errs...)
}

func (v *Volume) errReadOnly() error {
	return fmt.Errorf("LV %s: %w: it was opened for reading", v.lv, ErrReadOnly)
}
