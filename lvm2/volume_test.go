package lvm2

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

func openVG(t *testing.T, vg testpv.VG) (*VG, []*testpv.Disk) {
	t.Helper()
	disks := vg.Disks()
	s := Open(devices(disks...), Options{})
	if len(s.VGs) != 1 {
		t.Fatalf("no VG: %v %v", s.Rejected, s.Warnings)
	}
	return s.VGs[0], disks
}

func TestWritesReachTheExtentsOfTheLVAndNothingElse(t *testing.T) {
	vg, disks := openVG(t, testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb", "sdc"},
		LVs: []testpv.LV{{Name: "lv", Segments: []string{
			testpv.Linear(0, 3, "pv1", 7),
			testpv.Striped(3, 6, 1, "pv0", 5, "pv2", 50, "pv1", 20),
		}}},
	})
	lv := vg.LV("lv")
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, v.Size())
	if _, err := v.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	before := [][]byte{bytes.Clone(disks[0].Bytes), bytes.Clone(disks[1].Bytes), bytes.Clone(disks[2].Bytes)}
	for _, w := range []struct{ off, n int }{{0, 1}, {4095, 2}, {3*4096 - 10, 20}, {3*4096 + 511, 1026}, {9*4096 - 7, 7}, {100, 8000}} {
		p := bytes.Repeat([]byte{0xee}, w.n)
		if n, err := v.WriteAt(p, int64(w.off)); n != w.n || err != nil {
			t.Fatal(n, err)
		}
		copy(want[w.off:], p)
	}
	if err := v.PunchHole(20000, 5000); err != nil {
		t.Fatal(err)
	}
	clear(want[20000:25000])
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := readAt(t, lv, got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read back: %v", err)
	}
	mine := map[int][]int{0: {5, 6}, 1: {7, 8, 9, 20, 21}, 2: {50, 51}}
	for i, d := range disks {
		for _, e := range mine[i] {
			copy(before[i][testpv.DataStart+e*testpv.ExtentSize:], d.Extent(e, testpv.ExtentSize))
		}
		if !bytes.Equal(before[i], d.Bytes) {
			t.Errorf("%s has changed outside of the LV", d.Name())
		}
		if d.Claims() != 0 || d.Syncs() == 0 {
			t.Errorf("%s: %d claims left, %d syncs", d.Name(), d.Claims(), d.Syncs())
		}
	}
}

func TestAWriteBeyondTheEndChangesNothing(t *testing.T) {
	vg, disks := openVG(t, twoPVs())
	v, err := vg.LV("a").OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	before := bytes.Clone(disks[0].Bytes)
	for _, off := range []int64{v.Size(), v.Size() - 1, -1, 1 << 62} {
		if n, err := v.WriteAt([]byte("xy"), off); n != 0 || err == nil {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
		if err := v.PunchHole(off, 2); err == nil {
			t.Errorf("hole at %d", off)
		}
	}
	if !bytes.Equal(before, disks[0].Bytes) {
		t.Error("the device has changed")
	}
}

func TestAVolumeOpenedForReadingIsNotWritten(t *testing.T) {
	vg, disks := openVG(t, twoPVs())
	v, err := vg.LV("a").Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt([]byte("x"), 0); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	if err := v.PunchHole(0, 1); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	if disks[0].Claims() != 0 {
		t.Error("claimed")
	}
}

func TestWritingIsRefusedAfterTheMetadataChanged(t *testing.T) {
	for _, i := range []int{0, 1} {
		desc := twoPVs()
		vg, disks := openVG(t, desc)
		desc.Seqno++
		disks[i].SetText(desc.Text())
		if _, err := vg.LV("a").OpenWritable(); !errors.Is(err, ErrStale) {
			t.Errorf("metadata on %s: %v", disks[i].Name(), err)
		}
		if disks[0].Claims() != 0 {
			t.Error("a claim is left")
		}
	}
}

func TestAClaimThatFailsGivesUpTheOthers(t *testing.T) {
	vg, disks := openVG(t, testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Striped(0, 4, 8, "pv0", 0, "pv1", 0)}}},
	})
	busy := errors.New("busy")
	disks[1].ClaimError = busy
	if _, err := vg.LV("lv").OpenWritable(); !errors.Is(err, busy) {
		t.Error(err)
	}
	if disks[0].Claims() != 0 {
		t.Error("a claim is left")
	}
}

