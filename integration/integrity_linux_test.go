package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// A RAID over integrity layers, in journal mode and in bitmap mode, is written through the mount. The kernel reads
// that: it finds no block that does not match its checksum, and no leg or parity that differs. It goes on writing, and
// lvm2fs reads that. The same holds when lvm2fs is killed while it writes: what was synced is there.
func TestTheKernelReadsWhatWasWrittenOverIntegrityLayers(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	c := testimages.Load(t, "integrity")
	disks := me().unpack(t, c)
	dir := me().mount(t, disks...)
	var want, paths []string
	for i := range c.LVs {
		lv := &c.LVs[i]
		path := filepath.Join(dir, lv.Path())
		scribble(t, path, lv.Size)
		want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), lv.Path()))
		paths = append(paths, "/dev/"+lv.Path())
	}
	me().must(t, program, "umount", dir)
	written := strings.Join(paths, " ")
	const check = `
lvs=$(lvs --noheadings -o full_name -S 'lv_active=active')
busy() { lvs --noheadings -o raid_sync_action $lvs | grep -qv idle; }
for i in $(seq 120); do busy || break; sleep 1; done
for lv in $lvs; do lvchange --syncaction check $lv; done
for i in $(seq 120); do busy || break; sleep 1; done
lvs --noheadings -o full_name,lv_health_status,raid_mismatch_count,integritymismatches $lvs >>/out/legs
for lv in $lvs; do
	lvs -a --noheadings -o full_name,integritymismatches -S "segtype=integrity" $(dirname $lv)
done | sort -u >>/out/legs
awk '{for (i = 2; i <= NF; i++) if ($i != "0") {print "amiss: " $0; next}}' /out/legs >>/out/result
`

	run := guest{
		script: guestScript(t, `set -e
vgchange -ay --sysinit >/dev/null
sha256sum `+written+` >/out/result
`+check+`
for lv in `+written+`; do
	for at in 1 17 30; do dd if=/dev/urandom of=$lv bs=64k count=3 seek=$at conv=notrunc oflag=direct,sync 2>/dev/null; done
done
sha256sum `+written+` >/out/after
vgchange -an >/dev/null
sync
`),
		disks: disks, prepare: func() {},
	}
	out := run.run(t)
	if got, want := strings.TrimSpace(guestFile(t, out, "result")), strings.Join(want, "\n"); got != want {
		t.Errorf("the kernel says\n%s\nwant\n%s\nof\n%s", got, want, guestFile(t, out, "legs"))
	}
	dir = me().mount(t, disks...)
	var after []string
	for i := range c.LVs {
		after = append(after, fmt.Sprintf("%s  /dev/%s", fileSum(t, filepath.Join(dir, c.LVs[i].Path())), c.LVs[i].Path()))
	}
	me().must(t, program, "umount", dir)
	if got, want := strings.Join(after, "\n"), strings.TrimSpace(guestFile(t, out, "after")); got != want {
		t.Errorf("after the kernel went on, read\n%s\nwant\n%s", got, want)
	}
}

func TestTheKernelTakesIntegrityLayersThatWereWrittenWhenLvm2fsWasKilled(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var d degraded
	d.kill(t, "integrity")
	got := kernel(t, `
vgchange -ay --sysinit >/dev/null
lvs=$(lvs --noheadings -o full_name -S 'lv_active=active')
busy() { lvs --noheadings -o sync_percent,raid_sync_action $lvs | grep -qv '100.00 *idle'; }
for i in $(seq 120); do busy || break; sleep 1; done
for lv in $lvs; do lvchange --syncaction check $lv; done
for i in $(seq 120); do busy || break; sleep 1; done
lvs -a --noheadings -o full_name,lv_health_status,raid_mismatch_count,integritymismatches >/out/legs
awk '{for (i = 2; i <= NF; i++) if ($i != "0") {print "amiss: " $0; next}}' /out/legs >/out/result
echo blocks >>/out/result
for lv in `+strings.Join(d.paths, " ")+`; do
	python3 -c '
import hashlib, sys
with open(sys.argv[1], "rb") as f:
    for block in iter(lambda: f.read(4096), b""):
        print(hashlib.sha256(block).hexdigest())' $lv
done >>/out/result
`, d.here...)
	amiss, blocks, _ := strings.Cut(got, "blocks\n")
	if amiss != "" {
		t.Errorf("the kernel says\n%s", amiss)
	}
	sums := strings.Fields(blocks)
	for i, h := range d.hammered {
		if len(sums) < int(h.blocks) {
			t.Fatalf("%d sums of blocks are left for %s, of %d", len(sums), d.paths[i], h.blocks)
		}
		h.judge(t, d.paths[i], sums[:h.blocks])
		sums = sums[h.blocks:]
	}
}
