package lvm2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/lvm2/metadata"
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
	chosen := Open(devices, Options{}).VGs[0]
	chosen.LV("wbpool1").Choose(Choice{OriginOnly: true})
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
	data.Segments[0].Type, data.Segments[0].Mapping = "error", &metadata.Error{}
	vg.assemble(Options{})
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

// inMemory is the devices of a scan as disks that can be written.
func inMemory(t *testing.T, s *Scan) []*testpv.Disk {
	t.Helper()
	var disks []*testpv.Disk
	for _, pv := range s.VGs[0].PVs {
		d := &testpv.Disk{Label: pv.Device.Name(), Bytes: make([]byte, pv.Device.Size())}
		if _, err := pv.Device.ReadAt(d.Bytes, 0); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, d)
	}
	return disks
}

func TestCacheLVsAreWritableOrSayWhyNot(t *testing.T) {
	testenv.Long(t)
	for name, lvs := range map[string]map[string]string{
		"cache-clean": {"wbpool": "", "wbvol": "", "wtpool": "", "wtvol": ""},
		"cache-raid":  {"lv": ""},
		"cache-wt":    {"wtpool1": "", "wtpool2": "", "wtvol2": "", "passthru": "blocks are in its cache, which is in passthrough mode"},
		"cache-dirty": {"wbpool1": "blocks in its cache are newer than those of its origin", "wbvol3": "blocks in its cache are newer than those of its origin"},
		"cache-crash": {"wbpool2": "its cache is in writeback mode and was not shut down in order, so the kernel has to write it back first"},
		"writecache":  {"wc4k": "", "wc512": ""},
	} {
		t.Run(name, func(t *testing.T) {
			disks := inMemory(t, openImages(t, testimages.Load(t, name)))
			vg := Open(devices(disks...), Options{}).VGs[0]
			for lv, reason := range lvs {
				got := vg.LV(lv).ReadOnlyReason()
				if reason == "" && got != nil || reason != "" && (got == nil || !strings.HasSuffix(got.Error(), ": "+reason)) {
					t.Errorf("%s: %v, want %q", lv, got, reason)
				}
				if reason != "" {
					if _, err := vg.LV(lv).OpenWritable(); !errors.Is(err, ErrReadOnly) {
						t.Errorf("%s: %v", lv, err)
					}
				}
			}
		})
	}
}

func TestAWritecacheWithoutItsSuperblockIsReadOnlyIfTheUserSaysSo(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "writecache")).VGs[0]
	tried := 0
	for _, lv := range vg.LVs {
		m, ok := lv.Mapping().(*metadata.Writecache)
		if !ok || !lv.Visible() {
			continue
		}
		tried++
		at := placeOf(t, vg.Of(m.Fast))
		lost := patch(devicesOf(vg), at.device, at.offset, make([]byte, 4096))
		if _, err := Open(lost, Options{}).VGs[0].LV(lv.Name).Open(); !errors.Is(err, dm.ErrWritecache) {
			t.Errorf("%s: %v", lv, err)
		}
		alone := Open(lost, Options{}).VGs[0].LV(lv.Name)
		alone.Choose(Choice{OriginOnly: true})
		if _, err := alone.read(make([]byte, 4096)); err != nil {
			t.Errorf("%s, its origin alone: %v", lv, err)
		}
		if err := alone.ReadOnlyReason(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s, its origin alone, can be written: %v", lv, err)
		}
	}
	if tried == 0 {
		t.Fatal("there is no writecache")
	}
}

func TestACacheThatIsNotReadIsNotWritten(t *testing.T) {
	disks := inMemory(t, openImages(t, testimages.Load(t, "cache-clean")))
	vg := Open(devices(disks...), Options{}).VGs[0]
	vg.LV("wbvol").Choose(Choice{OriginOnly: true})
	if err := vg.LV("wbvol").ReadOnlyReason(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("the origin alone: %v", err)
	}
	// The root of the mappings is damaged, so the origin is read instead.
	where := places(t, vg.LV("p2_cpool_cmeta"))
	for _, p := range where {
		d := p.Device.(*testpv.Disk)
		if b := d.Bytes[p.at/damageBlock*damageBlock:][:damageBlock]; binary.LittleEndian.Uint32(b[4:]) == 2 {
			b[100] ^= 1
		}
	}
	vg = Open(devices(disks...), Options{}).VGs[0]
	if err := vg.LV("wtpool").ReadOnlyReason(); !errors.Is(err, ErrReadOnly) || vg.LV("wtpool").Health() != "cache-lost" {
		t.Errorf("damaged metadata: %v, health %q", err, vg.LV("wtpool").Health())
	}
}

