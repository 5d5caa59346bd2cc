package integration

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// All thin LVs and snapshots of a pool are written through the mount: in place, where that breaks sharing, where there
// was nothing, and over an external origin. The kernel reads that, finds the metadata good and goes on writing; we
// read that again.
func TestTheKernelGoesOnWithThinLVsThatWereWritten(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	type volume struct {
		path string
		size int64
	}
	var disks []string
	var volumes []volume
	sums := func(mount func(own ...string) string, perImage [][]string, visit func(path string, v volume)) {
		for i, own := range perImage {
			dir := mount(own...)
			for _, v := range volumes {
				if strings.HasPrefix(v.path, fmt.Sprintf("%d:", i)) {
					lv := strings.SplitN(v.path, ":", 2)[1]
					visit(filepath.Join(dir, lv), v)
				}
			}
			me().must(t, program, "umount", dir)
		}
	}
	var perImage [][]string
	for i, name := range []string{"thin", "thin-external", "thin-raid"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		perImage = append(perImage, own)
		disks = append(disks, own...)
		for k := range c.LVs {
			if lv := &c.LVs[k]; lv.Attr[0] == 'V' && lv.Attr[1] == 'w' {
				volumes = append(volumes, volume{fmt.Sprintf("%d:%s", i, lv.Path()), lv.Size})
			}
		}
	}
	mount := func(own ...string) string { return me().mount(t, own...) }
	written := 0
	sums(mount, perImage, func(path string, v volume) {
		scribbleSome(t, path, v.size)
		written++
	})
	var want, names, roomy []string
	sums(mount, perImage, func(path string, v volume) {
		name := strings.SplitN(v.path, ":", 2)[1]
		names = append(names, "/dev/"+name)
		if !strings.HasPrefix(name, "vg_traid/") { // its pools are nearly full, where the kernel waits for somebody to extend them
			roomy = append(roomy, "/dev/"+name)
		}
		want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), name))
	})
	if written < 8 {
		t.Fatalf("%d thin LVs", written)
	}
	for _, own := range perImage {
		me().must(t, program, append([]string{"check"}, own...)...)
	}
	script := `set -e
vgchange -ay -K --sysinit >/dev/null
sha256sum ` + strings.Join(names, " ") + ` >/out/read
for lv in ` + strings.Join(roomy, " ") + `; do
	dd if=/dev/urandom of=$lv bs=50k count=5 seek=3 conv=notrunc,fsync 2>/dev/null
done
sha256sum ` + strings.Join(names, " ") + ` >/out/written
vgchange -an >/dev/null
vgs --noheadings -o name | while read vg; do
	lvs --noheadings -a -o name,segtype $vg | awk '$2 == "thin-pool" { print $1 }' | while read pool; do
		lvchange -y -ay $vg/${pool}_tmeta >/dev/null 2>&1
		thin_check /dev/mapper/$vg-${pool}_tmeta >/dev/null || echo "$vg/$pool" >>/out/bad
		lvchange -an $vg/${pool}_tmeta >/dev/null 2>&1
	done
done
touch /out/bad
sync
`
	out := guest{script: guestScript(t, script), disks: disks, prepare: func() {}}.run(t)
	if got := strings.TrimSpace(guestFile(t, out, "read")); got != strings.Join(want, "\n") {
		t.Errorf("the kernel read\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if bad := guestFile(t, out, "bad"); bad != "" {
		t.Errorf("thin_check: %s", bad)
	}
	var again []string
	sums(mount, perImage, func(path string, v volume) {
		again = append(again, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), strings.SplitN(v.path, ":", 2)[1]))
	})
	if got := strings.TrimSpace(guestFile(t, out, "written")); got != strings.Join(again, "\n") {
		t.Errorf("the kernel wrote\n%s\nwe read\n%s", got, strings.Join(again, "\n"))
	}
}

