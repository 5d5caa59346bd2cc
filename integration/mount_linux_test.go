package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// installed makes mount(8) find the program, which it looks for in fixed places only.
func installed(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "mount", "mount.fuse")
	const place = "/usr/local/bin/lvm2fs"
	if _, err := os.Lstat(place); err == nil {
		t.Skipf("%s is there already", place)
	}
	if err := os.Symlink(program, place); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(place) })
}

func TestMount8MountsByTypeByNumberSignAndByFstab(t *testing.T) {
	testenv.Long(t)
	installed(t)
	c := testimages.Load(t, "linear-multi")
	who := me()
	disks := who.unpack(t, c)
	var others strings.Builder
	for _, disk := range disks[1:] {
		others.WriteString(",device=" + disk)
	}
	fstab := filepath.Join(who.tempDir(t), "fstab")
	for name, args := range map[string]func(dir string) []string{
		"by type": func(dir string) []string {
			return []string{"-t", "fuse.lvm2fs", disks[0], dir, "-o", "ro,noatime,x-systemd.automount" + others.String()}
		},
		"by number sign": func(dir string) []string {
			return []string{"-t", "fuse", "lvm2fs#" + disks[0], dir, "-o", "allow_other,user" + others.String()}
		},
		"with flags": func(dir string) []string {
			return []string{"-n", "-s", "-v", "-r", "-t", "fuse.lvm2fs", "-o", "_netdev,nofail,comment=hello" + others.String(), disks[0], dir}
		},
		"by fstab": func(dir string) []string {
			line := fmt.Sprintf("%s %s fuse.lvm2fs ro,nofail,_netdev,uid=1%s 0 0\n", disks[0], dir, others.String())
			if err := os.WriteFile(fstab, []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
			return []string{"-T", fstab, dir}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := who.mountpoint(t)
			who.must(t, "mount", args(dir)...)
			for _, lv := range c.Tree() {
				if _, err := os.ReadFile(filepath.Join(dir, lv)); err != nil {
					t.Error(err)
				}
			}
			// By the source, which fstab names, mount -a knows the mount again.
			source := strings.TrimSpace(who.must(t, "findmnt", "-n", "-o", "SOURCE,FSTYPE", dir))
			if fields := strings.Fields(source); len(fields) != 2 || fields[0] != disks[0] || fields[1] != "fuse.lvm2fs" {
				t.Errorf("findmnt: %q", source)
			}
			if name == "by fstab" {
				who.must(t, "mount", "-T", fstab, "-a")
				who.must(t, "mount", "-T", fstab, "-o", "remount", dir)
			}
			who.must(t, "umount", dir)
		})
	}
}

func TestAFailureUnderMount8IsOneOfMount8(t *testing.T) {
	installed(t)
	who := me()
	dir := who.mountpoint(t)
	r := who.run(t, "mount", "-t", "fuse.lvm2fs", "/nonexistent.img", dir)
	if r.code == 0 || !strings.Contains(r.stderr, "lvm2fs: /nonexistent.img") {
		t.Errorf("exit %d, %q", r.code, r.stderr)
	}
}

// A daemon must ask nothing of its own mount. It could not be killed while it waits for the answer, and the mount
// would hang everybody.
func TestAMountThatIsKilledWhileItStartsEnds(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	c := testimages.Load(t, "meta-wrap")
	who := me()
	disks := who.unpack(t, c)
	for try := range 20 {
		dir := who.mountpoint(t)
		cmd := who.command(program, slices.Concat([]string{"-f"}, disks, []string{dir})...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		// Asking the mountpoint would wait for the daemon.
		if !waitFor(10*time.Second, func() bool { return inMountTable(t, dir) }) {
			t.Fatal("not mounted")
		}
		time.Sleep(time.Duration(try) * 150 * time.Microsecond)
		cmd.Process.Kill()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("killed %d µs after mounting, it has not ended", try*150)
		}
		who.must(t, program, "umount", dir)
	}
}

func inMountTable(t *testing.T, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(table), " "+dir+" ")
}

func TestAMountThatNobodyWaitsForAnyMoreIsTakenAway(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	who := people()[len(people())-1]
	if who.uid == 0 {
		t.Skip("only an ordinary user mounts by a program that the test can replace")
	}
	real, err := exec.LookPath("fusermount3")
	if err != nil {
		t.Skip("needs fusermount3")
	}
	bin := who.tempDir(t)
	slow := "#!/bin/sh\ncase $1 in -u) ;; *) sleep 1 ;; esac\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "fusermount3"), []byte(slow), 0o755); err != nil {
		t.Fatal(err)
	}
	dir := who.mountpoint(t)
	cmd := who.command(program, append(who.unpack(t, testimages.Load(t, "meta-wrap")), dir)...)
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	cmd.Process.Kill()
	cmd.Wait()
	if len(processesOn(dir)) == 0 {
		t.Fatal("there is no process in the background")
	}
	if !waitFor(10*time.Second, func() bool { return len(processesOn(dir)) == 0 }) {
		t.Error("the process in the background stays")
	}
	if inMountTable(t, dir) {
		t.Error("still mounted")
	}
}

// processesOn are the running processes that name dir on their command lines.
func processesOn(dir string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), dir) {
			found = append(found, file)
		}
	}
	return found
}
