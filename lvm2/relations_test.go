package lvm2

import (
	"testing"

	"lvm2fs/internal/testpv"
)

func TestTheOriginSizeOfASnapshotIsThatWhenItWasMade(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"a"}, LVs: []testpv.LV{
		{Name: "origin", Segments: []string{testpv.Linear(0, 5, "pv0", 0)}}, // extended since
		{Name: "snap", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 2, "pv0", 10)}},
		{Name: "snapshot0", Segments: []string{"start_extent = 0\nextent_count = 3\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"origin\"\ncow_store = \"snap\""}},
	}}
	s := Open(devices(vg.Disks()...), Options{})
	for name, want := range map[string]int64{"snap": 3 * testpv.ExtentSize, "origin": 5 * testpv.ExtentSize} {
		if got := s.VGs[0].LV(name).OriginSize(); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
