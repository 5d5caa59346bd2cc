package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

const (
	metaDisk = iota
	dataDisk
)

// thinFamily is thin volumes of one pool, and what they hold.
type thinFamily struct {
	chunk    int64
	discards string
	sizes    map[uint64]int64
	contents map[uint64]memory
	external memory // of device 1; nil for none
}

// newThinPool is a pool as the kernel formats it, with devices 1 to n and nothing in them.
func newThinPool(metaBlocks, chunks int, chunk int64, size, n int) (*thinFamily, []memory) {
	f := &thinFamily{chunk: chunk, discards: "nopassdown", sizes: map[uint64]int64{}, contents: map[uint64]memory{}}
	m := make(memory, metaBlocks*pdata.BlockSize)
	le := binary.LittleEndian
	block := func(number uint64) []byte { return m[number*pdata.BlockSize:][:pdata.BlockSize] }
	leaf := func(number uint64, valueSize int) []byte {
		b := block(number)
		le.PutUint32(b[4:], 2)
		le.PutUint64(b[8:], number)
		le.PutUint32(b[20:], uint32(4064/(8+valueSize)/3*3))
		le.PutUint32(b[24:], uint32(valueSize))
		return b
	}
	add := func(b []byte, key uint64, value []byte) {
		i, room, size := le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
		le.PutUint64(b[32+8*i:], key)
		copy(b[32+8*room+i*size:], value)
		le.PutUint32(b[16:], i+1)
	}
	entry := func(block uint64, free uint32) []byte {
		b := make([]byte, 16)
		le.PutUint64(b, block)
		le.PutUint32(b[8:], free)
		return b
	}
	const first = 8 // of the data bitmaps
	bitmaps := uint64(chunks+16319) / 16320
	level1, details, index := leaf(1, 8), leaf(2, 24), leaf(3, 16)
	used := first + bitmaps
	for i := range bitmaps {
		b := block(first + i)
		le.PutUint64(b[8:], first+i)
		pdata.Bitmap.Seal(b)
		add(index, i, entry(first+i, 16320))
	}
	for id := uint64(1); id <= uint64(n); id++ {
		pdata.Node.Seal(leaf(used, 8))
		add(level1, id, le.AppendUint64(nil, used))
		add(details, id, make([]byte, 24))
		used++
		f.sizes[id], f.contents[id] = int64(size), make(memory, size)
	}
	for _, b := range [][]byte{level1, details, index, leaf(4, 4), leaf(6, 4)} {
		pdata.Node.Seal(b)
	}
	b := block(7)
	le.PutUint64(b[8:], 7)
	for i := range used {
		b[16+i/4] |= 2 << (2 * (i % 4))
	}
	pdata.Bitmap.Seal(b)
	b = block(5)
	le.PutUint64(b[8:], 5)
	copy(b[16:], entry(7, 16320-uint32(used)))
	pdata.SpaceMapIndex.Seal(b)
	root := func(b []byte, values ...uint64) {
		for i, v := range values {
			le.PutUint64(b[8*i:], v)
		}
	}
	super := block(0)
	le.PutUint64(super[32:], thinMagic)
	le.PutUint32(super[40:], 2)
	root(super[64:], uint64(chunks), 0, 3, 4)
	root(super[192:], uint64(metaBlocks), used, 5, 6)
	root(super[320:], 1, 2)
	le.PutUint32(super[336:], uint32(chunk/512))
	le.PutUint32(super[340:], 8)
	le.PutUint64(super[344:], uint64(metaBlocks))
	pdata.ThinSuperblock.Seal(super)
	return f, []memory{m, random(chunks * int(chunk))}
}

func ramVolumes(disks []memory) func(disk int) mapping.Volume {
	return func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
}

func (f *thinFamily) open(t *testing.T, volume func(disk int) mapping.Volume) (*ThinPool, map[uint64]*thin) {
	t.Helper()
	p, err := OpenThinPool(volume(metaDisk), volume(dataDisk), f.chunk)
	if err != nil {
		t.Fatal(err)
	}
	p.Restrict("", f.discards)
	p.within = time.Hour
	open := map[uint64]*thin{}
	for id, size := range f.sizes {
		var external mapping.Volume
		if id == 1 && f.external != nil {
			external = volumeOf(f.external)
		}
		v, err := p.Thin(id, size, external)
		if err != nil {
			t.Fatal(err)
		}
		open[id] = v.(*thin)
	}
	return p, open
}

func (f *thinFamily) check(t *testing.T, what string, open map[uint64]*thin) {
	t.Helper()
	for id, v := range open {
		got := make(memory, v.Size())
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Fatalf("%s: device %d: %v", what, id, err)
		}
		if !bytes.Equal(got, f.contents[id]) {
			for i := range got {
				if got[i] != f.contents[id][i] {
					t.Fatalf("%s: device %d: byte %d (chunk %d)", what, id, i, int64(i)/f.chunk)
				}
			}
		}
	}
}