// The kernel makes pools on other types, with snapshots and an external origin. They are written here, as file systems
// and in pieces. The kernel reads that, and goes on.
func TestTheKernelGoesOnWithThinLVsOnStackedPools(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "mkfs.ext4", "e2fsck")
	disks := make([]string, 4)
	for i := range disks {
		disks[i] = filepath.Join(me().tempDir(t), fmt.Sprintf("stack%d.img", i))
	}
	out := guest{script: guestScript(t, makeStackedPools), disks: disks, prepare: func() {
		for _, disk := range disks {
			if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 256<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}}.run(t)
	was := map[string]string{} // sums by LV
	for line := range strings.Lines(guestFile(t, out, "made")) {
		sum, lv, _ := strings.Cut(strings.TrimSpace(line), "  /dev/")
		was[lv] = sum
	}
	if len(was) != 8 {
		t.Fatalf("%d LVs were made", len(was))
	}
	dir := me().mount(t, disks...)
	for _, lv := range []string{"vg_stack/plain1", "vg_stack/r5_1", "vg_stack/cached1"} {
		makeFileSystem(t, filepath.Join(dir, lv))
	}
	for _, lv := range []string{"vg_stack/over", "vg_stack/plain2", "vg_stack/r5_snap"} {
		f, err := os.OpenFile(filepath.Join(dir, lv), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if refused := scribbleWhereThereIsRoom(t, f, info.Size()); refused > 0 {
			t.Errorf("%s: %d writes were refused", lv, refused)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for _, lv := range slices.Sorted(maps.Keys(was)) {
		sum := fileSum(t, filepath.Join(dir, lv))
		written := lv != "vg_stack/plain_snap" && lv != "vg_stack/cached_snap"
		if (sum != was[lv]) != written {
			t.Errorf("%s: %s was %s", lv, sum, was[lv])
		}
		want = append(want, fmt.Sprintf("%s  /dev/%s", sum, lv))
	}
	me().must(t, program, "umount", dir)
	me().must(t, program, append([]string{"check"}, disks...)...)
	saved := make([]string, len(disks))
	for i, disk := range disks {
		saved[i] = disk + ".saved"
		me().must(t, "cp", "--sparse=always", disk, saved[i])
	}
	out = guest{script: guestScript(t, fmt.Sprintf(goOnWithStackedPools, devices(want))), disks: disks, prepare: func() {
		for i, disk := range disks {
			me().must(t, "cp", "--sparse=always", saved[i], disk)
		}
	}}.run(t)
	if got := strings.TrimSpace(guestFile(t, out, "read")); got != strings.Join(want, "\n") {
		t.Errorf("the kernel read\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if bad := guestFile(t, out, "bad"); bad != "" {
		t.Errorf("found wrong: %s", bad)
	}
	dir = me().mount(t, disks...)
	for line := range strings.Lines(guestFile(t, out, "written")) {
		sum, lv, _ := strings.Cut(strings.TrimSpace(line), "  /dev/")
		if got := fileSum(t, filepath.Join(dir, lv)); got != sum {
			t.Errorf("%s: we read %s, the kernel left %s", lv, got, sum)
		}
	}
	me().must(t, program, "umount", dir)
	me().must(t, program, append([]string{"check"}, disks...)...)
}

const makeStackedPools = `set -e
pvs=$(readlink -f /run/d/d00?)
pvcreate -q $pvs >/dev/null
vgcreate -q -s 1m vg_stack $pvs >/dev/null
fill() { dd if=/dev/urandom of=/dev/vg_stack/$1 bs=64k count=$2 seek=${3:-0} conv=notrunc,fsync status=none; }
insync() { until lvs --noheadings -o sync_percent vg_stack/$1 | grep -q 100; do sleep 1; done; }

lvcreate -q -y -L 10m -n origin vg_stack
fill origin 160
lvchange -an vg_stack/origin
lvchange -pr vg_stack/origin
lvcreate -q -y --type thin-pool -L 96m -c 64k --discards passdown -n plain vg_stack
lvcreate -q -y -V 40m -n plain1 --thinpool plain vg_stack
fill plain1 300
lvcreate -q -y -s -n plain_snap vg_stack/plain1
lvcreate -q -y -s -n plain2 vg_stack/plain1
lvcreate -q -y -s --thinpool vg_stack/plain -n over vg_stack/origin

lvcreate -q -y --type raid5 -i 2 -L 48m -n r5 vg_stack
lvcreate -q -y --type raid1 -m 1 -L 4m -n r5m vg_stack
insync r5
insync r5m
lvconvert -q -y --type thin-pool -c 128k --poolmetadata vg_stack/r5m vg_stack/r5
lvcreate -q -y -V 30m -n r5_1 --thinpool r5 vg_stack
fill r5_1 200
lvcreate -q -y -s -n r5_snap vg_stack/r5_1

lvcreate -q -y --type thin-pool -L 64m -c 64k -n cached vg_stack
lvcreate -q -y --type cache-pool -L 16m -n fast vg_stack
lvconvert -q -y --type cache --cachepool vg_stack/fast --cachemode writethrough vg_stack/cached
lvcreate -q -y -V 40m -n cached1 --thinpool cached vg_stack
fill cached1 200 100
lvcreate -q -y -s -n cached_snap vg_stack/cached1
fill cached1 30 120

vgchange -ay -K --sysinit vg_stack >/dev/null
sha256sum /dev/vg_stack/over /dev/vg_stack/plain1 /dev/vg_stack/plain2 /dev/vg_stack/plain_snap /dev/vg_stack/r5_1 /dev/vg_stack/r5_snap /dev/vg_stack/cached1 /dev/vg_stack/cached_snap >/out/made
vgchange -an vg_stack >/dev/null
lvs -a -o name,segtype,attr vg_stack >&2
sync
`

// It is for the devices, as arguments.
const goOnWithStackedPools = `set -e
sum() { sha256sum %s; }
touch /out/bad
vgchange -ay -K --sysinit vg_stack >/dev/null
sum >/out/read
for lv in plain1 r5_1 cached1; do e2fsck -f -n /dev/vg_stack/$lv >&2 || echo e2fsck $lv >>/out/bad; done
for lv in over plain1 plain2 plain_snap r5_1 r5_snap cached1 cached_snap; do
	dd if=/dev/urandom of=/dev/vg_stack/$lv bs=50k count=20 seek=33 conv=notrunc,fsync status=none
done
blkdiscard -o 4m -l 4m /dev/vg_stack/plain1
sum >/out/written
lvs --noheadings -o health_status vg_stack | grep '[a-z]' >>/out/bad || true
vgchange -an vg_stack >/dev/null
for pool in plain r5 cached; do
	lvchange -y -ay vg_stack/${pool}_tmeta >/dev/null 2>&1
	thin_check /dev/mapper/vg_stack-${pool}_tmeta >&2 || echo "thin_check $pool" >>/out/bad
	lvchange -an vg_stack/${pool}_tmeta >/dev/null 2>&1
done
sync
`

// scribbleSome writes to a file in a few places, fewer than would fill most pools.
func scribbleSome(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, length := range []int64{1, 512, 4097, 65536, 100_003, 300_000} {
		b := make([]byte, length)
		_, _ = rand.Read(b)
		if _, err := f.WriteAt(b, min(size-length, size/7*int64(i)+777)); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := f.Sync(); i%2 == 0 && err != nil {
			t.Fatal(err)
		}
	}
}
