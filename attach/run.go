package attach

import (
	"errors"
	"slices"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// Run is a place: Length bytes from Offset of a file or disk.
type Run struct {
	Device         mapping.Device
	Offset, Length int64
}

// errNotOneRun ends the walk over an LV that is in pieces.
var errNotOneRun = errors.New("not one run")

// Contiguous says where an LV is, if all that it is made of is one run of bytes of one file or disk. An LV is not
// contiguous if something beside its bytes is kept on disk (the state of an array or a cache, the tables of an image), or
// if its bytes may be on another device too (a leg of an array below LVM): who goes round the layer would miss that.
func Contiguous(lv *lvm2.LV) (Run, bool) {
	if stateful(lv) {
		return Run{}, false
	}
	v, err := lv.Open()
	if err != nil {
		return Run{}, false
	}
	run, ok := oneRun(v, v.Size())
	if !ok {
		return Run{}, false
	}
	var bottom []mapping.Device
	for _, d := range lv.Devices() {
		for _, b := range mapping.Bottom(d) {
			if !slices.Contains(bottom, b) {
				bottom = append(bottom, b)
			}
		}
	}
	return run, len(bottom) == 1 && bottom[0] == run.Device
}

// stateful says whether more is written than the bytes of the LV: by what it is, or by what it lies on, such as an image
// with tables.
func stateful(lv *lvm2.LV) bool {
	var look func(d mapping.Device) bool
	look = func(d mapping.Device) bool {
		if s, ok := d.(interface{ Stateful() bool }); ok && s.Stateful() {
			return true
		}
		s, ok := d.(mapping.Stacked)
		return ok && slices.ContainsFunc(s.Beneath(), look)
	}
	return lv.Stateful() || slices.ContainsFunc(lv.Devices(), look)
}

// Beginning says where the first n bytes of an LV are, if these are one run of a file or disk, and nothing is beside them.
func Beginning(lv *lvm2.LV, n int64) (Run, bool) {
	v, err := lv.Open()
	if stateful(lv) || err != nil || v.Size() < n {
		return Run{}, false
	}
	return oneRun(v, n)
}

// oneRun is where the first n bytes of a volume are, if they are one run of data.
func oneRun(v mapping.Volume, n int64) (Run, bool) {
	if n <= 0 {
		return Run{}, false
	}
	var run Run
	err := mapping.Walk(v, 0, n, func(off int64, e mapping.Extent) error {
		if off > 0 || e.Kind != mapping.Data {
			return errNotOneRun
		}
		run = Run{e.Device, e.Offset, e.Length}
		return nil
	})
	return run, err == nil
}
