package copyout

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
)

// mount makes a file system for the test and returns where it is.
func mount(t *testing.T, args ...string) string {
	t.Helper()
	testenv.NeedRoot(t)
	at := t.TempDir()
	args = append(args, at)
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("mount %s: %s", strings.Join(args, " "), out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %s", at, out)
		}
	})
	return at
}

func mountImage(t *testing.T, mkfs ...string) string {
	t.Helper()
	testenv.NeedLoop(t)
	testenv.NeedTools(t, mkfs[0])
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 320*mib); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("%s: %s", mkfs[0], out)
	}
	return mount(t, "-o", "loop", image)
}

func TestBlocksAreSharedWhereTheFileSystemCan(t *testing.T) {
	testenv.Long(t)
	for _, mkfs := range [][]string{{"mkfs.btrfs", "-q"}, {"mkfs.xfs", "-q", "-m", "reflink=1"}} {
		t.Run(mkfs[0], func(t *testing.T) {
			d := openTestDir(t, mountImage(t, mkfs...))
			v := newFileVolume(t, d.path, 192*kib, newVolume(data(8*mib), zero(100*mib), data(8*mib+512), computed(kib)))
			j := d.job(v)
			if n, err := j.Need(); err != nil || n > 8*kib {
				t.Errorf("Need is %d, %v", n, err)
			}
			d.run(j)
			d.wantFile("lv", v.bytes)
			if v.readBytes > 8*kib {
				t.Errorf("%d bytes were read", v.readBytes)
			}
			image := v.pieces[0].Device.(fileDevice).f
			for _, off := range []int64{0, 8*mib - 4*kib, 108 * mib} {
				if from, to := block(t, image, 192*kib+off), block(t, d.open("lv"), off); from != to {
					t.Errorf("the block at %d is not shared", off)
				}
			}
		})
	}
}

func TestSpaceNeededIsNotForgottenWhereBlocksCannotBeShared(t *testing.T) {
	testenv.Long(t)
	d := openTestDir(t, mountImage(t, "mkfs.xfs", "-q", "-m", "reflink=0"))
	v := newFileVolume(t, d.path, 192*kib, newVolume(data(8*mib), zero(100*mib), data(8*mib)))
	j := d.job(v)
	if n, err := j.Need(); err != nil || n != 16*mib {
		t.Errorf("Need is %d, %v", n, err)
	}
	d.run(j)
	d.wantFile("lv", v.bytes)
}

func TestBlocksOfAnImageAtAnOddOffsetAreCopied(t *testing.T) {
	d := openTestDir(t, mountImage(t, "mkfs.btrfs", "-q"))
	v := newFileVolume(t, d.path, 192*kib+512, newVolume(data(8*mib)))
	d.run(d.job(v))
	d.wantFile("lv", v.bytes)
}

func (d *testDir) open(name string) *os.File {
	d.t.Helper()
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { f.Close() })
	return f
}

// block is where in its file system the byte at off of a file is.
func block(t *testing.T, f *os.File, off int64) int64 {
	t.Helper()
	testenv.NeedTools(t, "filefrag")
	out, err := exec.Command("filefrag", "-b1", "-v", f.Name()).Output()
	if err != nil {
		t.Fatal("filefrag: ", err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		f := strings.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' })
		if len(f) < 5 || !strings.Contains(line, "..") {
			continue
		}
		var n [3]int64 // first, last, physical
		for i := range n {
			n[i], _ = strconv.ParseInt(f[i+1], 10, 64)
		}
		first, last, physical := n[0], n[1], n[2]
		if first <= off && off <= last {
			return physical + off - first
		}
	}
	t.Errorf("no block at %d in\n%s", off, out)
	return 0
}

func TestAFullFileSystemStopsTheRunUntilThereIsSpace(t *testing.T) {
	at := mount(t, "-t", "tmpfs", "-o", "size=3m", "none")
	d := openTestDir(t, at)
	v := newVolume(computed(8 * mib))
	j := d.job(v)
	if n, err := j.Need(); n != 8*mib || err != nil {
		t.Errorf("Need is %d, %v", n, err)
	}
	if _, n, err := d.folder.FreeSpace(); n != 3*mib || err != nil {
		t.Errorf("FreeSpace is %d, %v", n, err)
	}
	noteOften(v, j)
	if _, err := j.Run(context.Background()); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("Run: %v", err)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=16m", at).CombinedOutput(); err != nil {
		t.Fatalf("remount: %s", out)
	}
	v.readBytes = 0
	d.run(d.job(v))
	d.wantFile("lv", v.bytes)
	d.wantNames("lv")
	if v.readBytes >= 8*mib {
		t.Error("all was read again")
	}
}

// What a stopped run has left counts: the next run needs that much less space.
func TestSpaceNeededIsWhatIsStillToDo(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(8 * mib))
	stopped(t, v, d.job(v))
	n, err := d.job(v).Need()
	if err != nil || n <= 0 || n >= 8*mib {
		t.Errorf("Need is %d, %v", n, err)
	}
	j := d.job(v)
	j.Identity.Seqno++ // the job starts afresh, in the blocks of the old file
	afresh, err := j.Need()
	if err != nil || afresh > n+64*kib || afresh < n-64*kib {
		t.Errorf("Need is %d, %v; starting afresh it is %d", n, err, afresh)
	}
	w := newVolume(data(mib), zero(mib), missing(mib))
	j = d.job(w)
	j.Name = "other"
	if n, err := j.Need(); n != mib || err != nil {
		t.Errorf("Need is %d, %v", n, err)
	}
}
