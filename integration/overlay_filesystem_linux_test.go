package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// dirty is a file system that was in use when the power went, and where testdata/overlay/make.sh has put it in each LV.
type dirty struct {
	name      string
	off, size int64    // bytes
	check     []string // the command that finds it clean
}

var dirtyFileSystems = []dirty{
	{"ext4", 0, 64 << 20, []string{"e2fsck", "-f", "-n"}},
	{"btrfs", 64 << 20, 128 << 20, []string{"btrfs", "check", "--readonly"}},
	{"xfs", 192 << 20, 304 << 20, []string{"xfs_repair", "-n"}},
}

// An LV of any kind has a file system that was not unmounted. On an overlay its journal is replayed, it can be
// written, and it is clean afterwards; no byte of any disk has changed.
func TestAFileSystemReplaysItsJournalOnAnOverlayAndNoDiskChanges(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "e2fsck", "btrfs", "xfs_repair")
	who := me()
	dir, changes := who.tempDir(t), who.tempDir(t)
	archive := filepath.Join(testenv.Root(), "integration/testdata/overlay")
	if err := testimages.Extract(filepath.Join(archive, "disks.tar.zst"), dir); err != nil {
		t.Fatal(err)
	}
	// The last five disks are those of the RAID 6. It lacks two legs.
	var disks []string
	for i := range 4 {
		disks = append(disks, filepath.Join(dir, fmt.Sprintf("disk%d.img", i)))
	}
	before := sparseSums(t, disks)
	wanted := syncedFiles(t, filepath.Join(archive, "sums"))

	mounted := who.mount(t, append([]string{"-o", "overlay=" + changes}, disks...)...)
	written := map[string]map[string][]byte{}
	for _, lv := range []string{"thin", "vdo", "raid6", "snap"} {
		for _, fs := range dirtyFileSystems {
			name := lv + "/" + fs.name
			t.Run(name, func(t *testing.T) {
				loop := loopDevice(t, filepath.Join(mounted, "vg", lv), fs.losetup()...)
				inner := mountFileSystem(t, loop, "-t", fs.name)
				if len(wanted[name]) == 0 {
					t.Fatal("nothing is known of what it holds")
				}
				for file, sum := range wanted[name] {
					if got := fileSum(t, filepath.Join(inner, file)); got != sum {
						t.Errorf("%s: %s, want %s", file, got, sum)
					}
				}
				written[name] = fill(t, inner)
				unmountFileSystem(t, inner)
				who.must(t, fs.check[0], append(fs.check[1:len(fs.check):len(fs.check)], loop)...)
				who.must(t, "losetup", "-d", loop)
			})
		}
	}
	who.must(t, program, "umount", mounted)
	for i, sum := range sparseSums(t, disks) {
		if sum != before[i] {
			t.Errorf("%s has changed", disks[i])
		}
	}

	// A dump holds the LV as changed.
	out := who.tempDir(t)
	who.must(t, program, append([]string{"dump", "--overlay", changes, "--lv", "vg/raid6", "-C", out}, disks...)...)
	for _, fs := range dirtyFileSystems {
		t.Run("dumped/"+fs.name, func(t *testing.T) {
			loop := loopDevice(t, filepath.Join(out, "vg", "raid6"), append(fs.losetup(), "--read-only")...)
			inner := mountFileSystem(t, loop, "-t", fs.name, "-o", "ro")
			for file, want := range written["raid6/"+fs.name] {
				if got, err := os.ReadFile(filepath.Join(inner, file)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what was written, %v", file, err)
				}
			}
			unmountFileSystem(t, inner)
			who.must(t, "losetup", "-d", loop)
		})
	}
}

// losetup are the flags of losetup for where it is.
func (d dirty) losetup() []string {
	return []string{fmt.Sprintf("--offset=%d", d.off), fmt.Sprintf("--sizelimit=%d", d.size)}
}

// syncedFiles are the sums of files that were on disk when the power went, by LV/FILE-SYSTEM and name.
func syncedFiles(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		parts := strings.SplitN(name, "/", 3)
		if len(parts) != 3 {
			t.Fatalf("%s: %q", path, line)
		}
		where := parts[0] + "/" + parts[1]
		if files[where] == nil {
			files[where] = map[string]string{}
		}
		files[where][parts[2]] = sum
	}
	return files
}
