package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/testpv"
)

func TestMetadataFilesOfARescanThatFailsAreClosedWithTheSession(t *testing.T) {
	disk := writeDisks(t, testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}})[0]
	file := filepath.Join(t.TempDir(), "metadata")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openDevices(newApp(nil, strings.NewReader(""), io.Discard, io.Discard), []string{disk}, deviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again := *s // as rescan does
	d, err := again.metadataFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := d.ReadAt(make([]byte, 512), 0); err == nil {
		t.Error("the file is still open")
	}
}
