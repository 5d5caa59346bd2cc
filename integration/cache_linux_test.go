package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// LVs with a cache or a writecache are written, in pieces or as a file system. The real kernel reads what was written,
// with the cache and, after the cache is gone, without it.
func TestTheKernelReadsWhatWasWrittenToCaches(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "mkfs.ext4", "e2fsck")
	var disks, want []string
	for _, name := range []string{"cache-clean", "cache-raid", "cache-wt", "writecache", "writecache-crash"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		dir := me().mount(t, own...)
		for i := range c.LVs {
			lv := &c.LVs[i]
			path := filepath.Join(dir, lv.Path())
			switch lv.LV {
			case "passthru":
				if _, err := os.OpenFile(path, os.O_WRONLY, 0); !errors.Is(err, syscall.EROFS) {
					t.Errorf("%s: %v", lv.LV, err)
				}
			case "wbvol", "wtpool1", "wc512":
				loop := loopDevice(t, path)
				me().must(t, "mkfs.ext4", "-q", "-F", loop)
				inner := mountFileSystem(t, loop)
				fill(t, inner)
				unmountFileSystem(t, inner)
				if r := me().run(t, "e2fsck", "-f", "-n", loop); r.code != 0 {
					t.Errorf("e2fsck: exit %d\n%s", r.code, r.stdout)
				}
				me().must(t, "losetup", "-d", loop)
			default:
				scribble(t, path, lv.Size)
			}
			want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), lv.Path()))
		}
		me().must(t, program, "umount", dir)
		disks = append(disks, own...)

		dir = me().mount(t, own...)
		reason := make([]byte, 200)
		n, err := unix.Getxattr(filepath.Join(dir, "vg_cacheclean", "wbpool"), "user.lvm2.readonly", reason)
		if name == "cache-clean" && (err != nil || !strings.Contains(string(reason[:n]), "not shut down in order")) {
			t.Errorf("a cache in writeback mode that was written: %q, %v", reason[:n], err)
		}
		me().must(t, program, "umount", dir)
	}
	got := kernel(t, `
vgchange -ay --sysinit >/dev/null
sum() { sha256sum `+devices(want)+` >>/out/result; }
for lv in vg_cacheclean/wbvol vg_cachewt/wtpool1 vg_wc/wc512; do e2fsck -f -n /dev/$lv || echo e2fsck $lv >>/out/result; done
sum
for lv in vg_cacheraid/lv vg_cacheclean/wbpool vg_cacheclean/wbvol vg_cacheclean/wtpool vg_cacheclean/wtvol vg_cachewt/wtpool1 vg_cachewt/wtpool2 vg_cachewt/wtvol2 vg_cachewt/passthru vg_wc/wc4k vg_wc/wc512 vg_wccrash/wc4k vg_wccrash/wc512; do
	lvconvert -y --uncache $lv
done
if dmsetup status --target cache | grep . || dmsetup status --target writecache | grep .; then echo caches are left >>/out/result; fi
sum
`, disks...)
	sums := strings.Join(want, "\n")
	if got, want := strings.TrimSpace(got), sums+"\n"+sums; got != want {
		t.Errorf("the kernel read\n%s\nwant\n%s", got, want)
	}
}
