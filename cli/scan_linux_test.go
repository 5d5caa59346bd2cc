package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/internal/test/testtable"
)

func TestAScanFindsAPVOnADiskThatNobodyHasNamed(t *testing.T) {
	testenv.NeedLoop(t)
	vg := testpv.VG{Name: "vg_scanned", Seqno: 1, PVs: []string{"scanned"}, LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 10, "pv0", 0)}}}}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, testtable.InLogical(vg.Disks()[0].Bytes), 0o600); err != nil {
		t.Fatal(err)
	}
	node, err := exec.Command("losetup", "--find", "--show", "--read-only", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	loop := strings.TrimSpace(string(node))
	defer exec.Command("losetup", "--detach", loop).Run()
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"list", "--scan"}, strings.NewReader(""), &stdout, &stderr); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	if text := stdout.String(); !strings.Contains(text, loop+" (partition 5)") && !strings.Contains(text, loop+"p5") {
		t.Errorf("%s is not in\n%s%s", loop, text, stderr.String())
	}
	// Nothing is said of disks without a PV.
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "no PV") {
			t.Error(line)
		}
	}
	stdout.Reset()
	if code := Main([]string{"list", "--scan", "--tree"}, strings.NewReader(""), &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), loop) {
		t.Errorf("as a tree: exit %d, %s", code, stdout.String())
	}
}
