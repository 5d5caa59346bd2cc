// Package mapping holds the one question that runs through all of lvm2fs:
// where is this run of bytes?
//
// A [Volume] is anything with bytes: a range of a device, a segment of an LV, an
// LV, an array below LVM. Asked with Map, it answers with an [Extent]: data at an
// offset of a device, zero, computed, or missing. Volumes stack; a volume over
// other volumes answers by asking the ones beneath, so every answer ends at a
// [Device]. Reading, splicing, SEEK_HOLE, sparse copies and reports are all small
// consumers of this question.
//
// Every offset and length in this package is in bytes.
package mapping

import (
	"fmt"
	"io"
	"reflect"
)

// Device is where mappings end: an image file, a disk, or anything that holds the
// bytes of one. It is safe for concurrent use. Devices are compared with ==, so one that is
// a struct is best passed by pointer.
type Device interface {
	// ReadAt reads len(p) bytes at off, whatever their alignment. It is whole
	// or an error; a read that ends at or before Size never returns io.EOF.
	io.ReaderAt
	// Size is the length of the device in bytes.
	Size() int64
	// Name is what the user called the device, for messages.
	Name() string
}

// WritableDevice is a Device that can be claimed for writing.
//
// Claims are counted: the first Claim takes the device as exclusively as the
// platform can and opens it for writing, the last Release gives it up. WriteAt,
// PunchHole and Sync fail while there is no claim.
type WritableDevice interface {
	Device
	Claim() error
	Release() error
	// WriteAt is whole or an error, whatever the alignment. It never grows the
	// device.
	io.WriterAt
	// PunchHole makes n bytes at off read as zeros, giving back their space
	// where it can. It fails with errors.ErrUnsupported where the platform
	// does not guarantee zeros.
	PunchHole(off, n int64) error
	// Sync returns once all that was written is on stable storage.
	Sync() error
}

// Kind says what an extent is made of.
type Kind uint8

const (
	// Data lies on a device as it is.
	Data Kind = iota
	// Zero reads as zeros and lies nowhere.
	Zero
	// Computed has no place of its own: it is rebuilt from parity, decompressed,
	// or checked while it is read. ReadAt gives the bytes.
	Computed
	// Missing cannot be read.
	Missing
)

func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Zero:
		return "zero"
	case Computed:
		return "computed"
	case Missing:
		return "missing"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Extent says where a run of a volume's bytes is.
type Extent struct {
	Kind   Kind
	Length int64  // bytes, more than 0
	Device Device // of Data
	Offset int64  // of Data: bytes from the start of Device
	Err    error  // of Missing: why, wrapping ErrMissing
}

// Volume is a run of bytes over other volumes or a device. It is safe for
// concurrent use.
type Volume interface {
	// ReadAt reads len(p) bytes at off. It is whole, or an error with the
	// number of good bytes before the first bad one; past Size it is io.EOF.
	io.ReaderAt
	// Size is the length of the volume in bytes.
	Size() int64
	// Map says where the bytes from off are, for at most max bytes and at least
	// one; 0 <= off < Size and max > 0. Neighbouring answers of one kind may be
	// split anywhere. An error means that the question could not be answered,
	// and reading the range would fail in the same way.
	Map(off, max int64) (Extent, error)
}

// Writable is a Volume whose bytes can be changed in place. Order matters to some
// (bitmap, parity, flush), so writing is the volume's own business: no writer goes
// round it through Map.
type Writable interface {
	Volume
	// WriteAt writes len(p) bytes at off, all of them or an error.
	io.WriterAt
	// PunchHole makes n bytes at off read as zeros, like
	// [WritableDevice.PunchHole].
	PunchHole(off, n int64) error
	// Sync returns once all that was written is on stable storage.
	Sync() error
}

// Walk calls visit for each extent of v in [off, off+n), in order, joining
// neighbours that are one run. It stops at the first error of either.
func Walk(v Volume, off, n int64, visit func(off int64, e Extent) error) error {
	var run Extent
	var start int64
	for end := off + n; off < end; {
		e, err := v.Map(off, end-off)
		if err != nil {
			return err
		}
		if e.Length <= 0 || e.Length > end-off {
			return fmt.Errorf("mapping: extent of %d bytes at %d, asked for 1 to %d", e.Length, off, end-off)
		}
		if run.Length > 0 && run.joins(e) {
			run.Length += e.Length
		} else {
			if run.Length > 0 {
				if err := visit(start, run); err != nil {
					return err
				}
			}
			run, start = e, off
		}
		off += e.Length
	}
	if run.Length > 0 {
		return visit(start, run)
	}
	return nil
}

func (e Extent) joins(next Extent) bool {
	switch {
	case e.Kind != next.Kind:
		return false
	case e.Kind == Data:
		return e.Device == next.Device && e.Offset+e.Length == next.Offset
	case e.Kind == Missing:
		return sameError(e.Err, next.Err)
	}
	return true
}

// sameError compares errors that devices and volumes of the caller's may have made: == panics where one is, say, a slice.
func sameError(a, b error) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
