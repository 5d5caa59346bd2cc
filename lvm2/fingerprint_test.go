package lvm2

import (
	"fmt"
	"slices"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
)

// sums are the first bytes of the fingerprints of a case's LVs, by VG/LV.
func sums(scan *Scan) map[string]string {
	all := map[string]string{}
	for _, vg := range scan.VGs {
		for _, lv := range vg.LVs {
			sum := lv.Fingerprint()
			all[vg.Name+"/"+lv.Name] = fmt.Sprintf("%x", sum[:6])
		}
	}
	return all
}

// Overlays are kept, and a later version of this program has to recognise their LVs.
func TestFingerprintsAreWhatTheyWere(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"linear-multi": {"vg-multi_1.x+y/root-fs": "5196f96a01fb", "vg-multi_1.x+y/zeroes": "a8e3a534ffcf"},
		"striped":      {"vg_striped/mixed": "6eab46657b72", "vg_striped/three": "9fa25e594176"},
		"thin":         {"vg_thin/pool": "a0a4aede983c", "vg_thin/vol_a": "784e63f868c2", "vg_thin/vol_a_s1s": "610e5c19bd77"},
		"cache-clean":  {"vg_cacheclean/wbpool": "6c996c5357de", "vg_cacheclean/wtvol": "621bd2d6b767"},
		"cache-raid":   {"vg_cacheraid/lv": "08a5ae6adaed"},
	} {
		got := sums(openImages(t, testimages.Load(t, name)))
		for lv, sum := range want {
			if got[lv] != sum {
				t.Errorf("%s: %s: %s, not %s", name, lv, got[lv], sum)
			}
		}
	}
}

func TestADiskThatIsMissingMakesNoDifference(t *testing.T) {
	c := testimages.Load(t, "cache-raid")
	disks := imageDevices(t, c)
	all, fewer := sums(Open(disks, Options{})), sums(Open(slices.Delete(disks, 1, 2), Options{}))
	if len(all) == 0 || len(all) != len(fewer) {
		t.Fatalf("%d LVs, %d with a disk missing", len(all), len(fewer))
	}
	for lv, sum := range all {
		if fewer[lv] != sum {
			t.Errorf("%s: another fingerprint", lv)
		}
	}
}

func sumsOf(vg testpv.VG) map[string]string { return sums(Open(devices(vg.Disks()...), Options{})) }

func linear() testpv.VG {
	return testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"}, LVs: []testpv.LV{
		{Name: "data", Segments: []string{testpv.Linear(0, 3, "pv0", 10)}},
		{Name: "other", Segments: []string{testpv.Linear(0, 2, "pv0", 20)}},
	}}
}

func TestWhatDecidesNoByteMakesNoDifference(t *testing.T) {
	before := sumsOf(linear())["vg/data"]
	vg := linear()
	vg.Seqno = 7
	vg.Status = `"RESIZEABLE", "READ"`
	vg.LVs[0].Status = `"READ", "VISIBLE"`
	vg.LVs[0].Extra = `tags = ["red"]`
	vg.LVs[1].Segments = []string{testpv.Linear(0, 5, "pv1", 20)}
	if after := sumsOf(vg)["vg/data"]; before == "" || after != before {
		t.Errorf("%s, before %s", after, before)
	}
}

func TestWhatDecidesBytesMakesADifference(t *testing.T) {
	before := sumsOf(linear())["vg/data"]
	for what, segments := range map[string][]string{
		"elsewhere":       {testpv.Linear(0, 3, "pv0", 11)},
		"on another PV":   {testpv.Linear(0, 3, "pv1", 10)},
		"longer":          {testpv.Linear(0, 4, "pv0", 10)},
		"in two segments": {testpv.Linear(0, 2, "pv0", 10), testpv.Linear(2, 1, "pv1", 0)},
	} {
		vg := linear()
		vg.LVs[0].Segments = segments
		if after := sumsOf(vg)["vg/data"]; after == "" || after == before {
			t.Errorf("%s: %s", what, after)
		}
	}
}

func TestASnapshotIsWhatItsOriginAndItsStoreMakeOfIt(t *testing.T) {
	vg := linear()
	vg.LVs = append(vg.LVs, testpv.LV{Name: "snap", Segments: []string{testpv.Linear(0, 2, "pv1", 0)}})
	without := sumsOf(vg)
	snapshot := func(chunk int) map[string]string {
		with := vg
		with.LVs = append(with.LVs[:3:3], testpv.LV{Name: "snapshot0", Segments: []string{fmt.Sprintf(
			"start_extent = 0\nextent_count = 3\ntype = \"snapshot\"\nchunk_size = %d\norigin = \"data\"\ncow_store = \"snap\"", chunk)}})
		return sumsOf(with)
	}
	one, two := snapshot(8), snapshot(16)
	if one["vg/snap"] == without["vg/snap"] || one["vg/snap"] == two["vg/snap"] {
		t.Error("that it is a snapshot, and of which chunks, makes no difference")
	}
	if one["vg/data"] != without["vg/data"] {
		t.Error("the origin is another for being snapshotted")
	}
}
