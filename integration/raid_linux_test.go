package integration

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

// RAIDs and mirrors are written through the mount. The real kernel reads what was written, and its check finds no leg
// and no parity that differ. When lvm2fs is killed in the middle, the kernel finds that out and brings the legs in
// sync; every block that was on stable storage is there.
func TestTheKernelFindsRAIDsAsTheyShouldBeAfterWritingAndAfterACrash(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var disks, want []string
	for _, name := range []string{"raid0", "raid1", "raid4", "raid5_ls", "raid6_zr"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		dir := me().mount(t, own...)
		for i := range c.LVs {
			path := filepath.Join(dir, c.LVs[i].Path())
			scribble(t, path, c.LVs[i].Size)
			want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), c.LVs[i].Path()))
		}
		me().must(t, program, "umount", dir)
		disks = append(disks, own...)
	}
	var hammered []*hammer
	var paths []string
	for _, name := range []string{"raid10", "raid5_ra", "raid6_nc", "mirror"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		d := me().serve(t, own...)
		var hitting sync.WaitGroup
		for i := range c.LVs {
			h := newHammer(t, filepath.Join(d.dir, c.LVs[i].Path()), c.LVs[i].Size)
			hammered, paths = append(hammered, h), append(paths, "/dev/"+c.LVs[i].Path())
			hitting.Go(h.hit)
		}
		time.Sleep(time.Second)
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		hitting.Wait()
		forceUnmount(d.dir)
		disks = append(disks, own...)
	}
	flawed := testimages.Load(t, "raid5_la")
	own := me().unpack(t, flawed)
	spoil(t, flawed.LVs[0].Path(), own)
	disks = append(disks, own...)
	got := kernel(t, `
vgchange -ay --sysinit >/dev/null
vgck >/out/result 2>&1
sha256sum `+devices(want)+` >>/out/result
resynced() { lvs --noheadings -o sync_percent -S 'segtype!=raid0' | grep -qv 100.00; }
for i in $(seq 60); do resynced || break; sleep 1; done
echo $(dmesg | grep -c 'md: resync of RAID array') resyncs, $(dmesg | grep -c 'md: .*resync done') done >>/out/result
raids=$(lvs --noheadings -o full_name -S 'segtype=~^raid && segtype!=raid0')
for lv in $raids; do lvchange --syncaction check $lv; done
for i in $(seq 120); do lvs --noheadings -o raid_sync_action $raids | grep -qv idle || break; sleep 1; done
lvs --noheadings -o full_name,raid_mismatch_count $raids | awk '$2 > 0 {print $1 ": " $2 " sectors differ"}' >>/out/result
for lv in disklog extended; do
	for leg in /dev/mapper/vg_mirror-${lv}_mimage_*; do sha256sum <$leg; done | sort -u | wc -l
done | sort -u | awk '{print $1 " contents of the legs of a mirror"}' >>/out/result
echo blocks >>/out/result
for lv in `+strings.Join(paths, " ")+`; do
	python3 -c '
import hashlib, sys
with open(sys.argv[1], "rb") as f:
    for block in iter(lambda: f.read(4096), b""):
        print(hashlib.sha256(block).hexdigest())' $lv
done >>/out/result
`, disks...)
	before, blocks, _ := strings.Cut(got, "blocks\n")
	raids := 0
	for i := range hammered {
		if !strings.Contains(paths[i], "/vg_mirror/") {
			raids++
		}
	}
	want = append(want, fmt.Sprintf("%d resyncs, %d done", raids, raids), flawed.LVs[0].Path()+": 8 sectors differ", "1 contents of the legs of a mirror")
	if got, want := strings.TrimSpace(before), strings.Join(want, "\n"); got != want {
		t.Errorf("the kernel says\n%s\nwant\n%s", got, want)
	}
	sums := strings.Fields(blocks)
	for i, h := range hammered {
		n := int(h.blocks)
		if len(sums) < n {
			t.Fatalf("%d sums of blocks are left for %s, of %d", len(sums), paths[i], n)
		}
		h.judge(t, paths[i], sums[:n])
		sums = sums[n:]
	}
}

// spoil changes a byte on one leg of an LV, and holds that lvm2fs finds the place. The kernel looks at 4 KiB at a
// time.
func spoil(t *testing.T, lv string, disks []string) {
	t.Helper()
	var m struct {
		Extents []struct {
			Device string
			Offset int64 `json:"device_offset"`
		}
	}
	if err := json.Unmarshal([]byte(me().must(t, program, append([]string{"map", "--json", "--lv", lv}, disks...)...)), &m); err != nil {
		t.Fatal(err)
	}
	at := m.Extents[0]
	f, err := os.OpenFile(at.Device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at.Offset+700); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at.Offset+700); err != nil {
		t.Fatal(err)
	}
	r := me().run(t, program, append([]string{"check"}, disks...)...)
	if want := fmt.Sprintf("%s: 512 bytes each at 512 on leg", lv); r.code != 3 || !strings.Contains(r.stdout, want) {
		t.Errorf("check: exit %d, %s%s, want %s", r.code, r.stdout, r.stderr, want)
	}
}

// hammer writes numbered versions of the blocks of a file until that fails.
type hammer struct {
	file   *os.File
	blocks int64
	seed   uint64
	issued map[int64][]uint64 // versions, by block
	synced map[int64]uint64   // the version that is known to be on stable storage
}

const hammerBlock = 4096

func newHammer(t *testing.T, path string, size int64) *hammer {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &hammer{file: f, blocks: size / hammerBlock, seed: rand.Uint64(), issued: map[int64][]uint64{}, synced: map[int64]uint64{}}
}

func (h *hammer) content(block int64, version uint64) []byte {
	b := make([]byte, hammerBlock)
	binary.LittleEndian.PutUint64(b, h.seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(block))
	binary.LittleEndian.PutUint64(b[16:], version)
	for n := 24; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
	return b
}

func (h *hammer) hit() {
	defer h.file.Close()
	written := map[int64]uint64{}
	for version := uint64(1); ; version++ {
		n := []int64{1, 1, 3, 16, 50}[rand.IntN(5)]
		first := rand.Int64N(h.blocks - n)
		var data []byte
		for b := first; b < first+n; b++ {
			data = append(data, h.content(b, version)...)
			h.issued[b] = append(h.issued[b], version)
			written[b] = version
		}
		if _, err := h.file.WriteAt(data, first*hammerBlock); err != nil {
			return
		}
		if version%8 == 0 {
			if h.file.Sync() != nil {
				return
			}
			for b, v := range written {
				h.synced[b] = v
			}
			clear(written)
		}
	}
}

// judge holds that each block that was synced is there, in that version or a later one. sums has the sum of each
// block.
func (h *hammer) judge(t *testing.T, name string, sums []string) {
	t.Helper()
	if len(h.synced) == 0 {
		t.Errorf("%s: nothing was synced before the end", name)
	}
	lost := 0
	for b, synced := range h.synced {
		if !slices.ContainsFunc(h.issued[b], func(v uint64) bool {
			return v >= synced && fmt.Sprintf("%x", sha256.Sum256(h.content(b, v))) == sums[b]
		}) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%s: %d of %d blocks that were synced are lost", name, lost, len(h.synced))
	}
}
