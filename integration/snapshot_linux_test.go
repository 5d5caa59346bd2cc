package integration

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// Origins and snapshots are written, in pieces or as a file system. The real kernel reads of each what was written,
// also where some of it was refused for want of room. Then the kernel writes them, and we read that.
func TestTheKernelReadsWhatWasWrittenToOriginsAndSnapshots(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "mkfs.ext4", "e2fsck")
	var disks, saved, want []string
	images := map[string][]string{} // disks by VG
	refused := 0
	for _, name := range []string{"snapshot", "snapshot-crash", "snap-many", "snap-cowseg"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		dir := me().mount(t, own...)
		var open []*os.File // all of a family
		for i := range c.LVs {
			f, err := os.OpenFile(filepath.Join(dir, c.LVs[i].Path()), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, f)
		}
		for i := range c.LVs {
			switch path := c.LVs[i].Path(); path {
			case "vg_snapcrash/snap1", "vg_snapmany/o":
				makeFileSystem(t, filepath.Join(dir, path))
			default:
				refused += scribbleWhereThereIsRoom(t, open[i], c.LVs[i].Size)
			}
		}
		for i, f := range open {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, f.Name()), c.LVs[i].Path()))
		}
		me().must(t, program, "umount", dir)
		images[c.LVs[0].VG] = own
		disks = append(disks, own...)
	}
	if refused == 0 {
		t.Error("there was room for everything")
	}
	for _, disk := range disks {
		saved = append(saved, disk+".saved")
		me().must(t, "cp", "--sparse=always", disk, disk+".saved")
	}
	prepare := func() {
		for i, disk := range disks {
			me().must(t, "cp", "--sparse=always", saved[i], disk)
		}
	}
	out := guest{script: guestScript(t, `
set -e
vgchange -ay --sysinit >/dev/null
sum() { sha256sum `+devices(want)+`; }
sum >/out/result
for lv in vg_snapcrash/snap1 vg_snapmany/o; do e2fsck -f -n /dev/$lv >&2 || echo e2fsck $lv >>/out/result; done
for lv in vg_snapmany/o vg_snapmany/s4k vg_snapmany/s512k vg_snapcrash/snap1 vg_snap/snap_large; do
	dd if=/dev/urandom of=/dev/$lv bs=4096 seek=70 count=60 conv=fsync status=none
done
sum >/out/after
vgchange -an >/dev/null
`), disks: disks, prepare: prepare}.run(t)
	if got, want := strings.TrimSpace(guestFile(t, out, "result")), strings.Join(want, "\n"); got != want {
		t.Errorf("the kernel read\n%s\nwant\n%s", got, want)
	}
	var after []string
	for _, line := range want {
		path := strings.TrimPrefix(strings.Fields(line)[1], "/dev/")
		vg, _, _ := strings.Cut(path, "/")
		dir := me().mount(t, images[vg]...)
		after = append(after, fmt.Sprintf("%s  /dev/%s", fileSum(t, filepath.Join(dir, path)), path))
		me().must(t, program, "umount", dir)
	}
	if want := strings.TrimSpace(guestFile(t, out, "after")); strings.Join(after, "\n") != want {
		t.Errorf("we read\n%s\nthe kernel left\n%s", strings.Join(after, "\n"), want)
	}
}

// makeFileSystem makes an ext4 on a volume, with files, and checks it.
func makeFileSystem(t *testing.T, path string) {
	t.Helper()
	loop := loopDevice(t, path)
	me().must(t, "mkfs.ext4", "-q", "-F", "-E", "nodiscard", loop)
	inner := mountFileSystem(t, loop)
	fill(t, inner)
	unmountFileSystem(t, inner)
	if r := me().run(t, "e2fsck", "-f", "-n", loop); r.code != 0 {
		t.Errorf("e2fsck: exit %d\n%s", r.code, r.stdout)
	}
	me().must(t, "losetup", "-d", loop)
}

// scribbleWhereThereIsRoom writes pieces all over a file, and says how many were refused.
func scribbleWhereThereIsRoom(t *testing.T, f *os.File, size int64) (refused int) {
	t.Helper()
	for i, length := range []int64{512, 1, 4096, 4097, 65536, 100_003} {
		for off := int64(i) * 777; off+length <= size; off += 3*length + size/16 + 511 {
			_, err := io.CopyN(io.NewOffsetWriter(f, off), rand.Reader, length)
			if errors.Is(err, syscall.ENOSPC) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return refused
}