func TestWhatCannotBeWrittenSafelyIsReadOnlyWithTheReason(t *testing.T) {
	linear := []string{testpv.Linear(0, 1, "pv0", 0)}
	for _, c := range []struct {
		why string
		vg  testpv.VG
	}{
		{"exported", testpv.VG{Status: `"EXPORTED", "READ", "WRITE"`, LVs: []testpv.LV{{Name: "lv", Segments: linear}}}},
		{"system ID", testpv.VG{Extra: `system_id = "elsewhere"`, LVs: []testpv.LV{{Name: "lv", Segments: linear}}}},
		{"shared", testpv.VG{Extra: `lock_type = "sanlock"`, LVs: []testpv.LV{{Name: "lv", Segments: linear}}}},
		{"VG is read-only", testpv.VG{Status: `"READ"`, LVs: []testpv.LV{{Name: "lv", Segments: linear}}}},
		{"LV is read-only", testpv.VG{LVs: []testpv.LV{{Name: "lv", Status: `"READ", "VISIBLE"`, Segments: linear}}}},
		{"internal", testpv.VG{LVs: []testpv.LV{{Name: "lv", Status: `"READ", "WRITE"`, Segments: linear}}}},
		{"pvmove", testpv.VG{LVs: []testpv.LV{{Name: "lv", Status: `"READ", "WRITE", "VISIBLE", "LOCKED"`, Segments: linear}}}},
		{"type zero", testpv.VG{LVs: []testpv.LV{{Name: "lv", Segments: []string{linear[0], "start_extent = 1\nextent_count = 1\ntype = \"zero\""}}}}},
		{"more than one segment", testpv.VG{LVs: []testpv.LV{
			{Name: "lv", Segments: linear},
			{Name: "other", Segments: []string{testpv.Linear(0, 4, "pv0", 10)}},
			{Name: "across", Segments: []string{testpv.Linear(0, 2, "pv0", 9)}},
		}}},
		{"its snapshot snap cannot be read", testpv.VG{LVs: []testpv.LV{
			{Name: "lv", Segments: linear},
			{Name: "snap", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 1, "pv0", 1)}},
			{Name: "snapshot0", Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"lv\"\ncow_store = \"snap\""}},
		}}},
	} {
		t.Run(c.why, func(t *testing.T) {
			c.vg.Name, c.vg.Seqno, c.vg.PVs = "vg", 1, []string{"sda"}
			vg, _ := openVG(t, c.vg)
			lv := vg.LV("lv")
			if err := lv.ReadOnlyReason(); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("reason: %v", err)
			}
			if _, err := lv.OpenWritable(); !errors.Is(err, ErrReadOnly) {
				t.Errorf("opened: %v", err)
			}
			if _, err := lv.Open(); err != nil {
				t.Errorf("not readable: %v", err)
			}
		})
	}
}

