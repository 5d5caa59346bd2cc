package lvm2

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/metadata"
)

// flipped is a device of which one bit is the other way round.
type flipped struct {
	Device
	at  int64 // byte
	bit uint
}

func (d flipped) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	if i := d.at - off; i >= 0 && i < int64(n) {
		p[i] ^= 1 << d.bit
	}
	return n, err
}

// patched is a device with other bytes at one place.
type patched struct {
	Device
	at    int64
	bytes []byte
}

func (d *patched) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	for i, b := range d.bytes {
		if at := d.at + int64(i) - off; at >= 0 && at < int64(n) {
			p[at] = b
		}
	}
	return n, err
}

// patch is devices with other bytes at one place of one of them.
func patch(devices []Device, which Device, at int64, b []byte) []Device {
	out := slices.Clone(devices)
	out[slices.Index(out, which)] = &patched{which, at, b}
	return out
}

const damageBlock = 4096

// metadataLVs are the LVs of a VG that hold checksummed metadata.
func metadataLVs(vg *VG) []*LV {
	var lvs []*LV
	for _, lv := range vg.LVs {
		for _, seg := range lv.Segments {
			switch m := seg.Mapping.(type) {
			case *metadata.ThinPool:
				lvs = append(lvs, vg.Of(m.Metadata))
			case *metadata.CachePool:
				lvs = append(lvs, vg.Of(m.Metadata))
			}
		}
	}
	return lvs
}

// places are where on the devices the blocks of an LV lie that are not all zeros.
func places(t *testing.T, lv *LV) []flipped {
	t.Helper()
	v, err := lv.VG.assembly.Own(lv.LV)
	if err != nil {
		t.Fatal(err)
	}
	var out []flipped
	p := make([]byte, damageBlock)
	for off := int64(0); off < v.Size(); off += damageBlock {
		if _, err := v.ReadAt(p, off); err != nil {
			t.Fatal(err)
		}
		used := len(bytes.TrimRight(p, "\x00"))
		if used == 0 {
			continue
		}
		e, err := v.Map(off, damageBlock)
		if err != nil || e.Device == nil {
			t.Fatalf("%s at %d: %v %v", lv, off, e.Kind, err)
		}
		out = append(out, flipped{e.Device, e.Offset + rand.Int64N(int64(used)), uint(rand.IntN(8))})
	}
	return out
}

// TestAFlippedBitInMetadataGivesRightBytesOrAnError flips one bit in each block of metadata in
// turn, and reads everything.
func TestAFlippedBitInMetadataGivesRightBytesOrAnError(t *testing.T) {
	testenv.Long(t)
	for _, name := range []string{"thin", "thin-external", "cache-dirty"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openImages(t, testimages.Load(t, name))
			var devices []Device
			for _, pv := range s.VGs[0].PVs {
				devices = append(devices, pv.Device)
			}
			truth := readVG(t, s.VGs[0])
			failed := 0
			for _, lv := range metadataLVs(s.VGs[0]) {
				for _, damaged := range places(t, lv) {
					failed += compareDamaged(t, truth, replace(devices, damaged))
				}
			}
			if failed == 0 {
				t.Error("no damage had any effect")
			}
			t.Logf("%d blocks could not be read", failed)
		})
	}
}

func replace(devices []Device, d flipped) []Device {
	out := make([]Device, len(devices))
	for i := range devices {
		out[i] = devices[i]
		if devices[i] == d.Device {
			out[i] = d
		}
	}
	return out
}

func readVG(t *testing.T, vg *VG) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, lv := range vg.LVs {
		if v, err := lv.Open(); err == nil && lv.Visible() {
			p := make([]byte, v.Size())
			if _, err := v.ReadAt(p, 0); err != nil {
				t.Fatalf("%s: %v", lv, err)
			}
			all[lv.Name] = p
		}
	}
	return all
}

// compareDamaged returns the number of blocks that could not be read.
func compareDamaged(t *testing.T, truth map[string][]byte, devices []Device) (failed int) {
	t.Helper()
	vg := Open(devices, Options{}).VGs[0]
	p := make([]byte, 1<<20)
	for name, want := range truth {
		v, err := vg.LV(name).Open()
		if err != nil {
			failed += len(want) / damageBlock
			continue
		}
		for off := 0; off < len(want); {
			n, err := v.ReadAt(p[:min(len(p), len(want)-off)], int64(off))
			if !bytes.Equal(p[:n], want[off:off+n]) {
				t.Fatalf("wrong bytes in %s, %d bytes at %d, with %+v", name, n, off, devices)
			}
			off += n
			if err != nil {
				failed++
				off = (off/damageBlock + 1) * damageBlock
			}
		}
	}
	return failed
}
