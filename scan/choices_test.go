package scan

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

func TestMetadataFilesOfAReloadThatFailsAreClosedWithTheSession(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}}
	file := filepath.Join(t.TempDir(), "metadata")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := vg.Disks()[0]
	s, err := Open(t.Context(), nil, Options{Devices: []lvm2.Device{disk}, Choices: []Choice{{LV: "vg/lv"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.opts.Choices = []Choice{{LV: "vg/lv", ThinMetadataFile: file}, {LV: "vg/none"}}
	if _, err := s.Reload(t.Context()); err == nil {
		t.Fatal("there is no vg/none")
	}
	d := s.metadata[file]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(make([]byte, 512), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
}
