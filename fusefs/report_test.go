package fusefs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// seen is what is found on some disks, on which the VG of the first two may be another one.
type seen struct {
	disks []*testpv.Disk
	vg    testpv.VG
	names []string // pairs of names in its text and in place of them
}

func (w seen) scan() *lvm2.Scan {
	var devices []lvm2.Device
	m := mounted{}
	for i, d := range w.disks {
		if i < 2 {
			m.disks = append(m.disks, d)
		}
		devices = append(devices, d)
	}
	m.update(w.vg, slices.Clone(w.names)...)
	return lvm2.Open(devices, lvm2.Options{})
}

// changes are what a reload says that leads from before to after.
func changes(t *testing.T, before, after seen) []string {
	t.Helper()
	s := newServer("", Config{Scan: before.scan()})
	s.cfg.Rescan = func() (*lvm2.Scan, []string, error) { return after.scan(), nil, nil }
	report, _, err := s.reload()
	if err != nil {
		t.Fatal(err)
	}
	return report.Changes
}

func TestAReloadSaysWhatWentWhatCameAndWhatChanged(t *testing.T) {
	second := testpv.VG{Name: "second", Seqno: 1, PVs: []string{"sdc"}, LVs: []testpv.LV{
		{Name: "a", Segments: []string{testpv.Linear(0, 2, "pv0", 0)}},
	}}
	disks := oneLV().Disks()
	all := append(slices.Clone(disks), second.Disks()...)
	next, less := oneLV(), oneLV()
	next.Seqno++
	less.LVs = less.LVs[1:]
	for _, c := range []struct {
		what          string
		before, after seen
		want          []string
	}{
		{"nothing", seen{disks, oneLV(), nil}, seen{disks, oneLV(), nil}, nil},
		{"a VG more", seen{disks, oneLV(), nil}, seen{all, oneLV(), nil}, []string{"VG second: new, with 1 LVs"}},
		{"a VG less", seen{all, oneLV(), nil}, seen{disks, oneLV(), nil}, []string{"VG second: gone, with 1 LVs"}},
		{"newer metadata", seen{disks, oneLV(), nil}, seen{disks, next, nil}, []string{"VG vg: metadata 3, before 2"}},
		{"a VG of another name", seen{disks, oneLV(), nil}, seen{disks, oneLV(), []string{"vg", "tree"}}, []string{"VG vg: called tree now"}},
		{"an LV of another name", seen{disks, oneLV(), nil}, seen{disks, oneLV(), []string{"other", "more"}}, []string{"LV vg/other: called vg/more now"}},
		{"an LV less", seen{disks, oneLV(), nil}, seen{disks, less, nil}, []string{"LV vg/data: gone"}},
		{"an LV more", seen{disks, less, nil}, seen{disks, oneLV(), nil}, []string{"LV vg/data: new, 16384 bytes"}},
		{"an LV elsewhere and longer", seen{disks, oneLV(), nil}, seen{disks, moved(), nil}, []string{"LV vg/data: 20480 bytes, before 16384; mapped otherwise"}},
		{"a PV less", seen{disks, oneLV(), nil}, seen{disks[:1], oneLV(), nil}, []string{"LV vg/data: a part of it is missing now; read-only now"}},
		{"a PV more", seen{disks[:1], oneLV(), nil}, seen{disks, oneLV(), nil}, []string{"LV vg/data: whole now; can be written now"}},
	} {
		if diff := cmp.Diff(c.want, changes(t, c.before, c.after)); diff != "" {
			t.Errorf("%s: %s", c.what, diff)
		}
	}
}

func TestOfManyChangesTheFirstAreNamedAndTheOthersCounted(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, PVExtents: 300}
	disks := vg.Disks()
	many := vg
	for i := range 230 {
		many.LVs = append(many.LVs, testpv.LV{Name: fmt.Sprintf("lv%dx", i), Segments: []string{testpv.Linear(0, 1, "pv0", i)}})
	}
	got := changes(t, seen{disks, vg, nil}, seen{disks, many, nil})
	if len(got) != maxChanges+1 || got[maxChanges] != "30 more changes" {
		t.Errorf("%d lines, the last one is %q", len(got), got[len(got)-1])
	}
}

func TestAReportIsReadAsItWasWritten(t *testing.T) {
	r := Report{Failed: "the disk is\ngone", Warnings: []string{"one", "error: two"}, Changes: []string{"LV vg/a: gone"}}
	want := Report{Failed: "the disk is gone", Warnings: r.Warnings, Changes: r.Changes}
	whole := r.encode(MaxReport)
	if diff := cmp.Diff(want, DecodeReport(whole)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Report{}, DecodeReport((&Report{}).encode(MaxReport))); diff != "" {
		t.Error(diff)
	}
	for range 10_000 {
		r.Warnings = append(r.Warnings, "the leg of a mirror is broken")
	}
	cut := r.encode(MaxReport)
	if len(cut) > MaxReport || len(cut) < MaxReport-200 || !strings.HasPrefix(cut, "error: the disk is gone\n") || !strings.HasSuffix(cut, " more lines are in the log\n") {
		t.Errorf("%d bytes that end with %q", len(cut), cut[len(cut)-60:])
	}
}
