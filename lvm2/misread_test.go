package lvm2

import (
	"errors"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
)

func TestWhatABrokenSegmentSaysOfOtherLVsIsNotPassedOver(t *testing.T) {
	linear := func(at int) []string { return []string{testpv.Linear(0, 1, "pv0", at)} }
	text := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "origin", Segments: linear(0)},
		{Name: "snap", Segments: linear(1)},
		{Name: "alone", Segments: linear(2)},
		{Name: "snapshot0", Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"origin\"\ncow_store = \"snap\""}},
	}}.Text()
	open := func(old, new string) *VG {
		changed := strings.Replace(text, old, new, 1)
		s := Open(devices(testpv.New("sda", testpv.UUID("sda"), testpv.DataStart+100*testpv.ExtentSize, changed)), Options{})
		if len(s.VGs) != 1 {
			t.Fatal(s.Rejected)
		}
		return s.VGs[0]
	}
	for _, c := range []struct {
		old, new string
		unread   string
	}{
		{`chunk_size = 8`, ``, "snap origin"},
		{`type = "snapshot"`, `type = "snapshut"`, "snap origin"},
		{`type = "snapshot"`, ``, "snap origin"},
		{`segment_count = 1
segment1 {
start_extent = 0
extent_count = 1
type = "snapshot"`, `segment_count = 2
segment1 {
}
segment2 {
start_extent = 0
extent_count = 1
type = "snapshot"`, "snap"},
		{`cow_store = "snap"`, `merging_store = "snaq"`, "snap origin alone"},
		{`origin = "origin"`, `origin = 4`, "snap origin alone"},
	} {
		vg := open(c.old, c.new)
		for _, name := range []string{"origin", "snap", "alone"} {
			lv := vg.LV(name)
			_, err := lv.Open()
			if want := strings.Contains(c.unread, name); want != errors.Is(err, ErrMetadata) {
				t.Errorf("%s: %s: %v", c.new, name, err)
			}
			if lv.ReadOnlyReason() == nil {
				t.Errorf("%s: %s can be written", c.new, name)
			}
		}
	}
	if _, err := open(`type = "snapshot"`, `type = "snapshot+LATER"`).LV("snap").Open(); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}
