package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// mdLab are arrays that are written, in the order in which a guest gets their disks.
type mdLab struct {
	disks []string
	// assemble has the guest start the arrays, as /dev/mdN.
	assemble strings.Builder
	away     []int // by array: which of all disks was away; -1 for none
	sums     []string
	arrays   int
}

// add adds the disks of an array. The one with number away was not there while it was written; -1 for none.
func (l *mdLab) add(disks []string, away int) {
	fmt.Fprintf(&l.assemble, "mdadm --assemble --run /dev/md%d", l.arrays)
	lost := -1
	for i := range disks {
		n := len(l.disks) + i
		fmt.Fprintf(&l.assemble, " /run/d/d%03d", n)
		if i == away {
			lost = n
		}
	}
	l.assemble.WriteString(" >>/out/mdadm 2>&1 || true\n")
	l.disks, l.away = append(l.disks, disks...), append(l.away, lost)
	l.arrays++
}

// write writes all LVs on some of the disks through a mount, with an ext4 on the last one.
func (l *mdLab) write(t *testing.T, c *testimages.Case, disks []string) {
	t.Helper()
	dir := me().mount(t, disks...)
	for i := range c.LVs {
		lv := &c.LVs[i]
		path := filepath.Join(dir, lv.Path())
		scribble(t, path, lv.Size)
		if i == len(c.LVs)-1 {
			me().must(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", filepath.Join(testenv.Root(), "raid"), path)
		}
	}
	l.read(t, c, dir)
	me().must(t, program, "umount", dir)
}

func (l *mdLab) read(t *testing.T, c *testimages.Case, dir string) {
	t.Helper()
	for i := range c.LVs {
		l.sums = append(l.sums, fmt.Sprintf("%s  /dev/%s", fileSum(t, filepath.Join(dir, c.LVs[i].Path())), c.LVs[i].Path()))
	}
}

// Parts of scripts for a guest.
const (
	mdStart = `
modprobe -a raid0 raid1 raid10 raid456
`
	mdFunctions = `
vgchange -ay --sysinit >/dev/null 2>&1 || true
say() { echo "$@" >>/out/result; }
busy() { cat /sys/block/md*/md/sync_action 2>/dev/null | grep -qv idle; }
calm() { for i in $(seq 240); do busy || return 0; sleep 1; done; say busy: $(cat /proc/mdstat); }
`
	mdCheck = `
for md in /sys/block/md*/md; do
	test -e $md/sync_action || continue
	test $(cat $md/degraded) = 0 || say $md is degraded
	echo check >$md/sync_action
done
calm
for md in /sys/block/md*/md; do
	test ! -e $md/mismatch_cnt || test $(cat $md/mismatch_cnt) = 0 || say $md: $(cat $md/mismatch_cnt) mismatches
done
for d in /run/d/*; do mdadm --examine $d 2>&1 | grep -q 'Checksum.*correct' || say $d: $(mdadm --examine $d 2>&1); done
`
)

// LVs on an MD array are written through the mount. The kernel reads what was written: it has nothing to resync, and
// finds no copy or parity that differs. It writes then, and lvm2fs reads that.
func TestTheKernelTakesArraysThatWereWritten(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "mke2fs")
	var lab mdLab
	own := map[string][]string{}
	names := []string{
		"md-raid0", "md-raid1-0.90", "md-raid1-1.0", "md-raid1-1.1", "md-raid1-1.2", "md-raid4-1.0", "md-raid5", "md-raid6",
		"md-raid10-n2", "md-raid10-f2", "md-raid10-o2",
	}
	var ext4 []string
	for _, name := range names {
		c := testimages.Load(t, name)
		own[name] = me().unpack(t, c)
		lab.write(t, c, own[name])
		lab.add(own[name], -1)
		ext4 = append(ext4, "/dev/"+c.LVs[len(c.LVs)-1].Path())
	}
	var kept []string
	for _, d := range lab.disks {
		kept = append(kept, d+".kept")
		me().must(t, "cp", "--sparse=always", d, d+".kept")
	}
	out := guest{
		script: guestScript(t, mdStart+lab.assemble.String()+mdFunctions+`
sha256sum `+devices(lab.sums)+` >/out/result
for fs in `+strings.Join(ext4, " ")+`; do e2fsck -fn $fs >/tmp/fsck 2>&1 || say $fs: $(cat /tmp/fsck); done
say $(dmesg | grep -c 'md: resync of RAID array') resyncs
`+mdCheck+`
for lv in `+devices(lab.sums)+`; do
	for at in 0 3 7; do dd if=/dev/urandom of=$lv bs=64k count=2 seek=$at conv=notrunc oflag=direct 2>/dev/null; done
done
sha256sum `+devices(lab.sums)+` >/out/after
vgchange -an >/dev/null 2>&1; mdadm --stop --scan >>/out/mdadm 2>&1; sync
`),
		disks: lab.disks,
		prepare: func() {
			for i, d := range lab.disks {
				me().must(t, "cp", "--sparse=always", kept[i], d)
			}
		},
	}.run(t)
	if got, want := strings.TrimSpace(guestFile(t, out, "result")), strings.Join(lab.sums, "\n")+"\n0 resyncs"; got != want {
		t.Errorf("the kernel says\n%s\nwant\n%s\n%s", got, want, guestFile(t, out, "mdadm"))
	}
	lab.sums = nil
	for _, name := range names {
		dir := me().mount(t, own[name]...)
		lab.read(t, testimages.Load(t, name), dir)
		me().must(t, program, "umount", dir)
	}
	if got, want := strings.Join(lab.sums, "\n"), strings.TrimSpace(guestFile(t, out, "after")); got != want {
		t.Errorf("after the kernel has written, lvm2fs reads\n%s\nwant\n%s", got, want)
	}
}

