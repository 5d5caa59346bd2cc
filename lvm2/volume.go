package lvm2

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"lvm2fs/mapping"
)

// Volume is an open LV. It is safe for concurrent use.
type Volume struct {
	lv       *LV
	contents mapping.Volume
	writer   mapping.Writable // nil when read-only

	release sync.Once
	claims  []mapping.WritableDevice // held until Close
	started []state                  // stopped at Close
}

var _ mapping.Writable = (*Volume)(nil)

// Open makes the LV readable. It fails with ErrUnsupported, ErrNoContents or ErrMetadata
// where there is nothing to read. It succeeds for an LV with lost ranges; reading those
// fails with ErrMissing.
func (lv *LV) Open() (*Volume, error) {
	contents, err := lv.VG.assembly.contents(lv)
	if err != nil {
		return nil, fmt.Errorf("LV %s: %w", lv, err)
	}
	return &Volume{lv: lv, contents: contents}, nil
}

// OpenWritable makes the LV readable and writable: it claims the devices beneath, of an origin or a snapshot those beneath
// the origin and all its snapshots, and reads the metadata of the VG again. It fails with ErrReadOnly where
// [LV.ReadOnlyReason] says so, with ErrStale when the metadata has changed, and
// with the device's error where a claim fails.
func (lv *LV) OpenWritable() (*Volume, error) {
	v, err := lv.Open()
	if err != nil {
		return nil, err
	}
	if err := lv.ReadOnlyReason(); err != nil {
		return nil, err
	}
	for _, dev := range foundOn(lv.claimed()) {
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
		v.started, err = lv.VG.assembly.startWriting(lv)
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

// DeviceSize is the size in bytes of the block device that the kernel would make, as far
// as the metadata tells: [Volume.Size] without opening the LV.
func (lv *LV) DeviceSize() int64 {
	if seg := lv.snapshotOf(); seg != nil {
		return int64(seg.ExtentCount) * lv.VG.ExtentSize
	}
	return lv.Size()
}

// Stateful says whether more than the VG's metadata tells where the LV's bytes are: superblocks, tables
// and trees on its devices, as they were when it was opened.
func (lv *LV) Stateful() bool {
	if lv.snapshotOf() != nil || len(lv.snapshots()) > 0 {
		return true
	}
	return lv.through(func(seg *Segment) bool {
		_, striped := seg.Mapping.(*Striped)
		return !striped && seg.Type != "error" && seg.Type != "zero"
	})
}

// LV is the logical volume.
func (v *Volume) LV() *LV { return v.lv }

// Size is the size in bytes of the block device that the kernel would make.
func (v *Volume) Size() int64 { return v.contents.Size() }

// Writable says whether the volume is from OpenWritable.
func (v *Volume) Writable() bool { return v.writer != nil }

// Moves says whether bytes of the volume may come to lie elsewhere while it is open: those of a snapshot do when
// its origin is written. What Map then said of them is to be used at once, by one who knows that nobody writes.
func (v *Volume) Moves() bool { return v.lv.snapshotOf() != nil }

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

// Close syncs and gives up the claims of a writable volume. The second and later calls
// do nothing. Nobody may use the volume any more.
func (v *Volume) Close() error {
	var errs []error
	v.release.Do(func() {
		errs = append(errs, v.Sync(), v.lv.VG.assembly.states.stop(v.started))
		for _, w := range v.claims {
			errs = append(errs, w.Release())
		}
	})
	return errors.Join(errs...)
}

func (v *Volume) errReadOnly() error {
	return fmt.Errorf("LV %s: %w: it was opened for reading", v.lv, ErrReadOnly)
}

// ReadOnlyError is why an LV cannot be written. It wraps ErrReadOnly.
type ReadOnlyError struct {
	LV     *LV
	Reason string // a phrase
	Own    bool   // it is about this LV, and not about its VG, its devices or all segments of a type
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("LV %s: %v: %s", e.LV, ErrReadOnly, e.Reason)
}

// Unwrap makes the error one of [ErrReadOnly].
func (e *ReadOnlyError) Unwrap() error { return ErrReadOnly }

// ReadOnlyReason says why the LV cannot be written, with a [*ReadOnlyError]; nil when it can.
func (lv *LV) ReadOnlyReason() error {
	if reason, own := lv.readOnlyReason(); reason != "" {
		return &ReadOnlyError{lv, reason, own}
	}
	return nil
}

// Health is "" for an LV in good order, or what is wrong with it, separated by commas:
// damaged (its metadata, or that of a pool, cache or snapshot that it lies on, makes no sense), unsupported,
// invalid (a snapshot that overflowed), unreadable (it cannot be opened for another reason, which [LV.Fault] gives),
// partial (some of it is lost), degraded (a leg of a RAID or mirror is lost, stale or not yet
// built, but may be made up for), cache-lost (and not needed), needs-check
// (a thin pool or a cache whose metadata the kernel gave up writing), failing (a leg could not be read in parts, or not be written), in-use
// (by somebody else), "bad name".
func (lv *LV) Health() string {
	var words []string
	if word := faultWord(lv.Fault()); word != "" {
		words = append(words, word)
	}
	if lv.Partial() {
		words = append(words, "partial")
	}
	words = append(words, lv.VG.assembly.arrayHealth(lv)...)
	if lv.VG.assembly.cachesLost(lv) != nil {
		words = append(words, "cache-lost")
	}
	if lv.VG.assembly.needsCheck(lv) {
		words = append(words, "needs-check")
	}
	if slices.ContainsFunc(lv.pvs(), func(pv *PV) bool { return pv.holder != "" }) {
		words = append(words, "in-use")
	}
	if !validName(lv.Name) || !validName(lv.VG.Name) {
		words = append(words, "bad name")
	}
	return strings.Join(words, ",")
}

// Partial says whether the LV has extents on a PV that is missing, or beyond the end of the device of one.
func (lv *LV) Partial() bool { return lv.VG.partialLVs()[lv] }

// Devices are the devices beneath the LV that were found, each once.
func (lv *LV) Devices() []Device {
	return foundOn(lv.pvs())
}

func foundOn(pvs []*PV) []Device {
	var devices []Device
	for _, pv := range pvs {
		if pv.Device != nil {
			devices = append(devices, pv.Device)
		}
	}
	return devices
}

// pvs are the PVs beneath the LV, each once, in the order of the VG. Not to be changed.
func (lv *LV) pvs() []*PV { return lv.allPVs }