func checkPool(t *testing.T, what string, f *thinFamily, disks []memory) {
	t.Helper()
	volume := ramVolumes(disks)
	if _, err := CheckThinPool(volume(metaDisk), volume(dataDisk), f.chunk, func(err error) error { return err }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// thinCheckTool has thin_check judge too, where it is installed.
func thinCheckTool(t *testing.T, what string, disks []memory) {
	t.Helper()
	if _, err := exec.LookPath("thin_check"); err != nil {
		return
	}
	file := filepath.Join(t.TempDir(), "metadata")
	if err := os.WriteFile(file, disks[metaDisk], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("thin_check", file).CombinedOutput(); err != nil {
		t.Fatalf("%s: thin_check: %s", what, out)
	}
	_ = os.Remove(file)
}

// snapshot makes device id a snapshot of origin, as the kernel does. Nobody has the pool open.
func (f *thinFamily) snapshot(t *testing.T, disks []memory, origin, id uint64) {
	t.Helper()
	p, open := f.open(t, ramVolumes(disks))
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	o := open[origin]
	if err := o.describe(); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	root := le.AppendUint64(nil, o.level2.Root)
	if err := p.referToNode(root, 1); err != nil {
		t.Fatal(err)
	}
	time := le.Uint32(p.superblock[44:]) + 1
	le.PutUint32(p.superblock[44:], time)
	details := make([]byte, 24)
	le.PutUint64(details, o.mapped)
	le.PutUint32(details[16:], time)
	le.PutUint32(details[20:], time)
	if _, err := p.tx.Put(&p.level1, p.referToNode, id, root); err != nil {
		t.Fatal(err)
	}
	if _, err := p.tx.Put(&p.details, nil, id, details); err != nil {
		t.Fatal(err)
	}
	le.PutUint32(o.details[20:], time)
	if _, err := p.tx.Put(&p.details, nil, origin, o.details); err != nil {
		t.Fatal(err)
	}
	if err := p.StopWriting(); err != nil {
		t.Fatal(err)
	}
	f.sizes[id], f.contents[id] = f.sizes[origin], bytes.Clone(f.contents[origin])
}

// writeOne makes a random change.
func (f *thinFamily) writeOne(t *testing.T, open map[uint64]*thin) error {
	t.Helper()
	ids := make([]uint64, 0, len(open))
	for id := range open {
		ids = append(ids, id)
	}
	id := ids[rand.IntN(len(ids))]
	v, want := open[id], f.contents[id]
	off := rand.IntN(len(want))
	n := 1 + rand.IntN([]int{10, 600, 5000, int(5 * f.chunk)}[rand.IntN(4)])
	if rand.IntN(3) == 0 {
		off -= off % int(f.chunk)
		n = int(f.chunk) * (1 + rand.IntN(6))
	}
	n = min(n, len(want)-off)
	if rand.IntN(5) == 0 {
		if err := v.PunchHole(int64(off), int64(n)); err != nil {
			got := make(memory, n) // some of it may be zeros
			if _, rerr := v.ReadAt(got, int64(off)); rerr != nil {
				t.Fatal(rerr)
			}
			for i, b := range got {
				if b != 0 && b != want[off+i] {
					t.Fatalf("a hole was refused, and byte %d is neither old nor zero", off+i)
				}
			}
			copy(want[off:], got)
			return err
		}
		clear(want[off : off+n])
		return nil
	}
	p := random(n)
	done, err := v.WriteAt(p, int64(off))
	copy(want[off:], p[:done])
	return err
}

// modelSteps is how many changes the model makes; LVM2FS_MODEL_STEPS is more.
func modelSteps(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("LVM2FS_MODEL_STEPS")); err == nil {
		return n
	}
	return 10_000
}

func TestThinVolumesHoldWhatIsWrittenToThem(t *testing.T) {
	testenv.Long(t)
	for name, make := range map[string]func() (*thinFamily, []memory){
		"3 volumes":   func() (*thinFamily, []memory) { return newThinPool(2048, 4000, 4096, 1_500_000, 3) },
		"deep":        func() (*thinFamily, []memory) { return newThinPool(4096, 26000, 512, 2_000_001, 2) },
		"two bitmaps": func() (*thinFamily, []memory) { return newThinPool(2048, 20000, 512, 1_000_000, 2) },
		"nearly full": func() (*thinFamily, []memory) { return newThinPool(1024, 120, 4096, 900_000, 2) },
		"external origin": func() (*thinFamily, []memory) {
			f, disks := newThinPool(1024, 2000, 4096, 1_000_000, 2)
			f.external = random(500_000)
			copy(f.contents[1], f.external)
			return f, disks
		},
		"passdown": func() (*thinFamily, []memory) {
			f, disks := newThinPool(1024, 2000, 4096, 1_000_000, 2)
			f.discards = "passdown"
			return f, disks
		},
		"discards ignored": func() (*thinFamily, []memory) {
			f, disks := newThinPool(1024, 2000, 4096, 1_000_000, 2)
			f.discards = "ignore"
			return f, disks
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, disks := make()
			full, next := 0, uint64(100)
			steps := modelSteps(t) / 7
			for done := 0; done < steps; {
				p, open := f.open(t, ramVolumes(disks))
				if err := p.StartWriting(); err != nil {
					t.Fatal(err)
				}
				for range 1 + rand.IntN(steps/6) {
					done++
					if err := f.writeOne(t, open); errors.Is(err, ErrFull) {
						full++
					} else if err != nil {
						t.Fatal(err)
					}
					if rand.IntN(40) == 0 {
						if err := p.Sync(); err != nil {
							t.Fatal(err)
						}
					}
				}
				f.check(t, "open", open)
				if err := p.StopWriting(); err != nil {
					t.Fatal(err)
				}
				_, open = f.open(t, ramVolumes(disks))
				f.check(t, "opened anew", open)
				checkPool(t, "closed", f, disks)
				thinCheckTool(t, "closed", disks)
				if len(f.sizes) < 6 {
					ids := []uint64{2}
					for id := range f.sizes {
						if id != 1 { // the external origin is its own
							ids = append(ids, id)
						}
					}
					f.snapshot(t, disks, ids[rand.IntN(len(ids))], next)
					next++
					checkPool(t, "snapshot", f, disks)
				}
			}
			t.Logf("%d refused", full)
			if (full > 0) != (name == "nearly full") {
				t.Errorf("%d writes were refused", full)
			}
		})
	}
}
