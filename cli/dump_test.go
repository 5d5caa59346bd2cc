package cli

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
)

// ran is how a command ended.
type ran struct {
	code           int
	stdout, stderr string
}

func runMain(args ...string) ran {
	var stdout, stderr bytes.Buffer
	code := Main(args, strings.NewReader(""), &stdout, &stderr)
	return ran{code, stdout.String(), stderr.String()}
}

// writeDisks writes the disks of a VG to files.
func writeDisks(t *testing.T, vg testpv.VG) []string {
	t.Helper()
	var paths []string
	dir := t.TempDir()
	for i, disk := range vg.Disks() {
		path := filepath.Join(dir, vg.PVs[i]+".img")
		if err := os.WriteFile(path, disk.Bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func verifyDumped(t *testing.T, lv *testimages.LV, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Error(err)
		return
	}
	if err := lv.Verify(f, info.Size()); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func TestDumpWritesWhatTheKernelRead(t *testing.T) {
	testenv.Long(t)
	for _, name := range []string{"banana", "linear-multi", "striped", "errzero", "linear-missing", "same-name"} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			disks := c.Unpack(t)
			out := t.TempDir()
			r := runMain(append([]string{"dump", "-C", out}, disks...)...)
			want := exitOK
			for i := range c.LVs {
				lv := &c.LVs[i]
				path := filepath.Join(out, lv.Path())
				switch lv.Expect {
				case testimages.OK:
					verifyDumped(t, lv, path)
				case testimages.Partial:
					verifyDumped(t, lv.AsDumped(), path+".partial")
					want = exitIncomplete
				case testimages.Error:
					want = exitIncomplete
				}
			}
			if r.code != want {
				t.Errorf("exit %d, want %d\n%s", r.code, want, r.stderr)
			}
		})
	}
}

func TestDumpOfAnLVOnSeveralDevicesTellsTheSegments(t *testing.T) {
	disks := writeDisks(t, testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{
			{Name: "one", Segments: []string{testpv.Linear(0, 2, "pv0", 10)}},
			{Name: "joined", Segments: []string{testpv.Linear(0, 2, "pv0", 20), testpv.Linear(2, 2, "pv0", 22)}},
			{Name: "three", Segments: []string{testpv.Linear(0, 2, "pv0", 30), testpv.Linear(2, 2, "pv1", 32), testpv.Linear(4, 1, "pv0", 32)}},
			{Name: "striped", Segments: []string{testpv.Striped(0, 4, 8, "pv0", 40, "pv1", 40)}},
			{Name: "zero", Segments: []string{"start_extent = 0\nextent_count = 2\ntype = \"zero\""}},
		},
	})
	r := runMain(append([]string{"dump", "-C", t.TempDir()}, disks...)...)
	want := `===> Reading vg/one from offset 106496 (0x1a000)
===> Reading vg/joined from offset 147456 (0x24000)
===> Reading vg/three in 3 segments
===> Reading vg/striped in 1 segment
===> Reading vg/zero in 1 segment
`
	if r.stdout != want || r.code != exitOK || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestLVsWhoseFilesWouldCollideAreRefusedTogether(t *testing.T) {
	disks := writeDisks(t, testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda"},
		LVs: []testpv.LV{
			{Name: "a", Segments: []string{testpv.Linear(0, 2, "pv0", 10)}},
			{Name: "a.part", Segments: []string{testpv.Linear(0, 2, "pv0", 20)}},
		},
	})
	out := t.TempDir()
	r := runMain("dump", "-C", out, disks[0])
	if r.code != exitError || !strings.Contains(r.stderr, "vg/a and vg/a.part") {
		t.Errorf("%+v", r)
	}
	for _, lv := range []string{"vg/a", "vg/a.part"} {
		if r := runMain("dump", "-C", filepath.Join(out, "apart", lv), "--lv", lv, disks[0]); r.code != exitOK {
			t.Errorf("%s alone: %+v", lv, r)
		}
	}
}

func TestAnLVThatCannotBeOpenedIsNamedAndTheOthersAreWritten(t *testing.T) {
	disks := writeDisks(t, testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda"},
		LVs: []testpv.LV{
			{Name: "new", Segments: []string{"start_extent = 0\nextent_count = 2\ntype = \"of-the-future\""}},
			{Name: "old", Segments: []string{testpv.Linear(0, 2, "pv0", 10)}},
		},
	})
	out := t.TempDir()
	r := runMain("dump", "-C", out, disks[0])
	if r.code != exitIncomplete || !strings.Contains(r.stderr, "vg/new: unsupported") || strings.Contains(r.stdout, "new") {
		t.Errorf("%+v", r)
	}
	if info, err := os.Stat(filepath.Join(out, "vg", "old")); err != nil || info.Size() != 2*testpv.ExtentSize {
		t.Errorf("%v, %v", info, err)
	}
}

// interrupter is a standard output. The user interrupts at one of its lines.
type interrupter struct {
	t     *testing.T
	after int // lines that pass
	bytes.Buffer
}

