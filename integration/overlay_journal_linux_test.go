package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// smallFileSystem is one that fits on the LVs of images.
type smallFileSystem struct {
	name  string
	make  []string
	dirty func(t *testing.T, device string) bool // whether it has to replay its journal
	check []string
}

var smallFileSystems = []smallFileSystem{
	{"ext4", []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=1"}, func(t *testing.T, device string) bool {
		return strings.Contains(me().must(t, "dumpe2fs", "-h", device), "needs_recovery")
	}, []string{"e2fsck", "-f", "-n"}},
	// mkfs.xfs makes none so small for use. It does for the tests of XFS, which say who they are in this way.
	{"xfs", []string{"env", "TEST_DIR=x", "TEST_DEV=x", "QA_CHECK_FS=x", "mkfs.xfs", "-q", "-f"}, func(t *testing.T, device string) bool {
		return strings.Contains(me().must(t, "xfs_logprint", "-t", device), "<DIRTY>")
	}, []string{"xfs_repair", "-n", "-o", "force_geometry"}},
	{"btrfs", []string{"mkfs.btrfs", "-q", "-f", "-M"}, func(t *testing.T, device string) bool {
		out := me().must(t, "btrfs", "inspect-internal", "dump-super", device)
		_, root, _ := strings.Cut(out, "\nlog_root\t")
		return !strings.HasPrefix(strings.TrimSpace(root), "0\n")
	}, []string{"btrfs", "check", "--readonly"}},
}

// The process behind a mount is killed while a file system on it is in use. Then the file system has a journal to
// replay. It does so on the overlay, whatever lies beneath, and is clean then; at no time does a byte of any disk
// change.
func TestAFileSystemWhoseMountWasKilledReplaysItsJournalOnAnOverlay(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "mkfs.ext4", "dumpe2fs", "e2fsck", "mkfs.xfs", "xfs_repair", "xfs_logprint", "mkfs.btrfs", "btrfs")
	for name, on := range map[string]struct {
		image, lv string
		lost      []int // disks that are left out
		only      string
	}{
		"thin":                     {"thin", "vg_thin/fs", nil, ""},
		"VDO":                      {"vdo", "vg_vdo/vol", nil, ""},
		"thin on a degraded raid6": {"thin-stack", "vg_tstack/t_raid6", []int{2, 3}, ""},
		"snapshot":                 {"snapshot", "vg_snap/snap_large", nil, "ext4"}, // small even for that
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			c := testimages.Load(t, on.image)
			var disks []string
			for i, disk := range me().unpack(t, c) {
				if !slices.Contains(on.lost, i) {
					disks = append(disks, disk)
				}
			}
			before := sparseSums(t, disks)
			for _, fs := range smallFileSystems {
				if on.only == "" || on.only == fs.name {
					t.Run(fs.name, func(t *testing.T) { replayJournal(t, fs, on.lv, disks) })
				}
			}
			for i, sum := range sparseSums(t, disks) {
				if sum != before[i] {
					t.Errorf("%s has changed", disks[i])
				}
			}
		})
	}
}

func replayJournal(t *testing.T, fs smallFileSystem, lv string, disks []string) {
	who := me()
	args := append([]string{"-o", "overlay=" + who.tempDir(t)}, disks...)

	d := who.serve(t, args...)
	loop := loopDevice(t, filepath.Join(d.dir, lv))
	who.must(t, fs.make[0], append(fs.make[1:len(fs.make):len(fs.make)], loop)...)
	inner := mountFileSystem(t, loop, "-t", fs.name)
	files := fill(t, inner)
	who.must(t, "sync", "-f", inner)
	files["later"] = bytes.Repeat([]byte("later "), 1000)
	writeSynced(t, filepath.Join(inner, "later"), files["later"])
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !d.hasEnded(10 * time.Second) {
		t.Fatal("it does not end")
	}
	_ = unix.Unmount(inner, unix.MNT_DETACH)
	who.must(t, "losetup", "-d", loop)
	who.must(t, program, "umount", "-l", d.dir)

	dir := who.mount(t, args...)
	loop = loopDevice(t, filepath.Join(dir, lv))
	if !fs.dirty(t, loop) {
		t.Error("there is nothing to replay")
	}
	inner = mountFileSystem(t, loop, "-t", fs.name)
	wantFiles(t, inner, files)
	more := bytes.Repeat([]byte("more "), 10_000)
	writeSynced(t, filepath.Join(inner, "more"), more)
	files["more"] = more
	unmountFileSystem(t, inner)
	who.must(t, fs.check[0], append(fs.check[1:len(fs.check):len(fs.check)], loop)...)
	who.must(t, "losetup", "-d", loop)
	who.must(t, program, "umount", dir)

	dir = who.mount(t, append([]string{"-r"}, args...)...)
	loop = loopDevice(t, filepath.Join(dir, lv), "--read-only")
	inner = mountFileSystem(t, loop, "-t", fs.name, "-o", "ro")
	wantFiles(t, inner, files)
	unmountFileSystem(t, inner)
	who.must(t, "losetup", "-d", loop)
	who.must(t, program, "umount", dir)
}

func writeSynced(t *testing.T, path string, content []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func wantFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what was written, %v", name, err)
		}
	}
}
