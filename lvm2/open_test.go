package lvm2

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
)

func devices(disks ...*testpv.Disk) []Device {
	devs := make([]Device, len(disks))
	for i, d := range disks {
		devs[i] = d
	}
	return devs
}

// twoPVs is a VG over two PVs with an LV on each.
func twoPVs() testpv.VG {
	return testpv.VG{
		Name: "vg", Seqno: 5, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{
			{Name: "a", Segments: []string{testpv.Linear(0, 2, "pv0", 10)}},
			{Name: "b", Segments: []string{testpv.Linear(0, 2, "pv1", 20)}},
		},
	}
}

func rejection(t *testing.T, s *Scan, device string) error {
	t.Helper()
	for _, r := range s.Rejected {
		if r.Device.Name() == device {
			return r.Err
		}
	}
	t.Fatalf("%s was not rejected", device)
	return nil
}

func warned(s *Scan, text string) bool {
	for _, w := range s.Warnings {
		if strings.Contains(w.Error(), text) {
			return true
		}
	}
	return false
}

func TestTheNewestMetadataWins(t *testing.T) {
	vg := twoPVs()
	disks := vg.Disks()
	vg.Seqno = 6
	vg.LVs[0].Name = "renamed"
	disks[1].SetText(vg.Text())
	s := Open(devices(disks...), Options{})
	if len(s.VGs) != 1 || s.VGs[0].Seqno != 6 || s.VGs[0].LV("renamed") == nil {
		t.Fatalf("got %+v", s.VGs)
	}
	if !warned(s, "sda: was absent") {
		t.Errorf("no word of the PV with older metadata: %v", s.Warnings)
	}
}

func TestDifferingCopiesOfOneSeqnoAreReportedAndNotWritten(t *testing.T) {
	vg := twoPVs()
	disks := vg.Disks()
	vg.LVs[0].Name = "renamed"
	disks[1].SetText(vg.Text())
	s := Open(devices(disks...), Options{})
	if !warned(s, "differ") {
		t.Errorf("no warning: %v", s.Warnings)
	}
	if err := s.VGs[0].LV("b").ReadOnlyReason(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("writable: %v", err)
	}
}

func TestADamagedCopyIsReportedAndTheNextOneUsed(t *testing.T) {
	disks := twoPVs().Disks()
	disks[0].Bytes[4096+512+40] ^= 1
	s := Open(devices(disks...), Options{})
	if len(s.VGs) != 1 || s.VGs[0].Partial() {
		t.Fatalf("got %+v, %v", s.VGs, s.Warnings)
	}
	if !warned(s, "checksum") {
		t.Errorf("no warning: %v", s.Warnings)
	}
	if err := s.VGs[0].LV("b").ReadOnlyReason(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("writable although newer metadata may be lost: %v", err)
	}
}

func TestAPVThatLeftItsVGIsRejected(t *testing.T) {
	vg := twoPVs()
	disks := vg.Disks()
	smaller := vg
	smaller.Seqno, smaller.PVs, smaller.LVs = 6, vg.PVs[:1], vg.LVs[:1]
	disks[0].SetText(smaller.Text())
	s := Open(devices(disks...), Options{})
	if err := rejection(t, s, "sdb"); !errors.Is(err, ErrOutdated) {
		t.Error(err)
	}
	if s.VGs[0].Partial() {
		t.Error("the VG is partial")
	}
}

func TestAVGWithAMissingPVShowsItsLVs(t *testing.T) {
	disks := twoPVs().Disks()
	s := Open(devices(disks[0]), Options{})
	vg := s.VGs[0]
	if !vg.Partial() || !warned(s, "missing") {
		t.Error("not said to be partial")
	}
	whole, lost := vg.LV("a"), vg.LV("b")
	if whole.Health() != "" || lost.Health() != "partial" {
		t.Errorf("health %q and %q", whole.Health(), lost.Health())
	}
	p := make([]byte, 100)
	if n, err := readAt(t, whole, p, 0); n != 100 || err != nil {
		t.Error(n, err)
	}
	if n, err := readAt(t, lost, p, 0); n != 0 || !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "/dev/sdb") {
		t.Error(n, err)
	}
}