// A member that was away while its array was written is not believed when it is back; the kernel brings it up to date.
// If lvm2fs was killed while it wrote an array, the kernel resyncs that array.
func TestTheKernelBringsArraysInSyncThatWereWrittenWithoutAMemberOrCutOff(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "mke2fs")
	var lab mdLab
	for _, a := range []struct {
		name string
		away int
	}{{"md-raid1-1.2", 0}, {"md-raid1-1.0", 1}, {"md-raid4-1.0", 1}, {"md-raid6", 2}, {"md-raid10-n2", 1}, {"md-raid1-0.90", 0}} {
		c := testimages.Load(t, a.name)
		disks := me().unpack(t, c)
		lab.write(t, c, slices.Delete(slices.Clone(disks), a.away, a.away+1))
		lab.add(disks, a.away)
	}
	var hammers []*hammer
	var paths []string
	killed := 0
	for _, name := range []string{"md-raid1-1.1", "md-raid5", "md-raid10-o2"} {
		c := testimages.Load(t, name)
		disks := me().unpack(t, c)
		served := me().serve(t, disks...)
		var hitting sync.WaitGroup
		for i := range c.LVs {
			h := newHammer(t, filepath.Join(served.dir, c.LVs[i].Path()), c.LVs[i].Size)
			hammers, paths = append(hammers, h), append(paths, "/dev/"+c.LVs[i].Path())
			hitting.Go(h.hit)
		}
		time.Sleep(time.Second) // so that something is synced; which writes are cut off is left to chance
		if err := served.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		hitting.Wait()
		forceUnmount(served.dir)
		lab.add(disks, -1)
		killed++
	}
	var readd strings.Builder
	for i, n := range lab.away {
		if n >= 0 {
			fmt.Fprintf(&readd, "back %d /run/d/d%03d\n", i, n)
		}
	}
	out := guest{
		script: guestScript(t, mdStart+lab.assemble.String()+mdFunctions+`
sha256sum `+devices(lab.sums)+` >/out/result
back() {
	test $(cat /sys/block/md$1/md/degraded) = 1 || say md$1 has taken $2
	mdadm /dev/md$1 --re-add $2 >>/out/mdadm 2>&1 || mdadm /dev/md$1 --add $2 >>/out/mdadm 2>&1 || say md$1 does not get $2 back
}
`+readd.String()+`
for md in /dev/md[0-9]; do mdadm --readwrite $md 2>/dev/null; done
sleep 1
calm
say $(dmesg | grep 'md: resync of RAID array' | sort -u -k 7 | wc -l) resyncs
`+mdCheck+`
sha256sum `+devices(lab.sums)+` >>/out/result
for lv in `+strings.Join(paths, " ")+`; do
	python3 -c '
import hashlib, sys
with open(sys.argv[1], "rb") as f:
    for block in iter(lambda: f.read(4096), b""):
        print(hashlib.sha256(block).hexdigest())' $lv
done >/out/blocks
dmesg >/out/dmesg
`),
		disks: lab.disks,
	}.run(t)
	sums := strings.Join(lab.sums, "\n")
	if got, want := strings.TrimSpace(guestFile(t, out, "result")), fmt.Sprintf("%s\n%d resyncs\n%s", sums, killed, sums); got != want {
		t.Errorf("the kernel says\n%s\nwant\n%s\n%s", got, want, guestFile(t, out, "mdadm"))
	}
	blocks := strings.Fields(guestFile(t, out, "blocks"))
	for i, h := range hammers {
		if len(blocks) < int(h.blocks) {
			t.Fatalf("%d sums of blocks are left for %s, of %d", len(blocks), paths[i], h.blocks)
		}
		h.judge(t, paths[i], blocks[:h.blocks])
		blocks = blocks[h.blocks:]
	}
	if keep := os.Getenv("LVM2FS_KEEP"); keep != "" {
		me().must(t, "cp", "-r", out, keep)
	}
}
