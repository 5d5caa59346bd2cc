package lvm2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/metadata"
)

// overlaid is a device with other bytes in some place.
type overlaid struct {
	Device
	at    int64
	bytes []byte
}

func (d overlaid) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	for i := range d.bytes {
		if j := d.at + int64(i) - off; j >= 0 && j < int64(n) {
			p[j] = d.bytes[i]
		}
	}
	return n, err
}

func devicesOf(vg *VG) []Device {
	var devices []Device
	for _, pv := range vg.PVs {
		devices = append(devices, pv.Device)
	}
	return devices
}

// withBytes puts other bytes at off of an LV.
func withBytes(t *testing.T, lv *LV, off int64, b []byte) []Device {
	t.Helper()
	v, err := lv.VG.assembly.Own(lv.LV)
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.Map(off, int64(len(b)))
	if err != nil || e.Length != int64(len(b)) {
		t.Fatal(e, err)
	}
	devices := devicesOf(lv.VG)
	for i, d := range devices {
		if d == e.Device {
			devices[i] = &overlaid{d, e.Offset, b}
		}
	}
	return devices
}

func poolMapping(lv *LV) *metadata.ThinPool { return lv.Segments[0].Mapping.(*metadata.ThinPool) }

func sameContents(t *testing.T, vg *VG, truth map[string][]byte) {
	t.Helper()
	for name, want := range truth {
		v, err := vg.LV(name).Open()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
}

func TestAPoolWithoutASuperblockIsReadFromARootThatWasFound(t *testing.T) {
	for _, name := range []string{"thin", "thin-external"} {
		vg := openImages(t, testimages.Load(t, name)).VGs[0]
		truth := readVG(t, vg)
		damaged := Open(withBytes(t, vg.Of(poolMapping(vg.LV("pool")).Metadata), 0, make([]byte, 4096)), Options{}).VGs[0]
		pool := damaged.LV("pool")
		for lv := range truth {
			if _, err := damaged.LV(lv).Open(); err == nil && damaged.LV(lv).Segments[0].Type == "thin" {
				t.Fatalf("%s/%s opens without a superblock", name, lv)
			}
		}
		roots, err := pool.ThinRoots()
		if err != nil || len(roots) == 0 {
			t.Fatalf("%s: %d roots: %v", name, len(roots), err)
		}
		rescued := Open(devicesOf(damaged), Options{}).VGs[0]
		rescued.LV("pool").Choose(Choice{ThinPool: ThinPoolChoice{Root: roots[0].Block}})
		sameContents(t, rescued, truth)
		for _, lv := range rescued.LVs {
			if thin := lv.Segments[0].Type; (thin == "thin" || thin == "thin-pool") && lv.Usage() != (Usage{}) {
				t.Errorf("%s: what only the superblock leads to is counted: %+v", lv, lv.Usage())
			}
		}
	}
}

func TestAPoolIsReadWithOtherMetadataIfTheUserSaysSo(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "thin")).VGs[0]
	truth := readVG(t, vg)
	meta, err := vg.assembly.Own(poolMapping(vg.LV("pool")).Metadata)
	if err != nil {
		t.Fatal(err)
	}
	repaired := make([]byte, meta.Size())
	if _, err := meta.ReadAt(repaired, 0); err != nil {
		t.Fatal(err)
	}
	damaged := withBytes(t, vg.Of(poolMapping(vg.LV("pool")).Metadata), 0, make([]byte, 4096))
	other := Open(damaged, Options{}).VGs[0]
	other.LV("pool").Choose(Choice{ThinPool: ThinPoolChoice{Metadata: &bytesDevice{bytes.NewReader(repaired)}}})
	sameContents(t, other, truth)
	other.LV("pool").Choose(Choice{ThinPool: ThinPoolChoice{MetadataLV: "lvol0_pmspare"}})
	if _, err := other.LV("vol_a").Open(); err == nil {
		t.Error("opens with an empty spare")
	}
}

type bytesDevice struct{ *bytes.Reader }

func (bytesDevice) Name() string { return "memory" }

func TestMetadataOfAnotherAgeAreRefusedUnlessTheUserSaysSo(t *testing.T) {
	testenv.Long(t)
	vg := openImages(t, testimages.Load(t, "thin")).VGs[0]
	truth := readVG(t, vg)
	poolMapping(vg.LV("pool")).TransactionID += 2
	vg.assemble(Options{})
	if _, err := vg.LV("vol_a").Open(); !errors.Is(err, ErrThinPool) {
		t.Errorf("opened: %v", err)
	}
	vg.LV("pool").Choose(Choice{ThinPool: ThinPoolChoice{IgnoreTransactionID: true}})
	sameContents(t, vg, truth)
}

func TestDifferencesHoldAllThatDiffers(t *testing.T) {
	testenv.Long(t)
	vg := openImages(t, testimages.Load(t, "thin")).VGs[0]
	truth := readVG(t, vg)
	for _, pair := range [][2]string{{"vol_a", "vol_a_s1"}, {"vol_a_s1", "vol_a"}, {"vol_a_s1s", "vol_a_s1"}, {"vol_b", "vol_b_ro"}, {"fs", "vol_a"}, {"vol_a", "vol_a"}} {
		a, b := truth[pair[0]], truth[pair[1]]
		var last, total int64
		same := func(from, to int64) {
			for off := from; off < to; off++ {
				if off >= int64(len(b)) || a[off] != b[off] {
					t.Fatalf("%v: byte %d differs and is not reported", pair, off)
				}
			}
		}
		err := vg.LV(pair[0]).Differences(vg.LV(pair[1]), func(off, length int64) error {
			same(last, off)
			last = off + length
			total += length
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		same(last, int64(len(a)))
		if equal := bytes.Equal(a, b); !equal && total == 0 || pair[0] == pair[1] && total != 0 || total == int64(len(a)) && pair[0] != "fs" {
			t.Errorf("%v: %d bytes of %d differ", pair, total, len(a))
		}
	}
	if err := vg.LV("vol_a").Differences(vg.LV("pool"), nil); err == nil {
		t.Error("a volume is compared with a pool")
	}
}

func TestAPoolThatNeedsACheckIsReadAndSaysSo(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "thin")).VGs[0]
	truth := readVG(t, vg)
	meta := poolMapping(vg.LV("pool")).Metadata
	v, err := vg.assembly.Own(meta)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	if _, err := v.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	b[4] |= 1
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b, ^crc32.Checksum(b[4:], castagnoli)^160774)
	flagged := Open(withBytes(t, vg.Of(meta), 0, b), Options{}).VGs[0]
	sameContents(t, flagged, truth)
	if a, b := flagged.LV("vol_a").Health(), vg.LV("vol_a").Health(); a != "needs-check" || b != "" {
		t.Errorf("health %q, and %q without the flag", a, b)
	}
	if !flagged.LV("pool").NeedsCheck() || vg.LV("pool").NeedsCheck() {
		t.Error("of the pool itself")
	}
}
