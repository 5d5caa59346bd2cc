package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountinfoLinesAreReadAsTheManualDescribesThem(t *testing.T) {
	for _, c := range []struct {
		line string
		want mountEntry
		ok   bool
	}{
		{`66 29 0:53 / /mnt/my\040disk rw,nosuid,nodev,relatime shared:77 - fuse.lvm2fs /dev/sdb1 rw,user_id=0,group_id=0`, mountEntry{source: "/dev/sdb1", dir: "/mnt/my disk", fsType: "fuse.lvm2fs", number: 53}, true},
		{`66 29 0:53 / /mnt ro,relatime master:1 propagate_from:2 - fuse.lvm2fs a\134b\043 rw`, mountEntry{source: `a\b#`, dir: "/mnt", fsType: "fuse.lvm2fs", readOnly: true, number: 53}, true},
		{`66 29 0:53 / /mnt rw - fuse.lvm2fs disk ro,user_id=0`, mountEntry{source: "disk", dir: "/mnt", fsType: "fuse.lvm2fs", readOnly: true, number: 53}, true},
		{`66 29 0:53 / /mnt rw - tmpfs  rw`, mountEntry{dir: "/mnt", fsType: "tmpfs", number: 53}, true},
		{`66 29 0:53 / /mnt rw`, mountEntry{}, false},
		{``, mountEntry{}, false},
	} {
		got, err := readMountTable(strings.NewReader(c.line + "\n"))
		var want []mountEntry
		if c.ok {
			want = append(want, c.want)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(mountEntry{})); diff != "" || err != nil {
			t.Errorf("%s: %v %s", c.line, err, diff)
		}
	}
}

func TestTheMountTableHoldsProc(t *testing.T) {
	mounts, err := mountTable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.dir == "/proc" && m.fsType == "proc" && !m.isLVM2FS() {
			return
		}
	}
	t.Errorf("no /proc among %d mounts", len(mounts))
}

func TestUsersOfADirectoryAreNamed(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "deep")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if users := usersOf(inside); len(users) != 0 {
		t.Fatalf("used by %v before anything uses it", users)
	}
	sleep := exec.Command("sleep", "60")
	sleep.Dir = inside
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	users := usersOf(inside)
	if len(users) != 1 || !strings.HasPrefix(users[0], "sleep (process ") {
		t.Errorf("used by %v", users)
	}
	if users := usersOf(dir + "/de"); len(users) != 0 {
		t.Errorf("a directory with the beginning of its name is used by %v", users)
	}
}

func TestTheProgramFindsItselfByName(t *testing.T) {
	path, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := os.Executable(); path != want {
		t.Errorf("%s, want %s", path, want)
	}
}
