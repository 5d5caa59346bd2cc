package lvm2

import (
	"testing"

	"lvm2fs/internal/test/testpv"
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

func TestAPVMoveOfAllAtOnceMovesAwayFromThePVOfItsFirstSide(t *testing.T) {
	side := func(name, pv string) testpv.LV {
		return testpv.LV{Name: name, Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 2, pv, 0)}}
	}
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"a", "b"}, LVs: []testpv.LV{
		side("pvmove0_mimage_0", "pv1"),
		side("pvmove0_mimage_1", "pv0"),
		{Name: "pvmove0", Status: `"READ", "WRITE", "PVMOVE", "LOCKED"`, Segments: []string{
			"start_extent = 0\nextent_count = 2\ntype = \"mirror\"\nmirror_count = 2\nextents_moved = 0\nregion_size = 8\nmirrors = [\"pvmove0_mimage_0\", 0, \"pvmove0_mimage_1\", 0]",
		}},
	}}
	got := Open(devices(vg.Disks()...), Options{}).VGs[0].LV("pvmove0").MoveSource()
	if got == nil || got.Label != "pv1" {
		t.Errorf("got %v, want pv1", got)
	}
}
