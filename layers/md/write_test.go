package md

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/mapping"
)

// tape notes, in order, what is written to disks and flushed.
type tape struct {
	mu       sync.Mutex
	ops      []taped
	promised [][]promise // by sector of the array
}

type taped struct {
	disk  int
	off   int64
	bytes []byte // nil: a flush
}

// promise says that from operation number at on, a sector holds data or what was written later.
type promise struct {
	at   int
	data []byte
	sync bool
}

// tapedDisk is a disk whose writes are noted.
type tapedDisk struct {
	*testpv.Disk
	tape *tape
	n    int
}

func (d *tapedDisk) WriteAt(p []byte, off int64) (int, error) {
	d.tape.mu.Lock()
	defer d.tape.mu.Unlock()
	d.tape.ops = append(d.tape.ops, taped{d.n, off, bytes.Clone(p)})
	return d.Disk.WriteAt(p, off)
}

func (d *tapedDisk) PunchHole(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func (d *tapedDisk) Sync() error {
	d.tape.mu.Lock()
	defer d.tape.mu.Unlock()
	d.tape.ops = append(d.tape.ops, taped{disk: d.n})
	return d.Disk.Sync()
}

// cut is the disks when the power goes before operation number at. What was flushed is there; of the rest some sectors
// are, in any combination. A superblock of version 0.90 is there as a whole or not at all: its checksum covers 4 KiB,
// and no order of writes could help.
func (tp *tape) cut(at int, before [][]byte, version string) [][]byte {
	var out [][]byte
	for _, b := range before {
		out = append(out, bytes.Clone(b))
	}
	flushed := make([]int, len(before))
	for i, o := range tp.ops[:at] {
		if o.bytes == nil {
			flushed[o.disk] = i
		}
	}
	for i, o := range tp.ops[:at] {
		step := int64(512)
		if version == "0.90" && o.off == testmd.SuperOffset(version, int64(len(before[o.disk]))) {
			step = 4096
		}
		for from := int64(0); from < int64(len(o.bytes)); {
			n := min(step-(o.off+from)%step, int64(len(o.bytes))-from)
			if i < flushed[o.disk] || rand.IntN(2) == 0 {
				copy(out[o.disk][o.off+from:], o.bytes[from:from+n])
			}
			from += n
		}
	}
	return out
}

// kind is an array to be written.
type kind struct {
	testmd.Member
	away []int // members that are not there
}

func (k kind) String() string {
	s := fmt.Sprintf("%v of %d, %s", Level(k.Level), k.Disks, k.Version)
	if k.Region != 0 {
		s += ", bitmap"
	}
	if k.away != nil {
		s += fmt.Sprintf(", without %v", k.away)
	}
	return s
}

// kinds are arrays of all levels and versions, with and without bitmaps, whole and degraded.
func kinds() (all []kind) {
	place := map[string]int32{"1.0": -16, "1.1": 16, "1.2": 16}
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		for _, k := range []struct {
			level, disks int
			away         [][]int
		}{
			{-1, 2, nil},
			{0, 3, nil},
			{1, 2, [][]int{{0}, {1}}},
			{1, 3, [][]int{{1}, {0, 2}}},
			{4, 3, [][]int{{2}}},
			{5, 3, [][]int{{0}, {2}}},
			{6, 5, [][]int{{1}, {0, 4}}},
			{10, 4, [][]int{{0}, {1, 2}}},
			{10, 3, [][]int{{2}}},
		} {
			for _, region := range []int64{0, 8192} {
				if k.level < 1 && region != 0 {
					continue
				}
				m := testmd.Member{
					Version: version, Array: [16]byte{1, 2, 3, byte(k.level), 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Name: "lab:w", Level: k.level, Chunk: 8,
					Disks: k.disks, Resync: testmd.All, Region: region, Bitmap: place[version], Events: 10, Size: writtenSectors,
				}
				if k.level == 5 || k.level == 6 {
					m.Layout = 2
				}
				if k.level == 10 {
					m.Layout = 0x102
				}
				if k.level < 1 {
					m.Size = 0
				}
				if version == "1.1" || version == "1.2" {
					m.DataOffset = 32
				} else {
					m.DataOffset = 0
				}
				if k.level == 1 {
					m.Chunk = 0
				}
				if version != "0.90" {
					m.DataSize = writtenSectors
				}
				for _, away := range append([][]int{nil}, k.away...) {
					all = append(all, kind{m, away})
				}
			}
		}
	}
	return all
}

// The disks of arrays that are written: their bytes, and the sectors of each that an array keeps its data in.
const (
	writtenDisk    = 128 << 10
	writtenSectors = 48
)

// full is how many bytes the array holds.
func (k kind) full(t *testing.T) int64 {
	t.Helper()
	return assemble(t, testmd.Set(k.Member, writtenDisk, nil)).Array.Size()
}

// start is the disks of an array that holds data.
func (k kind) start(t *testing.T) (disks [][]byte, data []byte) {
	t.Helper()
	data = random(int(k.full(t)))
	return testmd.Set(k.Member, writtenDisk, data), data
}

// open assembles the disks that are there, and records what is written to them.
func (k kind) open(t *testing.T, disks [][]byte, tp *tape) *Array {
	t.Helper()
	var all []Member
	for i, d := range disks {
		if !slices.Contains(k.away, i) {
			all = append(all, member(t, &tapedDisk{device(i, bytes.Clone(d)), tp, i}))
		}
	}
	a, err := Assemble(all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a.Array
}

// write writes to an array, once or more often. It notes what is promised of its sectors, which hold data.
func (tp *tape) write(t *testing.T, a *Array, data []byte) {
	t.Helper()
	for s := range len(data) / 512 {
		tp.promised = append(tp.promised, []promise{{0, data[s*512:][:512], true}})
	}
	sectors := int(a.Size() / 512)
	for range 2 {
		if err := a.Claim(); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			first := rand.IntN(sectors)
			n := min(1+rand.IntN(20), sectors-first)
			p := make([]byte, n*512)
			for i := range p {
				p[i] = byte(rand.Uint32())
			}
			for s := range n {
				tp.promised[first+s] = append(tp.promised[first+s], promise{len(tp.ops), p[s*512:][:512], false})
			}
			if _, err := a.WriteAt(p, int64(first)*512); err != nil {
				t.Fatal(err)
			}
			if rand.IntN(3) == 0 {
				if err := a.Sync(); err != nil {
					t.Fatal(err)
				}
				tp.synced()
			}
		}
		if err := a.Release(); err != nil {
			t.Fatal(err)
		}
		tp.synced()
	}
}

// synced notes that all that was written is promised.
func (tp *tape) synced() {
	for s, p := range tp.promised {
		tp.promised[s] = append(p, promise{len(tp.ops), p[len(p)-1].data, true})
	}
}

// keeps says whether a sector is what was last synced before the power went, or what was written since.
func (tp *tape) keeps(s, at int, got []byte) bool {
	var may [][]byte
	for _, p := range tp.promised[s] {
		if p.at > at || p.at == at && !p.sync {
			break
		}
		if p.sync {
			may = nil
		}
		may = append(may, p.data)
	}
	return slices.ContainsFunc(may, func(data []byte) bool { return bytes.Equal(data, got) })
}

// said is what a superblock says, to the kernel.
type said struct {
	events uint64
	clean  bool
	role   func(member int) bool // whether the array has the member
}

func (k kind) says(disk []byte) said {
	le := binary.LittleEndian
	b := disk[testmd.SuperOffset(k.Version, int64(len(disk))):]
	if k.Version != "0.90" {
		return said{le.Uint64(b[200:]), le.Uint64(b[208:]) == testmd.All, func(i int) bool { return int(le.Uint16(b[256+2*i:])) == i }}
	}
	return said{le.Uint64(b[4*39:]), b[4*33]&1 != 0, func(i int) bool { return le.Uint32(b[4*(128+32*i+4):]) == 6 }}
}

func (k kind) bitmapOf(disk []byte) []byte {
	at := testmd.SuperOffset(k.Version, int64(len(disk))) + int64(k.Bitmap)*512
	if k.Version == "0.90" {
		at += 4096
	}
	return disk[at:]
}

// data is the range of a disk that the array keeps its bytes in.
func (k kind) data() (start, end int64) {
	start = k.DataOffset * 512
	if k.Version == "0.90" && k.Level < 1 {
		return start, testmd.SuperOffset(k.Version, writtenDisk)
	}
	return start, start + writtenSectors*512
}

// judge does what the kernel does with the members that are there (docs/format/04-below-lvm.md, section 4.3), and then
// with those that were away. It is an error if the kernel took a member that differs from the others, or left one out.
func (k kind) judge(disks, before [][]byte, read []byte) error {
	newest := slices.IndexFunc(disks, func([]byte) bool { return true })
	for i, d := range disks {
		if k.says(d).events > k.says(disks[newest]).events {
			newest = i
		}
	}
	is := k.says(disks[newest])
	start, end := k.data()
	written := false
	for i, d := range disks {
		here := !slices.Contains(k.away, i)
		written = written || here && !bytes.Equal(d[start:end], before[i][start:end])
		if here && k.Level > 0 && (k.says(d).events+1 < is.events || !is.role(i)) {
			return fmt.Errorf("member %d is not taken: %d events of %d", i, k.says(d).events, is.events)
		}
		rest := slices.Concat(before[i][:start], before[i][end:])
		changed := slices.Concat(d[:start], d[end:])
		if !here || k.Level < 1 {
			if !bytes.Equal(rest, changed) {
				return fmt.Errorf("member %d is changed outside of its data", i)
			}
		}
	}
	for _, i := range k.away {
		if written && (k.says(disks[i]).events+1 >= is.events || is.role(i)) {
			return fmt.Errorf("member %d, which was away, is taken, with %d events of %d", i, k.says(disks[i]).events, is.events)
		}
	}
	if k.Level < 1 {
		return nil
	}
	dirty := func(off int64) bool { return !is.clean }
	if bm := k.bitmapOf(disks[newest]); k.Region != 0 && !is.clean && binary.LittleEndian.Uint64(bm[24:]) >= is.events {
		dirty = func(off int64) bool { return bm[256+off/k.Region/8]>>(off/k.Region%8)&1 != 0 }
	}
	if len(k.away) > 0 && !is.clean && k.Level != 1 && k.Level != 10 {
		return nil // dirty and degraded: not started
	}
	m := k.Member
	want := testmd.Set(m, writtenDisk, read)
	for i, d := range disks {
		if slices.Contains(k.away, i) {
			continue
		}
		for x := int64(0); x < end-start; x += 512 {
			off := x
			if k.Level == 10 { // in bytes of the array: chunk q has copies 2q and 2q+1
				chunk := k.Chunk * 512
				off = (x/chunk*int64(k.Disks)+int64(i))/2*chunk + x%chunk
			}
			if !bytes.Equal(d[start+x:][:512], want[i][start+x:][:512]) && !dirty(off) {
				return fmt.Errorf("member %d is not in sync at %d, and that is not said", i, x)
			}
		}
	}
	return nil
}

// everyCut says whether the power goes before each write and flush, and not only before some of them. make fuzz
// wants that.
var everyCut = os.Getenv("LVM2FS_MODEL_STEPS") != ""

// Arrays of every kind are written, and the power goes anywhere. What was synced is there. The kernel takes the
// members that were there and none that was away, and knows where it has to bring them in sync.
func TestWhereverThePowerGoesTheKernelKnowsWhatIsNotInSync(t *testing.T) {
	testenv.Long(t)
	for _, k := range kinds() {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			before, data := k.start(t)
			tp := &tape{}
			tp.write(t, k.open(t, before, tp), data)
			for at := range len(tp.ops) + 1 {
				if !everyCut && rand.IntN(6) > 0 {
					continue
				}
				cut := tp.cut(at, before, k.Version)
				if err := k.survives(t, tp, at, cut, before); err != nil {
					t.Fatalf("power off before operation %d of %d: %v", at, len(tp.ops), err)
				}
			}
			last := k.says(tp.cut(len(tp.ops), before, k.Version)[(slices.Max(append(k.away, -1))+1)%k.Disks])
			if !last.clean {
				t.Error("the array is not said to be in sync at the end")
			}
		})
	}
}

