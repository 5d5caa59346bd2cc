package attach

import (
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

func TestOneRunOfBytesOfOneDiskIsContiguous(t *testing.T) {
	disks := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"}, LVs: []testpv.LV{
		{Name: "plain", Segments: []string{testpv.Linear(0, 3, "pv0", 7)}},
		{Name: "joined", Segments: []string{testpv.Linear(0, 3, "pv1", 7), testpv.Linear(3, 2, "pv1", 10)}},
		{Name: "gap", Segments: []string{testpv.Linear(0, 3, "pv0", 20), testpv.Linear(3, 2, "pv0", 24)}},
		{Name: "two", Segments: []string{testpv.Linear(0, 3, "pv0", 30), testpv.Linear(3, 2, "pv1", 33)}},
		{Name: "zeros", Segments: []string{testpv.Linear(0, 3, "pv0", 40), "start_extent = 3\nextent_count = 1\ntype = \"zero\""}},
		{Name: "striped", Segments: []string{"start_extent = 0\nextent_count = 2\ntype = \"striped\"\nstripe_count = 2\nstripe_size = 8\nstripes = [\"pv0\", 50, \"pv1\", 50]"}},
	}}.Disks()
	var devices []lvm2.Device
	for _, d := range disks {
		devices = append(devices, d)
	}
	want := map[string]*Run{
		"plain":  {devices[0], testpv.DataStart + 7*testpv.ExtentSize, 3 * testpv.ExtentSize},
		"joined": {devices[1], testpv.DataStart + 7*testpv.ExtentSize, 5 * testpv.ExtentSize},
	}
	for _, lv := range lvm2.Open(devices, lvm2.Options{}).VGs[0].LVs {
		got, ok := Contiguous(lv)
		if w := want[lv.Name]; ok != (w != nil) || ok && got != *w {
			t.Errorf("%s: %v, %v; want %v", lv.Name, got, ok, w)
		}
		begins, ok := Beginning(lv, 2*testpv.ExtentSize)
		if ok != (lv.Name != "striped") || ok && begins.Length != 2*testpv.ExtentSize {
			t.Errorf("the beginning of %s: %v, %v", lv.Name, begins, ok)
		}
	}
}

// A device over which another lies knows what is read from it otherwise.
type over struct {
	lvm2.Device
	beneath []lvm2.Device
}

func (o *over) Beneath() []lvm2.Device { return o.beneath }

func TestALegOfAnArrayIsNotTheArray(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "plain", Segments: []string{testpv.Linear(0, 3, "pv0", 7)}}}}
	leg, other := vg.Disks()[0], vg.Disks()[0]
	array := &over{leg, []lvm2.Device{leg, other}}
	lv := lvm2.Open([]lvm2.Device{array}, lvm2.Options{}).VGs[0].LVs[0]
	if run, ok := Contiguous(lv); ok {
		t.Errorf("contiguous: %v", run)
	}
}