func readAt(t *testing.T, lv *LV, p []byte, off int64) (int, error) {
	t.Helper()
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.ReadAt(p, off)
}

func TestAnOrphanPVIsListed(t *testing.T) {
	s := Open(devices(testpv.New("sda", testpv.UUID("sda"), 1<<20, "")), Options{})
	if len(s.Orphans) != 1 || len(s.VGs) != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestADeviceWithoutALabelIsRejected(t *testing.T) {
	d := testpv.New("sda", testpv.UUID("sda"), 1<<20, "")
	clear(d.Bytes)
	if err := rejection(t, Open(devices(d), Options{}), "sda"); !errors.Is(err, ErrNoPV) {
		t.Error(err)
	}
}

func TestADeviceThatCannotBeReadIsRejectedWithItsError(t *testing.T) {
	d := twoPVs().Disks()[0]
	d.Break(0, 4096)
	if err := rejection(t, Open(devices(d), Options{}), "sda"); !errors.Is(err, testpv.ErrIO) {
		t.Error(err)
	}
}

func TestADeviceShorterThanItsPVLosesTheRest(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "a", Segments: []string{testpv.Linear(0, 4, "pv0", 96)}}}}
	d := vg.Disks()[0]
	want := bytes.Clone(d.Bytes[testpv.DataStart+96*testpv.ExtentSize:])
	d.Bytes = d.Bytes[:len(d.Bytes)-testpv.ExtentSize-100]
	lv := Open(devices(d), Options{}).VGs[0].LV("a")
	good := 3*testpv.ExtentSize - 100
	p := make([]byte, 4*testpv.ExtentSize)
	n, err := readAt(t, lv, p, 0)
	if n != good || !errors.Is(err, ErrMissing) || !bytes.Equal(p[:n], want[:n]) {
		t.Errorf("read %d bytes, want %d: %v", n, good, err)
	}
}

func TestVGsOfOneNameAreToldApart(t *testing.T) {
	a := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}}
	b := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sdb"}}
	other := b.Disks()[0]
	other.SetText(strings.Replace(b.Text(), testpv.UUID("vgvg"), testpv.UUID("zz"), 1))
	s := Open(devices(a.Disks()[0], other), Options{})
	var names []string
	for _, vg := range s.VGs {
		names = append(names, vg.DirName())
	}
	if got := strings.Join(names, " "); got != "vg@vgvg00 vg@zz0000" {
		t.Error(got)
	}
}

func TestNamesThatLVMWouldNotAllowBecomeUUIDs(t *testing.T) {
	for _, name := range []string{"..", ".", "-x", "a b", "a\x1bb", strings.Repeat("x", 128), "é"} {
		vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "LVNAME", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}}
		d := vg.Disks()[0]
		d.SetText(strings.Replace(vg.Text(), "LVNAME {", `"`+name+`" {`, 1))
		s := Open(devices(d), Options{})
		if len(s.VGs) != 1 {
			t.Errorf("%q: %v", name, s.Warnings)
			continue
		}
		lv := s.VGs[0].LVs[0]
		if lv.Name != name || lv.FileName() != "@"+lv.UUID.String() || lv.Health() != "bad name" {
			t.Errorf("%q: file %q, health %q", name, lv.FileName(), lv.Health())
		}
	}
}

func TestWhoUsesADeviceShowsInHealth(t *testing.T) {
	disks := twoPVs().Disks()
	s := Open(devices(disks...), Options{InUse: func(d Device) string {
		if d == Device(disks[0]) {
			return "mounted"
		}
		return ""
	}})
	if a, b := s.VGs[0].LV("a").Health(), s.VGs[0].LV("b").Health(); a != "in-use" || b != "" {
		t.Errorf("%q %q", a, b)
	}
}
