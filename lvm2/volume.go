package lvm2

import (
	"lvm2fs/mapping"
)

// Volume is an open LV. It is safe for concurrent use.
type Volume struct {
	lv       *LV
	contents mapping.Volume
	claims   []mapping.WritableDevice // held until Close; nil when read-only
}

// Open makes the LV readable. It fails with ErrUnsupported or ErrNoContents where
// there is nothing to read. It succeeds for an LV with lost ranges; reading those
// fails with ErrMissing.
func (lv *LV) Open() (*Volume, error) { panic("soon") }

// OpenWritable makes the LV readable and writable: it claims the devices beneath and
// reads the metadata of the VG again. It fails with ErrReadOnly where
// [LV.ReadOnlyReason] says so, with ErrStale when the metadata has changed, and
// with the device's error where a claim fails.
func (lv *LV) OpenWritable() (*Volume, error) { panic("soon") }

// LV is the logical volume.
func (v *Volume) LV() *LV { return v.lv }

// Size is the size in bytes of the block device that the kernel would make.
func (v *Volume) Size() int64 { return v.contents.Size() }

// Map answers where bytes are; see [mapping.Volume].
func (v *Volume) Map(off, max int64) (mapping.Extent, error) { return v.contents.Map(off, max) }

// ReadAt reads whole or fails; see [mapping.Volume].
func (v *Volume) ReadAt(p []byte, off int64) (int, error) { return v.contents.ReadAt(p, off) }

// WriteAt writes all of p, which must end within Size.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) { panic("soon") }

// PunchHole makes n bytes at off read as zeros. It fails with errors.ErrUnsupported
// where the devices beneath cannot guarantee that.
func (v *Volume) PunchHole(off, n int64) error { panic("soon") }

// Sync returns once all that was written is on stable storage.
func (v *Volume) Sync() error { panic("soon") }

// Close releases the claims of a writable volume, after a Sync.
func (v *Volume) Close() error { panic("soon") }

// ReadOnlyReason says why the LV cannot be written; nil when it can. It wraps
// ErrReadOnly.
func (lv *LV) ReadOnlyReason() error { panic("soon") }

// Visible says whether the LV is offered as a file by default: whether the kernel
// would have a block device of it that is the user's.
func (lv *LV) Visible() bool { panic("soon") }

// Listed says whether lvs without -a shows the LV.
func (lv *LV) Listed() bool { panic("soon") }

// Health is "" for an LV in good order, or one word or two for what is wrong with it:
// partial, in-use, "bad name", unsupported.
func (lv *LV) Health() string { panic("soon") }

// Devices are the devices beneath the LV that were found, in no order.
func (lv *LV) Devices() []Device { panic("soon") }
