package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// A RAID was cut off while the kernel or lvm2fs wrote it. It is written again: what the cut left dirty is in sync
// then. The kernel has nothing to resync, and finds no leg and no parity that differ.
func TestTheKernelFindsRAIDsInSyncThatWereWrittenAfterTheyHadBeenCutOff(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var byKernel, all []string
	var cut, pristine []string
	mounts := map[string][]string{}
	paths := map[string][]testimages.LV{}
	for _, name := range []string{"raid1", "raid5_ls", "raid6_zr", "raid10"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		pristine = append(pristine, me().unpack(t, c)...)
		cut, mounts[name], paths[name] = append(cut, own...), own, c.LVs
		for i := range c.LVs {
			byKernel = append(byKernel, "/dev/"+c.LVs[i].Path())
		}
	}
	guest{
		script: guestScript(t, `set -e
vgchange -ay --sysinit >/dev/null
for lv in `+strings.Join(byKernel, " ")+`; do
	for at in 1 17 30; do dd if=/dev/urandom of=$lv bs=64k count=3 seek=$at conv=notrunc oflag=direct,sync 2>/dev/null; done
done
`),
		disks: cut,
		prepare: func() {
			for i := range cut {
				me().must(t, "cp", "--sparse=always", pristine[i], cut[i])
			}
		},
	}.run(t)
	all = append(all, cut...)
	var killed degraded
	for _, name := range []string{"raid5_ra", "raid6_nc"} {
		before := len(killed.here)
		killed.kill(t, name)
		mounts[name], paths[name] = killed.here[before:], testimages.Load(t, name).LVs
	}
	all = append(all, killed.here...)
	var want []string
	for name, disks := range mounts {
		dir := me().mount(t, disks...)
		for i := range paths[name] {
			lv := &paths[name][i]
			path := filepath.Join(dir, lv.Path())
			scribble(t, path, lv.Size)
			want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), lv.Path()))
		}
		me().must(t, program, "umount", dir)
	}
	got := kernel(t, `
vgchange -ay --sysinit >/dev/null
sha256sum `+devices(want)+` >/out/result
lvs=$(lvs --noheadings -o full_name -S 'lv_active=active')
busy() { lvs --noheadings -o raid_sync_action $lvs | grep -qv idle; }
for i in $(seq 60); do busy || break; sleep 1; done
echo $(dmesg | grep -c 'md: resync of RAID array') resyncs >>/out/result
for lv in $lvs; do lvchange --syncaction check $lv; done
for i in $(seq 120); do busy || break; sleep 1; done
lvs --noheadings -o full_name,raid_mismatch_count $lvs | awk '$2 != "0" {print "amiss: " $0}' >>/out/result
`, all...)
	if got, want := strings.TrimSpace(got), strings.Join(want, "\n")+"\n0 resyncs"; got != want {
		t.Errorf("the kernel says\n%s\nwant\n%s", got, want)
	}
}
