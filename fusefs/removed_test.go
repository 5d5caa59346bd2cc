package fusefs

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// withRemoved shows LVs that a VG had in an older text beside what it has; reused are extents of the first PV.
func withRemoved(t *testing.T, disks []*testpv.Disk, older testpv.VG, reused ...[2]int64) *lvm2.Scan {
	t.Helper()
	devices := make([]lvm2.Device, len(disks))
	for i, d := range disks {
		devices[i] = d
	}
	scan := lvm2.Open(devices, lvm2.Options{})
	vg, err := metadata.Decode([]byte(older.Text()))
	if err != nil {
		t.Fatal(err)
	}
	var later []metadata.Later
	if len(reused) > 0 {
		other := older
		other.Seqno++
		other.LVs = nil
		for _, r := range reused {
			other.LVs = append(other.LVs, testpv.LV{Name: "new", Segments: []string{testpv.Linear(0, int(r[1]-r[0]), "pv0", int(r[0]))}})
		}
		now, err := metadata.Decode([]byte(other.Text()))
		if err != nil {
			t.Fatal(err)
		}
		later = append(later, metadata.Later{VG: now})
	}
	was := scan.Beside([]lvm2.View{{VG: vg, From: "seqno 1", Since: metadata.NewSince(vg, later)}})[0]
	for _, lv := range was.LVs {
		scan.Removed = append(scan.Removed, lvm2.Removed{LV: lv, Seqno: vg.Seqno})
	}
	return scan
}

func gone() testpv.VG {
	vg := oneLV()
	vg.LVs = []testpv.LV{{Name: "gone", Segments: []string{testpv.Linear(0, 4, "pv0", 50)}}}
	return vg
}

func TestRemovedLVsAreFilesOfADirectoryOfTheirVG(t *testing.T) {
	disks := oneLV().Disks()
	m := mountDisks(t, disks, func(c *Config) { c.Scan = withRemoved(t, disks, gone(), [2]int64{51, 52}) })
	if info := m.stat("vg/.removed"); !info.IsDir() {
		t.Error("no directory")
	}
	entries, err := os.ReadDir(m.path("vg/.removed"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "gone@1" {
		t.Fatalf("%v, %v", entries, err)
	}
	info := m.stat("vg/.removed/gone@1")
	if info.Size() != 4*extent || info.Mode() != 0o440 {
		t.Errorf("%d bytes, %v", info.Size(), info.Mode())
	}
	f := m.open("vg/.removed/gone@1", os.O_RDONLY)
	b := make([]byte, extent)
	for i := range int64(4) {
		_, err := f.ReadAt(b, i*extent)
		if i == 1 {
			wantErrno(t, "what was reused", err, syscall.EIO)
		} else if at := testpv.DataStart + (50+i)*extent; err != nil || !bytes.Equal(b, disks[0].Contents()[at:at+extent]) {
			t.Errorf("extent %d: %v, or other bytes", i, err)
		}
	}
	_, err = os.OpenFile(m.path("vg/.removed/gone@1"), os.O_RDWR, 0)
	wantErrno(t, "to write it", err, syscall.EROFS)
	wantErrno(t, "to make a file there", os.WriteFile(m.path("vg/.removed/x"), nil, 0o600), syscall.EPERM)
	if got, _ := m.attribute("vg/.removed/gone@1", "user.lvm2.health"); got != "partial,reused" {
		t.Errorf("health %q", got)
	}
}

func TestAnOpenFileOfARemovedLVLosesWhatIsReused(t *testing.T) {
	disks := oneLV().Disks()
	m := mountDisks(t, disks, func(c *Config) { c.Scan = withRemoved(t, disks, gone()) })
	f := m.open("vg/.removed/gone@1", os.O_RDONLY)
	b := make([]byte, extent)
	if _, err := f.ReadAt(b, extent); err != nil {
		t.Fatal(err)
	}
	m.rescanWith(func() (*lvm2.Scan, error) { return withRemoved(t, disks, gone(), [2]int64{51, 52}), nil })
	m.mustReload()
	_, err := f.ReadAt(b, extent)
	wantErrno(t, "what is reused now", err, syscall.EIO)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Error(err)
	}
	m.rescanWith(func() (*lvm2.Scan, error) { return withRemoved(t, disks, oneLV()), nil })
	m.mustReload()
	if _, err := os.Stat(m.path("vg/.removed/gone@1")); !os.IsNotExist(err) {
		t.Errorf("of a text that is no longer found: %v", err)
	}
}

func TestAVGThatIsGoneIsADirectoryWithRemovedLVsAlone(t *testing.T) {
	disks := oneLV().Disks()
	m := mountDisks(t, disks, func(c *Config) {
		c.Scan = withRemoved(t, disks, gone())
		c.Scan.VGs = nil
	})
	entries, err := os.ReadDir(m.path("vg"))
	if err != nil || len(entries) != 1 || entries[0].Name() != ".removed" {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := os.ReadFile(m.path("vg/.removed/gone@1")); err != nil {
		t.Error(err)
	}
}
