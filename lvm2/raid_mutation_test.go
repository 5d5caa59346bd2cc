package lvm2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/metadata"
)

// Arrays are half-synced, degraded or stale, and one superblock is changed: its events by one or two, or it is all
// zeros, or is no superblock. Whatever is read then is what the kernel read, or an error.
func TestNoOtherBytesAreReadWhereOneSuperblockIsChanged(t *testing.T) {
	const eventsAt = 16
	changes := map[string]func(b []byte){
		"zeroed": func(b []byte) { clear(b[:512]) },
		"magic":  func(b []byte) { b[0] ^= 0xff },
	}
	for _, by := range []int64{-2, -1, 1, 2} {
		changes[fmt.Sprintf("events %+d", by)] = func(b []byte) {
			n := binary.LittleEndian.Uint64(b[eventsAt:])
			binary.LittleEndian.PutUint64(b[eventsAt:], n+uint64(by))
		}
	}
	for _, name := range []string{"sync-half", "raid-stale", "raid-stale-each", "raid-replace-half", "raid-upconvert-half", "takeovers-half", "raid6-stale-missing"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testimages.Load(t, name)
			holdLegsChanged(t, c, changes, func(b []byte) []byte { return b })
		})
	}
}

// Half-synced and crashed arrays have bitmaps, and one of these is changed. Whatever is read is what the kernel read.
func TestNoOtherBytesAreReadWhereOneBitmapIsChanged(t *testing.T) {
	changes := map[string]func(b []byte){
		"no magic":      func(b []byte) { b[0] ^= 0xff },
		"older":         func(b []byte) { b[24]-- },
		"newer":         func(b []byte) { b[24]++ },
		"other regions": func(b []byte) { b[53] ^= 0xff },
		"clean":         func(b []byte) { clear(b[256:]) },
		"dirty":         func(b []byte) { b[256] = 0xff },
		"one bit":       func(b []byte) { b[256] ^= 2 },
	}
	for _, name := range []string{"sync-half", "raid-stale", "takeovers-half", "raid10", "raid5_ls"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testimages.Load(t, name)
			holdLegsChanged(t, c, changes, func(b []byte) []byte { return b[4096:] })
		})
	}
}

// holdLegsChanged makes each change to what part says of each leg's superblock and bitmap, and holds what is read of the
// RAID then: the kernel's bytes, or an error.
func holdLegsChanged(t *testing.T, c *testimages.Case, changes map[string]func([]byte), part func([]byte) []byte) {
	t.Helper()
	base := openImages(t, c)
	right := 0
	for i := range c.LVs {
		want := &c.LVs[i]
		m := base.find(want.Path()).RAID()
		if m == nil {
			continue
		}
		for leg := range m.Legs {
			for what, change := range changes {
				devices, ok := withSuperblockChanged(base, base.find(want.Path()).VG.Of(m.Legs[leg].Meta), func(b []byte) { change(part(b)) })
				if !ok {
					continue
				}
				v, err := Open(devices, Options{}).find(want.Path()).Open()
				if err == nil {
					err = want.Verify(v, v.Size())
					v.Close()
				}
				switch {
				case errors.Is(err, testimages.ErrWrong):
					t.Errorf("leg %d of %s, %s: %v", leg, want.Path(), what, err)
				case err == nil:
					right++
				}
			}
		}
	}
	if right == 0 {
		t.Error("nothing was read")
	}
}

// withSuperblockChanged gives the devices of a scan, with a change to the superblock in meta, or to the bitmap 4096
// bytes behind; false if that is not there.
func withSuperblockChanged(s *Scan, meta *LV, change func([]byte)) (devices []Device, ok bool) {
	if meta == nil || len(meta.Segments) == 0 {
		return nil, false
	}
	m, _ := meta.Segments[0].Mapping.(*metadata.Striped)
	if m == nil {
		return nil, false
	}
	for _, vg := range s.VGs {
		for _, pv := range vg.PVs {
			if pv.Device == nil {
				continue
			}
			o := &overlay{Device: pv.Device, changed: map[int64][]byte{}}
			if area := m.Stripes[0]; area.PV == pv.PV {
				off := pv.DataStart + int64(area.Extent)*vg.ExtentSize
				b := make([]byte, 8192)
				if _, err := o.ReadAt(b, off); err != nil || string(b[:4]) != "DmRd" {
					return nil, false
				}
				change(b)
				if _, err := o.WriteAt(b, off); err != nil {
					return nil, false
				}
				ok = true
			}
			devices = append(devices, o)
		}
	}
	return devices, ok
}