// survives holds that disks, cut off before operation number at, are what they should be, also with the members that
// were away. If the array is sound, it can be written again.
func (k kind) survives(t *testing.T, tp *tape, at int, cut, before [][]byte) error {
	t.Helper()
	a := k.open(t, cut, &tape{})
	read, err := k.readKept(a, tp, at)
	if err != nil {
		return err
	}
	if err := k.judge(cut, before, read); err != nil {
		return err
	}
	if err := a.Unwritable(); err != nil {
		if len(k.away) > 0 && strings.Contains(err.Error(), "cut off") {
			return nil
		}
		return err
	}
	if rand.IntN(3) > 0 {
		return nil
	}
	return k.goesOn(t, cut, before, read)
}

// readKept reads an array that was cut off, and holds that it has what it should. Where parity is in doubt, what needs
// it is lost.
func (k kind) readKept(a *Array, tp *tape, at int) ([]byte, error) {
	b := make([]byte, a.Size())
	_, failed := a.ReadAt(b, 0)
	for s := 0; s < len(b); s += 512 {
		if failed != nil {
			if _, err := a.ReadAt(b[s:][:512], int64(s)); errors.Is(err, mapping.ErrMissing) && len(k.away) > 0 && k.Level != 1 && k.Level != 10 {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		if !tp.keeps(s/512, at, b[s:][:512]) {
			return nil, fmt.Errorf("sector %d holds none of the things it may", s/512)
		}
	}
	return b, nil
}

// goesOn holds that an array that was cut off can be written, and is in sync afterwards, wherever the power goes again.
func (k kind) goesOn(t *testing.T, cut, before [][]byte, read []byte) error {
	t.Helper()
	tp := &tape{}
	tp.write(t, k.open(t, cut, tp), read)
	for range 2 {
		at := rand.N(len(tp.ops) + 1)
		again := tp.cut(at, cut, k.Version)
		a := k.open(t, again, &tape{})
		is, err := k.readKept(a, tp, at)
		if err == nil {
			err = k.judge(again, before, is)
		}
		if err != nil {
			return fmt.Errorf("cut off again, before operation %d of %d: %w", at, len(tp.ops), err)
		}
	}
	return nil
}

// ofLevel is a whole array of a level with superblocks 1.2.
func ofLevel(level int, bitmap bool) kind {
	i := slices.IndexFunc(kinds(), func(k kind) bool {
		return k.Level == level && k.away == nil && k.Version == "1.2" && (k.Region != 0) == bitmap
	})
	return kinds()[i]
}

func TestAnArrayIsSaidToBeDirtyFromTheFirstWriteToTheLastRelease(t *testing.T) {
	for _, bitmap := range []bool{false, true} {
		k := ofLevel(5, bitmap)
		disks, data := k.start(t)
		a := k.open(t, disks, &tape{})
		now := func() said { return k.says(a.Beneath()[1].(*tapedDisk).Contents()) }
		before := now()
		for range 2 {
			if err := a.Claim(); err != nil {
				t.Fatal(err)
			}
		}
		if is := now(); is.events != before.events {
			t.Error("a claim alone changes the superblocks")
		}
		if _, err := a.WriteAt([]byte("here"), 5000); err != nil {
			t.Fatal(err)
		}
		if err := a.Release(); err != nil {
			t.Fatal(err)
		}
		if is := now(); is.clean || is.events != before.events+1 {
			t.Errorf("while it is written: %+v", is)
		}
		if err := a.Release(); err != nil {
			t.Fatal(err)
		}
		if is := now(); !is.clean || is.events != before.events+2 {
			t.Errorf("in the end: %+v", is)
		}
		copy(data[5000:], "here")
		if _, err := a.WriteAt(nil, 0); !errors.Is(err, ErrNotClaimed) {
			t.Errorf("a write without a claim: %v", err)
		}
		var again []Member
		for _, d := range a.Beneath() {
			again = append(again, member(t, d))
		}
		b, err := Assemble(again, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b.holds(t, data)
		if !a.Is(b.Array) {
			t.Error("it is not known to be the array that was written")
		}
	}
}

// A write or flush that fails is reported, and leaves the array marked as out of sync. What was promised before is
// kept.
func TestAWriteThatFailsIsToldAndTheArrayStaysMarked(t *testing.T) {
	for _, level := range []int{1, 5, 10} {
		for _, bitmap := range []bool{false, true} {
			k := ofLevel(level, bitmap)
			for broken := range k.Disks {
				for part, at := range map[string]int64{"superblock": 4096, "bitmap": 4096 + 16*512, "data": k.DataOffset * 512} {
					if part == "bitmap" && !bitmap {
						continue
					}
					t.Run(fmt.Sprintf("%v, %s of member %d", k, part, broken), func(t *testing.T) {
						disks, data := k.start(t)
						tp := &tape{}
						a := k.open(t, disks, tp)
						if err := a.Claim(); err != nil {
							t.Fatal(err)
						}
						bad := a.Beneath()[broken].(*tapedDisk)
						bad.Break(at, at+512)
						p := bytes.Repeat([]byte{7}, int(a.Size()))
						_, err := a.WriteAt(p, 0)
						if !errors.Is(err, testpv.ErrIO) || !strings.Contains(err.Error(), bad.Name()) {
							t.Fatalf("the write: %v", err)
						}
						if _, err := a.WriteAt(p[:512], 0); !errors.Is(err, testpv.ErrIO) {
							t.Errorf("the next: %v", err)
						}
						if err := a.Sync(); !errors.Is(err, testpv.ErrIO) {
							t.Errorf("Sync: %v", err)
						}
						if err := a.Release(); !errors.Is(err, testpv.ErrIO) {
							t.Errorf("Release: %v", err)
						}
						if err := a.Claim(); err == nil {
							t.Error("it can be claimed again")
						}
						var last [][]byte
						for _, d := range a.Beneath() {
							if d.(*tapedDisk).Claims() != 0 {
								t.Errorf("%s is claimed still", d.Name())
							}
							last = append(last, d.(*tapedDisk).Contents())
						}
						for s := range len(data) / 512 {
							tp.promised = append(tp.promised, []promise{{0, data[s*512:][:512], true}, {0, p[:512], false}})
						}
						b := k.open(t, last, &tape{})
						read, err := k.readKept(b, tp, len(tp.ops)+1)
						if err == nil {
							err = k.judge(last, disks, read)
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
			}
		}
	}
}

func TestAnArrayThatOthersHaveUsedIsNotClaimed(t *testing.T) {
	for _, bitmap := range []bool{false, true} {
		k := ofLevel(1, bitmap)
		disks, _ := k.start(t)
		a := k.open(t, disks, &tape{})
		d := a.Beneath()[0].(*tapedDisk)
		if bitmap {
			k.bitmapOf(d.Bytes)[256] = 1
		} else {
			testmd.Change(d.Bytes, k.Version, func(b []byte) { b[200]++ })
		}
		if err := a.Claim(); !errors.Is(err, ErrChanged) {
			t.Errorf("got %v", err)
		}
		if d.Claims() != 0 {
			t.Error("a claim is left")
		}
	}
}

func TestOfTwoArraysOverOneMemberOneIsWritten(t *testing.T) {
	k := ofLevel(1, false)
	disks, _ := k.start(t)
	a := k.open(t, disks, &tape{})
	other, err := Assemble(a.Members(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Claim(); err != nil {
		t.Fatal(err)
	}
	if err := other.Array.Claim(); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	if err := other.Array.Claim(); err != nil {
		t.Errorf("nothing was written, but: %v", err)
	}
	if err := other.Array.Release(); err != nil {
		t.Error(err)
	}
}

// If an array cannot be written as the kernel would have it, it is read-only and says why.
func TestOnlyAnArrayInGoodOrderIsWritable(t *testing.T) {
	super := func(change func(b []byte)) func(k kind, disks [][]byte) {
		return func(k kind, disks [][]byte) {
			for _, d := range disks {
				testmd.Change(d, k.Version, change)
			}
		}
	}
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		level  int
		bitmap bool
		change func(k kind, disks [][]byte)
		want   string
	}{
		"in order":           {5, false, func(kind, [][]byte) {}, ""},
		"in order, a bitmap": {5, true, func(kind, [][]byte) {}, ""},
		"PPL":                {5, false, super(func(b []byte) { le.PutUint32(b[8:], 1<<10) }), "partial parity log"},
		"several PPLs":       {5, false, super(func(b []byte) { le.PutUint32(b[8:], 1<<11) }), "partial parity log"},
		"clustered":          {1, true, super(func(b []byte) { le.PutUint32(b[8:], 1|1<<8) }), "cluster"},
		"half resynced":      {5, false, super(func(b []byte) { le.PutUint64(b[208:], 16) }), "resync is done up to byte 8192"},
		"cut off":            {5, false, super(func(b []byte) { le.PutUint64(b[208:], 0) }), ""},
		"cut off, degraded": {5, false, func(k kind, disks [][]byte) {
			super(func(b []byte) { le.PutUint64(b[208:], 0) })(k, disks[1:])
			disks[0] = nil
		}, "cut off"},
		"degraded":      {5, false, func(_ kind, disks [][]byte) { disks[0] = nil }, ""},
		"a replacement": {5, false, super(func(b []byte) { le.PutUint32(b[220:], 4); le.PutUint16(b[256+6:], 1) }), "being replaced"},
		"a member to be built": {5, false, func(k kind, disks [][]byte) {
			testmd.Change(disks[1], k.Version, func(b []byte) { b[8] |= 2; le.PutUint64(b[152:], 8) })
		}, "being rebuilt"},
		"no old bitmap":       {5, true, func(k kind, disks [][]byte) { k.bitmapOf(disks[1])[24]-- }, "not kept up"},
		"a bitmap of another": {5, true, func(k kind, disks [][]byte) { k.bitmapOf(disks[1])[8]++ }, "another array"},
		"a bitmap too short":  {5, true, func(k kind, disks [][]byte) { k.bitmapOf(disks[1])[40]-- }, "covers"},
		"another bitmap":      {5, true, func(k kind, disks [][]byte) { k.bitmapOf(disks[1])[4] = 6 }, "version 6"},
		"bad blocks": {5, false, func(k kind, disks [][]byte) {
			testmd.Change(disks[2], k.Version, func(b []byte) { badBlocksAt(disks[2], b, 40<<10|8) })
		}, "bad blocks"},
		"no bad blocks": {5, false, func(k kind, disks [][]byte) {
			testmd.Change(disks[2], k.Version, func(b []byte) { badBlocksAt(disks[2], b) })
		}, ""},
		"data over a bitmap": {5, true, super(func(b []byte) { le.PutUint64(b[128:], 16); le.PutUint64(b[136:], 200) }), "over"},
		"unknown features":   {5, false, super(func(b []byte) { b[8] |= 1 << 7 }), "features 0x80"},
	} {
		t.Run(name, func(t *testing.T) {
			k := ofLevel(c.level, c.bitmap)
			disks, _ := k.start(t)
			c.change(k, disks)
			a, err := Assemble(members(t, disks), Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = a.Array.Unwritable()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v", err)
			}
			if claimed := a.Array.Claim(); (claimed == nil) != (err == nil) {
				t.Errorf("the claim: %v", claimed)
			}
		})
	}
}

// badBlocksAt gives the superblock b of a disk a list of bad blocks, behind it.
func badBlocksAt(disk, b []byte, entries ...uint64) {
	le := binary.LittleEndian
	b[8] |= 8
	le.PutUint16(b[186:], 1)
	le.PutUint32(b[188:], 16)
	list := disk[4096+16*512:][:512]
	for i := range list {
		list[i] = 0xff
	}
	for i, e := range entries {
		le.PutUint64(list[8*i:], e)
	}
}
