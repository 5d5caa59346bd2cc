package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// guest is one start of the virtual machine, which ends with the script.
type guest struct {
	script string   // the path of a shell script
	disks  []string // /run/d/d000, /run/d/d001, ... there
	in     string   // a directory, /in there; "" for none
	memory int      // MiB; 0 for what the machine has by default
	// prepare makes the disks, for a script that changes them. Without it they stay as they are.
	prepare func()
}

// The status with which the virtual machine ends when its time is over, and how long and how often it is tried.
const (
	guestHangs    = 124
	guestSeconds  = 600
	guestAttempts = 3
)

// run gives the directory that is /out in the guest. A guest that hangs is started again: under emulation its kernel
// may wait for ever in something that has nothing to do with lvm2fs. If the kernel cannot handle what lvm2fs wrote, it
// hangs each time, and the test fails.
func (g guest) run(t *testing.T) (out string) {
	t.Helper()
	vm := testenv.NeedVM(t)
	args := []string{"-t", strconv.Itoa(guestSeconds)}
	if g.prepare == nil {
		args = append(args, "-s")
	}
	if g.memory != 0 {
		args = append(args, "-m", strconv.Itoa(g.memory))
	}
	if g.in != "" {
		args = append(args, "-i", g.in)
	}
	for attempt := 1; ; attempt++ {
		if g.prepare != nil {
			g.prepare()
		}
		out = me().tempDir(t)
		r := me().run(t, vm, append(append(args, g.script, out), g.disks...)...)
		if r.code == 0 {
			return out
		}
		log, _ := os.ReadFile(filepath.Join(out, "log"))
		console, _ := os.ReadFile(filepath.Join(out, "console"))
		if r.code != guestHangs || attempt == guestAttempts {
			t.Fatalf("%s in the virtual machine: exit %d\n%s%s%s", filepath.Base(g.script), r.code, r.stderr, log, console)
		}
		t.Logf("%s in the virtual machine: attempt %d hangs, and is made again\n%s%s", filepath.Base(g.script), attempt, log, console)
	}
}

// guestFile is what the script of a guest wrote to a file in /out.
func guestFile(t *testing.T, out, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(out, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// guestScript is a file with the text of a script for a guest.
func guestScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(me().tempDir(t), "script")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
