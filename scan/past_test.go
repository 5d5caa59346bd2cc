package scan_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/scan"
)

func pastVG(seqno int, extra string, lvs ...testpv.LV) testpv.VG {
	return testpv.VG{Name: "vg", Seqno: seqno, PVs: []string{"sda", "sdb"}, PVExtra: extra, LVs: lvs}
}

var (
	onA = testpv.LV{Name: "a", Segments: []string{testpv.Linear(0, 4, "pv0", 0)}}
	onB = testpv.LV{Name: "b", Segments: []string{testpv.Linear(0, 4, "pv1", 2)}}
)

// open looks at disks in memory.
func open(t *testing.T, opts scan.Options, disks ...*testpv.Disk) *scan.Result {
	t.Helper()
	for _, d := range disks {
		opts.Devices = append(opts.Devices, d)
	}
	s, err := scan.Open(t.Context(), nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.Result()
}

// wantExtents fails the test unless the LV holds extents of a disk from first on; nil for that they fail with ErrMissing.
func wantExtents(t *testing.T, r *scan.Result, path string, disk *testpv.Disk, first int) {
	t.Helper()
	lv, err := r.LV(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	got := make([]byte, v.Size())
	_, err = v.ReadAt(got, 0)
	if disk == nil {
		if !errors.Is(err, lvm2.ErrMissing) {
			t.Errorf("%s: %v, want ErrMissing", path, err)
		}
		return
	}
	at := testpv.DataStart + first*testpv.ExtentSize
	if want := disk.Contents()[at : at+len(got)]; err != nil && err != io.EOF || !bytes.Equal(got, want) {
		t.Errorf("%s is not what lies there: %v", path, err)
	}
}

func TestAPVWithoutItsLabelIsReadByTheWordOfTheUser(t *testing.T) {
	disks := pastVG(2, "", onA, onB).Disks()
	clear(disks[1].Bytes[:64<<10])
	wantExtents(t, open(t, scan.Options{}, disks...), "vg/b", nil, 0)
	is := []scan.IsPV{{Device: "sdb", UUID: metadata.UUID(testpv.UUID("sdb"))}}
	r := open(t, scan.Options{IsPV: is}, disks...)
	wantExtents(t, r, "vg/b", disks[1], 2)
	if lv, _ := r.LV("vg/b"); lv.ReadOnlyReason() == nil {
		t.Error("it can be written")
	}
	// What was made over it may have written anywhere.
	copy(disks[1].Bytes[4096-10:], "SWAPSPACE2")
	wantExtents(t, open(t, scan.Options{IsPV: is}, disks...), "vg/b", nil, 0)
	wantExtents(t, open(t, scan.Options{IsPV: is, ReadReused: true}, disks...), "vg/b", disks[1], 2)
}

func TestAPVMayLieBehindWhatWasMadeInFrontOfIt(t *testing.T) {
	disks := pastVG(2, "", onA, onB).Disks()
	moved := &testpv.Disk{Label: "sdb", Bytes: append(make([]byte, 1<<20), disks[1].Bytes...)}
	clear(moved.Bytes[:1<<20+64<<10])
	r := open(t, scan.Options{IsPV: []scan.IsPV{{Device: "sdb", Offset: 1 << 20, UUID: metadata.UUID(testpv.UUID("sdb"))}}}, disks[0], moved)
	wantExtents(t, r, "vg/b", disks[1], 2)
}

func TestADeviceThatIsNotThereIsNoPV(t *testing.T) {
	_, err := scan.Open(t.Context(), nil, scan.Options{
		Devices: []mapping.Device{pastVG(2, "").Disks()[0]},
		IsPV:    []scan.IsPV{{Device: "sdx", UUID: metadata.UUID(testpv.UUID("sdb"))}},
	})
	var option *scan.OptionError
	if !errors.As(err, &option) || option.Option != "IsPV" || !errors.Is(err, scan.ErrNoDevice) {
		t.Errorf("%v", err)
	}
}

func TestAPVThatWasMissingIsReadIfTheUserSaysSo(t *testing.T) {
	vg := pastVG(2, "", onA, onB)
	disks := vg.Disks()
	text := strings.Replace(vg.Text(), `device = "/dev/sdb"`+"\nstatus = [\"ALLOCATABLE\"]\nflags = []", `device = "/dev/sdb"`+"\nstatus = [\"ALLOCATABLE\"]\nflags = [\"MISSING\"]", 1)
	for _, d := range disks {
		d.SetText(text)
	}
	r := open(t, scan.Options{}, disks...)
	wantExtents(t, r, "vg/b", nil, 0)
	var said string
	for _, p := range r.Problems {
		said += p.Err.Error()
	}
	if !strings.Contains(said, "--use-missing") {
		t.Errorf("the flag is not named: %s", said)
	}
	for _, name := range []string{"sdb", testpv.UUID("sdb")} {
		wantExtents(t, open(t, scan.Options{UseMissing: []string{name}}, disks...), "vg/b", disks[1], 2)
	}
}

func TestAFileOfMetadataStandsForWhatIsLost(t *testing.T) {
	vg := pastVG(2, "", onA, onB)
	disks := vg.Disks()
	for _, d := range disks {
		clear(d.Bytes[4096 : 64<<10])
	}
	path := filepath.Join(t.TempDir(), "vg.backup")
	if err := os.WriteFile(path, []byte(vg.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, scan.Options{MetadataFiles: []scan.MetadataFile{{Path: path}}}, disks...)
	wantExtents(t, r, "vg/a", disks[0], 0)
	wantExtents(t, r, "vg/b", disks[1], 2)
	if r.VGs[0].Past() == nil {
		t.Error("it does not say that it is of a file")
	}
	_, err := scan.Open(t.Context(), nil, scan.Options{Devices: []mapping.Device{disks[0]}, MetadataFiles: []scan.MetadataFile{{VG: "other", Path: path}}})
	var option *scan.OptionError
	if !errors.As(err, &option) || option.Option != "MetadataFiles" {
		t.Errorf("of another VG: %v", err)
	}
}

func TestAnLVThatWasRemovedIsThereInTheTextBefore(t *testing.T) {
	compressed, err := os.ReadFile(filepath.Join(testenv.NeedFound(t), "undelete", "ring.img.zst"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	image, err := d.DecodeAll(compressed, nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := &testpv.Disk{Label: "ring", Bytes: image}
	if _, err := open(t, scan.Options{}, disk).LV("vga/var"); err == nil {
		t.Error("it is there now")
	}
	lv, err := open(t, scan.Options{At: []scan.At{{VG: "vga", Seqno: 19}}}, disk).LV("vga/var")
	if err != nil {
		t.Fatal(err)
	}
	if n, of, _ := lv.Overwritten(); n != 0 || of != lv.Size() || lv.Health() != "" {
		t.Errorf("%d of %d bytes overwritten, health %q", n, of, lv.Health())
	}
	_, err = scan.Open(t.Context(), nil, scan.Options{Devices: []mapping.Device{disk}, At: []scan.At{{VG: "vga", Seqno: 3}}})
	if !errors.Is(err, history.ErrNoText) {
		t.Errorf("seqno 3: %v", err)
	}
}
