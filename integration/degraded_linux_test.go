package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// degraded are disks of arrays that are written while some are away.
type degraded struct {
	here, away []string
	sums       []string // of what was written in peace, as sha256sum prints them
	hammered   []*hammer
	paths      []string // of those
	refused    []string // LVs that the kernel does not start
}

// split unpacks the disks of an image; those with the numbers in away are away.
func (d *degraded) split(t *testing.T, c *testimages.Case, away ...int) (here []string) {
	t.Helper()
	for i, disk := range me().unpack(t, c) {
		if slices.Contains(away, i) {
			d.away = append(d.away, disk)
		} else {
			here = append(here, disk)
		}
	}
	d.here = append(d.here, here...)
	return here
}

// RAIDs are written while some of their legs are away. The kernel reads what was written without these legs, and with
// them when they are back: it takes none of them for whole, and brings all up to date. That holds also if lvm2fs is
// killed in the middle; only an array with parity does not start then.
func TestTheKernelBringsLegsUpToDateThatWereAwayWhileTheirArrayWasWritten(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var d degraded
	for name, away := range map[string][]int{"raid1": {0}, "raid4": {1}, "raid5_ls": {2}, "raid6_zr": {0, 3}, "raid6_nc": {1}, "raid10": {0}} {
		c := testimages.Load(t, name)
		dir := me().mount(t, d.split(t, c, away...)...)
		for i := range c.LVs {
			path := filepath.Join(dir, c.LVs[i].Path())
			scribble(t, path, c.LVs[i].Size)
			d.sums = append(d.sums, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), c.LVs[i].Path()))
		}
		me().must(t, program, "umount", dir)
	}
	d.kill(t, "raid5_ra", 0)
	for i := range testimages.Load(t, "raid5_ra").LVs {
		d.refused = append(d.refused, testimages.Load(t, "raid5_ra").LVs[i].Path())
	}

	const start = `
vgchange -ay --sysinit >/dev/null 2>&1 || true
`
	refused := strings.Join(d.refused, " ")
	got := kernel(t, start+`
sha256sum `+devices(d.sums)+` >/out/result
for lv in `+refused+`; do test -e /dev/$lv || echo $lv is not active; done >>/out/result
`, d.here...)
	want := strings.Join(d.sums, "\n")
	for _, lv := range d.refused {
		want += "\n" + lv + " is not active"
	}
	if got := strings.TrimSpace(got); got != want {
		t.Errorf("without the legs the kernel says\n%s\nwant\n%s", got, want)
	}

	got = kernel(t, start+`
sha256sum `+devices(d.sums)+` >/out/result
for lv in `+refused+`; do test -e /dev/$lv || echo $lv is not active; done >>/out/result
lvs=$(lvs --noheadings -o full_name -S 'lv_active=active')
busy() { lvs --noheadings -o sync_percent,raid_sync_action $lvs | grep -qv '100.00 *idle'; }
for i in $(seq 120); do busy || break; sleep 1; done
busy && echo legs are not up to date >>/out/result
for lv in $lvs; do lvchange --syncaction check $lv; done
for i in $(seq 120); do busy || break; sleep 1; done
lvs --noheadings -o full_name,lv_health_status,raid_mismatch_count $lvs | awk '$2 != "0" {print "amiss: " $0}' >>/out/result
sha256sum `+devices(d.sums)+` >>/out/result
`, append(slices.Clone(d.here), d.away...)...)
	if got, want := strings.TrimSpace(got), want+"\n"+strings.Join(d.sums, "\n"); got != want {
		t.Errorf("with the legs the kernel says\n%s\nwant\n%s", got, want)
	}
}

// lvm2fs was writing copies without a leg when it was killed. The kernel brings the copies in sync, and the leg up to
// date.
func TestTheKernelResyncsCopiesThatWereWrittenWithoutALegWhenLvm2fsWasKilled(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var d degraded
	d.kill(t, "raid1", 0)
	d.kill(t, "raid10", 3)
	got := kernel(t, `
vgchange -ay --sysinit >/dev/null
lvs=$(lvs --noheadings -o full_name -S 'lv_active=active')
busy() { lvs --noheadings -o sync_percent,raid_sync_action $lvs | grep -qv '100.00 *idle'; }
for i in $(seq 120); do busy || break; sleep 1; done
for lv in $lvs; do lvchange --syncaction check $lv; done
for i in $(seq 120); do busy || break; sleep 1; done
lvs --noheadings -o full_name,lv_health_status,raid_mismatch_count $lvs | awk '$2 != "0" {print "amiss: " $0}' >>/out/result
echo blocks >>/out/result
for lv in `+strings.Join(d.paths, " ")+`; do
	python3 -c '
import hashlib, sys
with open(sys.argv[1], "rb") as f:
    for block in iter(lambda: f.read(4096), b""):
        print(hashlib.sha256(block).hexdigest())' $lv
done >>/out/result
`, append(slices.Clone(d.here), d.away...)...)
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

// kill kills lvm2fs while it writes the LVs of an image of which disks are away.
func (d *degraded) kill(t *testing.T, name string, away ...int) {
	t.Helper()
	c := testimages.Load(t, name)
	served := me().serve(t, d.split(t, c, away...)...)
	var hitting sync.WaitGroup
	for i := range c.LVs {
		h := newHammer(t, filepath.Join(served.dir, c.LVs[i].Path()), c.LVs[i].Size)
		d.hammered, d.paths = append(d.hammered, h), append(d.paths, "/dev/"+c.LVs[i].Path())
		hitting.Go(h.hit)
	}
	time.Sleep(time.Second) // so that something is synced; which writes are cut off is left to chance
	if err := served.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	hitting.Wait()
	forceUnmount(served.dir)
}
