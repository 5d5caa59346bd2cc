package report

import (
	"errors"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

func TestADeviceThatIsSmallerThanItsPVIsNamedAndWhatLayOnTheRestIsPartial(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, PVExtents: 10, LVs: []testpv.LV{
		{Name: "whole", Segments: []string{testpv.Linear(0, 2, "pv0", 0)}},
		{Name: "cut", Segments: []string{testpv.Linear(0, 1, "pv0", 2), testpv.Linear(1, 3, "pv0", 4)}},
	}}
	d := vg.Disks()[0]
	// The last byte of extent 6, the last one of cut, is lost, and all behind it.
	d.Bytes = d.Bytes[:testpv.DataStart+7*testpv.ExtentSize-1]
	s := lvm2.Open([]lvm2.Device{d}, lvm2.Options{})
	found := false
	for _, w := range s.Warnings {
		found = found || strings.Contains(w.Error(), "sda: has ") && strings.Contains(w.Error(), "fewer than its PV")
	}
	if !found {
		t.Errorf("nothing warns of it: %v", s.Warnings)
	}
	for name, want := range map[string]bool{"whole": false, "cut": true} {
		lv := s.VGs[0].LV(name)
		partial := lv.Partial()
		health := strings.Contains(lv.Health(), "partial")
		attr := LVAttr(lv)[8] == 'p'
		status := HealthStatus(lv) == "partial"
		if partial != want || health != want || attr != want || status != want {
			t.Errorf("%s: partial %t, health %t, attr %t, status %t", name, partial, health, attr, status)
		}
		if !errors.Is(lv.ReadOnlyReason(), lvm2.ErrReadOnly) {
			t.Errorf("%s can be written", name)
		}
	}
	if n := s.VGs[0].PVs[0].Shortfall(); n != 3*testpv.ExtentSize+1 {
		t.Errorf("%d bytes are lost", n)
	}
}
