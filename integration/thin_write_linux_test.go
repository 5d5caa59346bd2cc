package integration

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lvm2fs/internal/testenv"
	"lvm2fs/internal/testimages"
)

// All thin LVs and snapshots of a pool are written through the mount, in place, where that breaks sharing, where there was
// nothing, and over an external origin. The kernel reads that, finds the metadata good, goes on writing, and we read
// that again.
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
