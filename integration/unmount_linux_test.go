package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

func TestSignalsUnmountAndEndTheProgram(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			asEach(t, func(t *testing.T, who person) {
				d := who.serve(t, who.unpack(t, c)...)
				d.cmd.Process.Signal(signal)
				if !d.hasEnded(10 * time.Second) {
					t.Fatal("the program has not ended")
				}
				if isMounted(d.dir) {
					t.Error("it is still mounted")
				}
				if code := d.cmd.ProcessState.ExitCode(); code != 0 {
					t.Errorf("exit %d", code)
				}
			})
		})
	}
}

func TestABusyMountStaysUntilItIsFreeOrToldTwice(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		d := who.serve(t, who.unpack(t, c)...)
		var f *os.File
		err := who.do(func() (err error) { f, err = os.Open(filepath.Join(d.dir, c.Tree()[0])); return err })
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()

		if r := who.run(t, program, "umount", d.dir); r.code != 1 || !strings.HasPrefix(r.stderr, "lvm2fs: ") {
			t.Errorf("umount of a busy mount: exit %d, %q", r.code, r.stderr)
		}
		d.cmd.Process.Signal(syscall.SIGTERM)
		if d.hasEnded(2 * time.Second) {
			t.Fatal("a busy mount was given up at the first signal")
		}
		if _, err := f.ReadAt(make([]byte, 4096), 0); err != nil {
			t.Errorf("the open file fails after the first signal: %v", err)
		}
		d.cmd.Process.Signal(syscall.SIGTERM)
		if !d.hasEnded(10 * time.Second) {
			t.Fatal("the program has not ended at the second signal")
		}
		if isMounted(d.dir) {
			t.Error("it is still mounted")
		}
	})
}

func TestAfterTheProgramWasKilledTheMountCanBeRemoved(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		d := who.serve(t, who.unpack(t, c)...)
		d.cmd.Process.Kill()
		d.hasEnded(10 * time.Second)
		err := who.do(func() error { _, err := os.ReadDir(d.dir); return err })
		if !errors.Is(err, syscall.ENOTCONN) {
			t.Fatalf("reading the dead mount: %v, want ENOTCONN", err)
		}
		who.must(t, program, "umount", d.dir)
		if isMounted(d.dir) {
			t.Error("it is still mounted")
		}
	})
}

func TestAFailedMountLeavesNoMountBehind(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		disk := who.unpack(t, c)[0]
		noPV := filepath.Join(who.tempDir(t), "empty.img")
		if err := os.WriteFile(noPV, make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		for name, devices := range map[string][]string{
			"no PV":          {noPV},
			"no such device": {noPV + ".missing"},
			"a directory":    {filepath.Dir(noPV)},
		} {
			for _, flag := range []string{"-r", "-f"} {
				dir := who.mountpoint(t)
				r := who.run(t, program, append(append([]string{flag}, devices...), dir)...)
				if r.code != 1 || !strings.HasPrefix(r.stderr, "lvm2fs: ") || isMounted(dir) {
					t.Errorf("%s, %s: exit %d, mounted %v, %q", name, flag, r.code, isMounted(dir), r.stderr)
				}
			}
		}
		missing := filepath.Join(who.tempDir(t), "none")
		if r := who.run(t, program, disk, missing); r.code != 1 {
			t.Errorf("a mountpoint that is not there: exit %d, %q", r.code, r.stderr)
		}
	})
}

func TestAnImageUnderTheMountpointIsRefused(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	disk := me().unpack(t, c)[0]
	r := me().run(t, program, disk, filepath.Dir(disk))
	if isMounted(filepath.Dir(disk)) {
		forceUnmount(filepath.Dir(disk))
		t.Fatal("it was mounted")
	}
	if r.code != 1 || !strings.Contains(r.stderr, disk) {
		t.Errorf("exit %d, %q", r.code, r.stderr)
	}
}
