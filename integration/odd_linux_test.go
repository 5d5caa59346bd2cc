package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
)

// TestLVMJudgesOddTexts asks the lvm2 that is installed what it makes of each odd text.
func TestLVMJudgesOddTexts(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "lvm")
	dir := t.TempDir()
	var files, loops []string
	for i, d := range testpv.OddDisks("") {
		files = append(files, filepath.Join(dir, d.Name()))
		if err := os.WriteFile(files[i], d.Bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("losetup", "--find", "--show", files[i]).Output()
		if err != nil {
			t.Fatal(err)
		}
		loop := strings.TrimSpace(string(out))
		t.Cleanup(func() {
			if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		loops = append(loops, loop)
	}
	for _, odd := range testpv.OddTexts() {
		for i, d := range testpv.OddDisks(odd.Text) {
			if err := os.WriteFile(loops[i], d.Bytes[:testpv.DataStart], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		vgs, _ := lvmReport(t, dir, loops, "vgs", "vg_name")
		lvs, stderr := lvmReport(t, dir, loops, "lvs", "lv_name,lv_size", "--all")
		got := testpv.Refused
		if len(vgs) > 0 {
			for i, lv := range lvs {
				name, size, _ := strings.Cut(lv, ",")
				name = strings.Trim(name, "[]") // of one that is not visible
				var bytes int
				if _, err := fmt.Sscan(size, &bytes); err != nil {
					t.Fatalf("%s: %q: %v", odd.Name, lv, err)
				}
				lvs[i] = fmt.Sprint(name, " ", bytes/testpv.ExtentSize)
			}
			slices.Sort(lvs)
			got = strings.Join(lvs, " ")
		}
		if got != odd.LVM {
			t.Errorf("%s: lvm2 makes of it %q, not %q\n%s", odd.Name, got, odd.LVM, stderr)
		}
	}
}

// lvmReport runs a command of lvm2 on devices, without a kernel, and returns its rows.
func lvmReport(t *testing.T, dir string, devices []string, command, fields string, flags ...string) (rows []string, stderr string) {
	t.Helper()
	var filter []string
	for _, d := range devices {
		filter = append(filter, fmt.Sprintf("%q", "a|^"+d+"$|"))
	}
	accept := strings.Join(append(filter, `"r|.*|"`), ",")
	cmd := exec.Command("lvm", append([]string{
		command, "--noheadings", "--units", "b", "--nosuffix", "--separator", ",", "-o", fields, "--config",
		fmt.Sprintf(`global{activation=0} devices{use_devicesfile=0 hints="none" filter=[%s] global_filter=[%s]} backup{backup=0 archive=0}`, accept, accept),
	}, flags...)...)
	cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1", "DM_DISABLE_UDEV=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, _ := cmd.Output() // it fails for what it refuses, as it should
	for _, line := range strings.Split(string(out), "\n") {
		// It says on standard output that it tries again.
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ".") {
			rows = append(rows, line)
		}
	}
	return rows, errs.String()
}