func TestWhatIsNotUnderstoodIsRefusedAndTheRestIsRead(t *testing.T) {
	for name, bad := range map[string]testpv.LV{
		"unknown type":         {Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"futuristic\"\nkey = [1, 2]"}},
		"unknown type flag":    {Segments: []string{strings.Replace(testpv.Linear(0, 1, "pv0", 3), `"striped"`, `"striped+NEWER"`, 1)}},
		"unknown status":       {Status: `"READ", "VISIBLE", "NEWER"`, Segments: []string{testpv.Linear(0, 1, "pv0", 3)}},
		"gap between segments": {Segments: []string{testpv.Linear(0, 1, "pv0", 3), testpv.Linear(2, 1, "pv0", 4)}},
		"area beyond the PV":   {Segments: []string{testpv.Linear(0, 2, "pv0", 99)}},
		"area that is nowhere": {Segments: []string{testpv.Linear(0, 1, "pv9", 0)}},
		"LV on itself":         {Segments: []string{testpv.Linear(0, 1, "bad", 0)}},
		"overlap":              {Segments: []string{testpv.Linear(0, 1, "pv0", 11), testpv.Linear(1, 1, "pv0", 11)}},
		"stripes without size": {Segments: []string{testpv.Striped(0, 2, 0, "pv0", 0, "pv0", 5)}},
	} {
		t.Run(name, func(t *testing.T) {
			bad.Name = "bad"
			desc := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{bad, {Name: "good", Segments: []string{testpv.Linear(0, 1, "pv0", 50)}}}}
			vg, _ := openVG(t, desc)
			if _, err := vg.LV("bad").Open(); !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrMetadata) {
				t.Errorf("opened: %v", err)
			}
			if h := vg.LV("bad").Health(); h == "" {
				t.Error("in good health")
			}
			if _, err := readAt(t, vg.LV("good"), make([]byte, 10), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFailingRangeOfADeviceFailsAlone(t *testing.T) {
	vg, disks := openVG(t, twoPVs())
	at := int64(testpv.DataStart + 10*testpv.ExtentSize)
	disks[0].Break(at+1000, at+1001)
	v, err := vg.LV("a").Open()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.ReadAt(make([]byte, 1000), 0); err != nil {
		t.Error(err)
	}
	if _, err := v.ReadAt(make([]byte, 2), 1000); !errors.Is(err, testpv.ErrIO) {
		t.Error(err)
	}
	if _, err := v.ReadAt(make([]byte, 1000), 1001); err != nil {
		t.Error(err)
	}
}

func TestLVsThatLieOnTooManyOthersAreRefused(t *testing.T) {
	for _, c := range []struct {
		deep int
		ok   bool
	}{{10, true}, {metadata.MaxDepth + 1, true}, {metadata.MaxDepth + 2, false}, {3000, false}} {
		vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}}
		on := "pv0"
		for i := range c.deep {
			name := fmt.Sprintf("lv%dx", i)
			vg.LVs = append(vg.LVs, testpv.LV{Name: name, Segments: []string{testpv.Linear(0, 1, on, 0)}})
			on = name
		}
		opened, err := metadata.Decode([]byte(vg.Text()))
		if err != nil {
			t.Fatal(err)
		}
		if top := opened.LV(on); (top.Broken() == nil) != c.ok {
			t.Errorf("%d LVs: %v", c.deep, top.Broken())
		}
	}
}

func TestAnLVThatLiesOnMoreThanTheMetadataIsStateful(t *testing.T) {
	linear := func(at int) []string { return []string{testpv.Linear(0, 1, "pv0", at)} }
	vg, _ := openVG(t, testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "plain", Segments: []string{testpv.Linear(0, 1, "pv0", 9), "start_extent = 1\nextent_count = 1\ntype = \"zero\""}},
		{Name: "origin", Segments: linear(0)},
		{Name: "snap", Status: `"READ", "WRITE"`, Segments: linear(1)},
		{Name: "snapshot0", Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"origin\"\ncow_store = \"snap\""}},
		{Name: "new", Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"futuristic\""}},
	}})
	for name, want := range map[string]bool{"plain": false, "origin": true, "snap": true, "new": true} {
		if got := vg.LV(name).Stateful(); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// protected is a disk that cannot be written.
type protected struct{ *testpv.Disk }

func (p protected) Unwritable() error { return errors.New(p.Name() + ": the switch is on") }

func TestAnLVOnAMediumThatCannotBeWrittenIsReadOnly(t *testing.T) {
	disks := testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{
			{Name: "free", Segments: []string{testpv.Linear(0, 3, "pv0", 7)}},
			{Name: "stuck", Segments: []string{testpv.Striped(0, 2, 1, "pv0", 20, "pv1", 20)}},
		},
	}.Disks()
	// It is known of what lies beneath, too.
	below := mapping.Section(protected{disks[1]}, 0, disks[1].Size(), "part")
	s := Open([]Device{disks[0], below}, Options{})
	if len(s.VGs) != 1 {
		t.Fatal(s.Rejected, s.Warnings)
	}
	if err := s.VGs[0].LV("free").ReadOnlyReason(); err != nil {
		t.Error(err)
	}
	stuck := s.VGs[0].LV("stuck")
	if err := stuck.ReadOnlyReason(); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "the switch is on") {
		t.Error(err)
	}
	if _, err := stuck.OpenWritable(); !errors.Is(err, ErrReadOnly) || disks[1].Claims() != 0 {
		t.Error(err, disks[1].Claims())
	}
}