func TestAWrittenWritecacheIsReadBack(t *testing.T) {
	for _, name := range []string{"writecache", "writecache-crash"} {
		disks := inMemory(t, openImages(t, testimages.Load(t, name)))
		vg := Open(devices(disks...), Options{}).VGs[0]
		want := readVG(t, vg)
		before := [][]byte{disks[0].Contents(), disks[1].Contents()}
		for name, bytes := range want {
			scribble(t, vg.LV(name), bytes)
		}
		sameContents(t, vg, want)
		again := Open(devices(disks...), Options{}).VGs[0]
		sameContents(t, again, want)
		if bytes.Equal(before[0], disks[0].Bytes) || bytes.Equal(before[1], disks[1].Bytes) {
			t.Error("the cache or the origin has not been written")
		}
		for lv := range want {
			if was, is := vg.LV(lv).Usage().Writecache, again.LV(lv).Usage().Writecache; *was != *is || was.Free == 0 {
				t.Errorf("%s: %+v became %+v", lv, was, is)
			}
		}
	}
}

// scribble writes to an LV, and the same to its contents.
func scribble(t *testing.T, lv *LV, contents []byte) {
	t.Helper()
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p := make([]byte, rand.IntN(200_000))
		for i := range p {
			p[i] = byte(rand.Uint32())
		}
		off := rand.Int64N(v.Size() - int64(len(p)) + 1)
		if _, err := v.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
		copy(contents[off:], p)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAWrittenCacheIsReadBackWithItAndWithout(t *testing.T) {
	testenv.Long(t)
	disks := inMemory(t, openImages(t, testimages.Load(t, "cache-clean")))
	vg := Open(devices(disks...), Options{}).VGs[0]
	want := readVG(t, vg)
	for name, bytes := range want {
		for range 2 { // opened for writing, closed and opened again
			scribble(t, vg.LV(name), bytes)
		}
	}
	sameContents(t, vg, want)
	again := Open(devices(disks...), Options{}).VGs[0]
	sameContents(t, again, want)
	alone := Open(devices(disks...), Options{}).VGs[0]
	for _, lv := range alone.LVs {
		lv.Choose(Choice{OriginOnly: true})
	}
	sameContents(t, alone, want)
	for _, lv := range []string{"wbpool", "wbvol"} {
		if err := again.LV(lv).ReadOnlyReason(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s, whose cache has not been written back since: %v", lv, err)
		}
	}
	for _, d := range disks {
		if d.Claims() != 0 || d.Syncs() == 0 {
			t.Errorf("%s: %d claims left, %d syncs", d.Name(), d.Claims(), d.Syncs())
		}
	}
}

func TestACacheLVIsNotOpenedForWritingAfterItsCacheHasChanged(t *testing.T) {
	disks := inMemory(t, openImages(t, testimages.Load(t, "cache-clean")))
	ours, others := Open(devices(disks...), Options{}).VGs[0], Open(devices(disks...), Options{}).VGs[0]
	if ours.LV("wbvol").ReadOnlyReason() != nil || others.LV("wbvol").ReadOnlyReason() != nil {
		t.Fatal("not writable")
	}
	v, err := others.LV("wbvol").OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.LV("wbvol").OpenWritable(); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if _, err := ours.LV("wbpool").OpenWritable(); err != nil {
		t.Errorf("another LV: %v", err)
	}
}

func TestACacheThatNeedsACheckSaysSo(t *testing.T) {
	disks := inMemory(t, openImages(t, testimages.Load(t, "cache-clean")))
	for _, place := range places(t, Open(devices(disks...), Options{}).VGs[0].LV("p2_cpool_cmeta")) {
		if b := place.Device.(*testpv.Disk).Bytes[place.at/damageBlock*damageBlock:][:damageBlock]; binary.LittleEndian.Uint64(b[32:]) == 1623043 {
			b[4] |= 2
			pdata.CacheSuperblock.Seal(b)
		}
	}
	lv := Open(devices(disks...), Options{}).VGs[0].LV("wtpool")
	if h, err := lv.Health(), lv.ReadOnlyReason(); h != "needs-check" || !errors.Is(err, ErrReadOnly) {
		t.Errorf("health %q, %v", h, err)
	}
	if v, err := lv.Open(); err != nil {
		t.Error(err)
	} else if _, err := v.ReadAt(make([]byte, v.Size()), 0); err != nil {
		t.Error(err)
	}
}
