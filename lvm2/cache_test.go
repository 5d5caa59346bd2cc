package lvm2

import (
	"bytes"
	"errors"
	"testing"

	"lvm2fs/internal/testimages"
)

// withoutPV is the devices of a VG but for the one that an LV lies on.
func withoutPV(t *testing.T, vg *VG, lv string) []Device {
	t.Helper()
	lost := vg.LV(lv).Devices()
	if len(lost) != 1 {
		t.Fatalf("%s lies on %d devices", lv, len(lost))
	}
	var rest []Device
	for _, d := range devicesOf(vg) {
		if d != lost[0] {
			rest = append(rest, d)
		}
	}
	return rest
}

func TestAWritethroughCacheThatIsLostIsDoneWithout(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "cache-wt")).VGs[0]
	truth := readVG(t, vg)
	var told []string
	without := Open(withoutPV(t, vg, "wtpool1_fast_cpool_cdata"), Options{CacheLost: func(lv *LV, err error) {
		if !errors.Is(err, ErrMissing) {
			t.Error(err)
		}
		told = append(told, lv.Name)
	}}).VGs[0]
	sameContents(t, without, truth)
	if len(told) != len(truth) || without.LV("wtpool1").Health() != "partial,cache-lost" {
		t.Errorf("told of %v; health %q", told, without.LV("wtpool1").Health())
	}
}

func TestAWritebackCacheThatIsLostIsAnErrorUnlessTheUserSaysSo(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "cache-dirty")).VGs[0]
	truth := readVG(t, vg)
	devices := withoutPV(t, vg, "wbpool1_fast_cpool_cdata")
	lost := Open(devices, Options{}).VGs[0]
	for name := range truth {
		if _, err := lost.LV(name).Open(); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
	chosen := Open(devices, Options{OriginOnly: func(lv *LV) bool { return lv.Name == "wbpool1" }}).VGs[0]
	v, err := chosen.LV("wbpool1").Open()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, v.Size())
	if _, err := v.ReadAt(p, 0); err != nil || bytes.Equal(p, truth["wbpool1"]) {
		t.Errorf("the origin alone has all that was written? %v", err)
	}
}

func TestOfAWritebackCacheThatIsHalfLostTheDirtyBlocksAreErrors(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "cache-dirty")).VGs[0]
	truth := readVG(t, vg)["wbpool2"]
	data := vg.LV("wbpool2_fast_cpool_cdata")
	// The cache's data are lost, its metadata are not.
	data.Segments[0].Type, data.Segments[0].Mapping = "error", nil
	vg.assembly = newAssembly(vg, Options{})
	v, err := vg.LV("wbpool2").Open()
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	p := make([]byte, 64<<10)
	for off := int64(0); off < v.Size(); off += int64(len(p)) {
		if _, err := v.ReadAt(p, off); err == nil {
			good++
			if !bytes.Equal(p, truth[off:off+int64(len(p))]) {
				t.Fatalf("wrong bytes at %d", off)
			}
		} else if bad++; !errors.Is(err, ErrMissing) {
			t.Fatal(err)
		}
	}
	if good == 0 || bad == 0 {
		t.Errorf("%d chunks good, %d lost", good, bad)
	}
}