func (i *interrupter) Write(p []byte) (int, error) {
	if i.after--; i.after >= 0 {
		return i.Buffer.Write(p)
	}
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, os.Interrupt)
	defer signal.Stop(arrived)
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		i.t.Error(err)
	}
	<-arrived
	time.Sleep(100 * time.Millisecond) // it has to arrive in the command too
	return i.Buffer.Write(p)
}

func TestAnInterruptedDumpGoesOnWhenItIsRunAgain(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "banana")
	disks := c.Unpack(t)
	out := t.TempDir()
	var stderr bytes.Buffer
	code := Main([]string{"dump", "-C", out, disks[0]}, strings.NewReader(""), &interrupter{t: t}, &stderr)
	if want := "lvm2fs: stopped; the same command goes on from here\n"; code != exitError || stderr.String() != want {
		t.Fatalf("exit %d, %q", code, stderr.String())
	}
	for name, want := range map[string]bool{"chocolate": false, "chocolate.part": true, "chocolate.part.map": true, "split.part": false} {
		if _, err := os.Lstat(filepath.Join(out, "banana", name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := runMain("dump", "-C", out, disks[0]); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	for i := range c.LVs {
		verifyDumped(t, &c.LVs[i], filepath.Join(out, c.LVs[i].Path()))
	}
}

// until lvm2fs dump ...; do sleep 5; done
func TestADumpThatIsInterruptedAgainAndAgainEnds(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "banana")
	disks := c.Unpack(t)
	for _, force := range []bool{false, true} {
		out := t.TempDir()
		args := []string{"dump", "-C", out, disks[0]}
		if force {
			args = append(args, "--force")
		}
		for finished := range c.LVs {
			var stderr bytes.Buffer
			stdout := &interrupter{t: t, after: finished}
			code := Main(args, strings.NewReader(""), stdout, &stderr)
			read := min(finished+1, 2) // the last one, after what the run before had begun
			if force {
				read = finished + 1
			}
			if n := strings.Count(stdout.String(), "===> Reading"); code != exitError || n != read {
				t.Errorf("after %d, force %t: exit %d, %d read, want %d\n%s%s", finished, force, code, n, read, stdout.String(), stderr.String())
			}
			if warned := strings.Contains(stderr.String(), "--force replaces again what is finished"); warned != (force && finished > 0) {
				t.Errorf("after %d, force %t: %s", finished, force, stderr.String())
			}
		}
		if r := runMain("dump", "-C", out, disks[0]); r.code != exitOK || strings.Count(r.stdout, "===> Finished") != len(c.LVs)-1 {
			t.Errorf("%+v", r)
		}
		for i := range c.LVs {
			verifyDumped(t, &c.LVs[i], filepath.Join(out, c.LVs[i].Path()))
		}
		if left, err := filepath.Glob(filepath.Join(out, "banana", "*.*")); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
}

// A dump does not continue on top of an image that was written to in between.
func TestAnImageThatChangedIsDumpedAfresh(t *testing.T) {
	c := testimages.Load(t, "linear-missing")
	disks := c.Unpack(t)
	out := t.TempDir()
	args := append([]string{"dump", "-C", out, "--lv", "vg_missing/part"}, disks...)
	if r := runMain(args...); r.code != exitIncomplete {
		t.Fatalf("%+v", r)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(disks[0], later, later); err != nil {
		t.Fatal(err)
	}
	if r := runMain(args...); r.code != exitError || !strings.Contains(r.stderr, "part.partial exists and is left alone") {
		t.Errorf("%+v", r)
	}
	if r := runMain(append(args, "--force")...); r.code != exitIncomplete {
		t.Errorf("%+v", r)
	}
}

func TestDumpShowsProgressOnATerminal(t *testing.T) {
	c := testimages.Load(t, "banana")
	disks := c.Unpack(t)
	var stdout, stderr bytes.Buffer
	a := newApp(nil, nil, &stdout, &stderr)
	a.stderrTerminal = true
	cmd := dumpCmd{Directory: t.TempDir(), LV: []string{"banana/cream"}, Devices: disks}
	if err := cmd.Run(a); err != nil {
		t.Fatal(err)
	}
	got := stderr.String()
	if !strings.HasPrefix(got, clearLine+"banana/cream    0%  of 16 MiB") || !strings.HasSuffix(got, clearLine) {
		t.Errorf("%q", got)
	}
}

func TestADumpThatDoesNotFitIsRefusedBeforeItBegins(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs tmpfs")
	}
	testenv.NeedRoot(t)
	c := testimages.Load(t, "banana")
	disks := c.Unpack(t)
	out := t.TempDir()
	if text, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=20m", "none", out).CombinedOutput(); err != nil {
		t.Fatalf("mount: %s", text)
	}
	defer func() {
		if text, err := exec.Command("umount", out).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", text)
		}
	}()
	r := runMain("dump", "-C", out, disks[0])
	if r.code != exitError || r.stdout != "" || !strings.Contains(r.stderr, "has 20 MiB free") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("%+v", r)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	// An LV that fits by itself is written. So is one of 32 MiB that are mostly zeros.
	for _, lv := range []string{"banana/cream", "banana/chocolate"} {
		if r := runMain("dump", "-C", out, "--lv", lv, disks[0]); r.code != exitOK {
			t.Errorf("%s: %+v", lv, r)
		}
	}
}
