package lvm2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/mapping"
)

// wholeRAID is a RAID of a type in good order.
func wholeRAID(typ string) testRAID {
	r := testRAID{typ: typ, legs: 4, stripe: 8}
	if typ == "raid1" {
		r.legs, r.stripe = 2, 0
	}
	return r
}

func TestOnlyARAIDInGoodOrderIsWritable(t *testing.T) {
	good := super{events: 20, recovery: inSync, resync: inSync}
	with := func(change func(s *super)) map[int]super {
		s := good
		change(&s)
		return map[int]super{1: s}
	}
	all := func(n int, change func(s *super)) map[int]super {
		out := map[int]super{}
		for i := range n {
			out[i] = with(change)[1]
		}
		return out
	}
	for name, c := range map[string]struct {
		typ    string
		change func(r *testRAID)
		why    string // "": it is
	}{
		"raid0":                                 {"raid0", func(*testRAID) {}, ""},
		"raid1":                                 {"raid1", func(*testRAID) {}, ""},
		"raid4":                                 {"raid4", func(*testRAID) {}, ""},
		"raid5_ra":                              {"raid5_ra", func(*testRAID) {}, ""},
		"raid6_nc":                              {"raid6_nc", func(*testRAID) {}, ""},
		"raid10":                                {"raid10", func(*testRAID) {}, ""},
		"never activated":                       {"raid1", func(r *testRAID) { r.supers = all(2, func(s *super) { s.none = true }) }, "never been activated"},
		"a new leg":                             {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.none = true }) }, "leg 1: its superblock cannot be read"},
		"being rebuilt":                         {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.recovery = 4096 }) }, "leg 1 is to be rebuilt"},
		"was to be rebuilt":                     {"raid1", func(r *testRAID) { r.status = map[int]string{1: `, "REBUILD"`} }, ""},
		"initial resync":                        {"raid5", func(r *testRAID) { r.supers = all(4, func(s *super) { s.resync = 8192 }) }, "not in sync"},
		"an older superblock":                   {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.events = 19 }) }, "leg 1 has an older superblock"},
		"a failed leg":                          {"raid1", func(r *testRAID) { r.supers = all(2, func(s *super) { s.failed = 2 }) }, ""},
		"all of the legs but one":               {"raid1", func(r *testRAID) { r.legs = 4; r.supers = all(4, func(s *super) { s.failed = 0b1011 }) }, ""},
		"two failed legs of RAID 6":             {"raid6", func(r *testRAID) { r.legs = 5; r.supers = all(5, func(s *super) { s.failed = 0b1010 }) }, ""},
		"a failed leg, which has missed writes": {"raid5", func(r *testRAID) { r.supers = all(4, func(s *super) { s.failed = 2; s.dirty = 1 }) }, ""},
		"an older leg and its fault":            {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.events = 30; s.failed = 1 }) }, ""},
		"a leg many events behind":              {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.events = 10 }) }, "leg 1: its superblock has 10 events"},
		"two failed legs of RAID 5":             {"raid5", func(r *testRAID) { r.supers = all(4, func(s *super) { s.failed = 0b1010 }) }, "too many legs are lost"},
		"both copies of RAID 10":                {"raid10", func(r *testRAID) { r.supers = all(4, func(s *super) { s.failed = 0b1100 }) }, "too many legs are lost"},
		"one copy each of RAID 10":              {"raid10", func(r *testRAID) { r.supers = all(4, func(s *super) { s.failed = 0b1010 }) }, ""},
		"a failed leg, and out of sync":         {"raid5", func(r *testRAID) { r.supers = all(4, func(s *super) { s.failed = 2; s.dirty = 1; s.resync = 0 }) }, "not in sync"},
		"a dirty region":                        {"raid1", func(r *testRAID) { r.supers = all(2, func(s *super) { s.dirty = 1 }) }, ""},
		"cut off by lvm2fs":                     {"raid6", func(r *testRAID) { r.legs = 5; r.supers = all(5, func(s *super) { s.dirty = 1; s.resync = 0 }) }, ""},
		"cut off, and a leg behind":             {"raid5", func(r *testRAID) { r.supers = with(func(s *super) { s.events = 21; s.dirty = 1; s.resync = 0 }) }, ""},
		"cut off, and a leg failed": {"raid1", func(r *testRAID) {
			r.legs = 3
			r.supers = all(3, func(s *super) { s.resync = 0; s.dirty = 1; s.failed = 2 })
		}, "not in sync"},
		"a dirty region on one leg": {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.dirty = 1 }) }, ""},
		"bitmaps that differ":       {"raid1", func(r *testRAID) { r.supers = with(func(s *super) { s.bitmapBehind = true; s.events = 20 }) }, "not kept up"},
		"another layout":            {"raid5", func(r *testRAID) { r.supers = all(4, func(s *super) { s.level, s.layout = 5, 3 }) }, "different arrays"},
	} {
		t.Run(name, func(t *testing.T) {
			r := wholeRAID(c.typ)
			c.change(&r)
			disks := r.disks()
			before := contentsOf(disks)
			lv := r.open(t, disks, Options{})
			err := lv.ReadOnlyReason()
			v, openErr := lv.OpenWritable()
			if c.why == "" {
				if err != nil || openErr != nil {
					t.Fatal(err, openErr)
				}
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), c.why) || !errors.Is(openErr, ErrReadOnly) {
				t.Errorf("got %v and %v, want %s", err, openErr, c.why)
			}
			for i, b := range contentsOf(disks) {
				if !bytes.Equal(b, before[i]) {
					t.Errorf("disk %d has been changed", i)
				}
			}
		})
	}
}

func TestAMirrorIsWrittenWithItsLog(t *testing.T) {
	for name, c := range map[string]struct {
		log  string
		bits byte
		why  string // it is read-only
	}{
		"in sync":     {`mirror_log = "r_mlog"`, 0b11, ""},
		"not in sync": {`mirror_log = "r_mlog"`, 0b10, "not in sync"},
		"core log":    {"", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			disks := mirrorDisks(c.log, c.bits)
			log := func() byte { return disks[2].Contents()[testpv.DataStart+1024] }
			lv := testRAID{}.open(t, disks, Options{})
			v, err := lv.OpenWritable()
			if c.why != "" {
				if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), c.why) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data := bytes.Repeat([]byte("mirrored"), 100)
			if _, err := v.WriteAt(data, 8192); err != nil {
				t.Fatal(err)
			}
			if c.log != "" && log() != 0b01 {
				t.Errorf("the log while region 1 is written: %08b", log())
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				if got := disks[i].Extent(12, testpv.ExtentSize)[:len(data)]; !bytes.Equal(got, data) {
					t.Errorf("leg %d has other bytes", i)
				}
			}
			if log() != c.bits {
				t.Errorf("the log afterwards: %08b", log())
			}
		})
	}
}

func contentsOf(disks []*testpv.Disk) (out [][]byte) {
	for _, d := range disks {
		out = append(out, d.Contents())
	}
	return out
}

// metaOf is the rmeta LV of leg i.
func metaOf(b []byte) []byte { return b[testpv.DataStart : testpv.DataStart+2*testpv.ExtentSize] }

func TestWritingChangesTheDataAndTwiceTheNumberOfEvents(t *testing.T) {
	for _, typ := range []string{"raid1", "raid5", "raid6", "raid10"} {
		t.Run(typ, func(t *testing.T) {
			r := wholeRAID(typ)
			disks := r.disks()
			before := contentsOf(disks)
			lv := r.open(t, disks, Options{})
			v, err := lv.OpenWritable()
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, lv.Size())
			for i := range data {
				data[i] = byte(i*i>>8 + i)
			}
			if _, err := v.WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
			le := binary.LittleEndian
			for i, b := range contentsOf(disks) {
				meta := metaOf(b)
				if le.Uint64(meta[16:]) != 21 || le.Uint64(meta[40:]) != 0 || le.Uint64(meta[4096+24:]) != 21 || meta[4096+256]&1 == 0 {
					t.Errorf("leg %d while it is written: %d events, resync at %d; bitmap: %d events, bits %08b", i, le.Uint64(meta[16:]), le.Uint64(meta[40:]), le.Uint64(meta[4096+24:]), meta[4096+256])
				}
			}
			r.settles(t, copiesOf(disks), data)
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			for i, b := range contentsOf(disks) {
				want := bytes.Clone(metaOf(before[i]))
				le.PutUint64(want[16:], 22)
				le.PutUint64(want[4096+24:], 22)
				le.PutUint64(want[4096+32:], 21)
				if !bytes.Equal(metaOf(b), want) {
					t.Errorf("the rmeta LV of leg %d is not as it should be", i)
				}
			}
			for range 2 { // at once, and as found on the disks
				w, err := lv.OpenWritable()
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(data))
				if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read back: %v, or other bytes", err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				lv = r.open(t, disks, Options{})
			}
		})
	}
}

// settles holds that a RAID that was cut off can be written, is in good order then, and holds data.
func (r testRAID) settles(t *testing.T, disks []*testpv.Disk, data []byte) {
	t.Helper()
	lv := r.open(t, disks, Options{})
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt(data[:1], 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for i, b := range contentsOf(disks) {
		meta := metaOf(b)
		events := binary.LittleEndian.Uint64(meta[16:])
		if meta[40] != 0xff || meta[4096+256]&3 != 0 || events != binary.LittleEndian.Uint64(meta[4096+24:]) || events != binary.LittleEndian.Uint64(metaOf(contentsOf(disks)[0])[16:]) {
			t.Errorf("leg %d is not said to be in sync: %d events, bits %08b", i, events, meta[4096+256])
		}
	}
	again := r.open(t, disks, Options{})
	c, err := again.Open()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%v, or other bytes", err)
	}
	if _, sum := check(t, again); !sum.Good() || sum.Compared != sum.Redundant {
		t.Errorf("its legs: %+v", sum)
	}
}

func copiesOf(disks []*testpv.Disk) (out []*testpv.Disk) {
	for _, d := range disks {
		out = append(out, &testpv.Disk{Label: d.Label, Bytes: d.Contents()})
	}
	return out
}

func TestWritingWithoutALegLeavesItStale(t *testing.T) {
	for typ, away := range map[string][]int{"raid1": {0}, "raid5": {2}, "raid6": {1}, "raid10": {0, 3}} {
		t.Run(typ, func(t *testing.T) {
			r := wholeRAID(typ)
			if typ == "raid6" {
				r.legs = 5
			}
			disks := r.disks()
			if typ != "raid1" {
				r.consistent(t, disks)
			} else {
				copy(leg(disks, 1), leg(disks, 0))
			}
			before := contentsOf(disks)
			lv := r.open(t, disks, Options{}, away...)
			data := make([]byte, lv.Size())
			for i := range data {
				data[i] = byte(i*i>>8 + i)
			}
			for range 2 {
				v, err := lv.OpenWritable()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := v.WriteAt(data, 0); err != nil {
					t.Fatal(err)
				}
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
				lv = r.open(t, disks, Options{}, away...) // also as found on the disks
			}
			le := binary.LittleEndian
			var failed uint64
			for _, i := range away {
				failed |= 1 << i
			}
			for i, b := range contentsOf(disks) {
				if slices.Contains(away, i) {
					if !bytes.Equal(b, before[i]) {
						t.Errorf("leg %d, which is away, was written", i)
					}
					continue
				}
				want := bytes.Clone(metaOf(before[i]))
				le.PutUint64(want[16:], 26) // twice two, and two more to be ahead
				le.PutUint64(want[24:], failed)
				le.PutUint64(want[4096+24:], 26)
				bits := metaOf(b)[4096+256]
				if bits&1 == 0 {
					t.Errorf("leg %d: bits %08b", i, bits)
				}
				copy(want[4096+256:4096+512], metaOf(b)[4096+256:])
				if !bytes.Equal(metaOf(b), want) {
					t.Errorf("the rmeta LV of leg %d is not as it should be", i)
				}
			}
			for name, without := range map[string][]int{"degraded": away, "with the stale legs": nil} {
				back := r.open(t, disks, Options{}, without...)
				v, err := back.Open()
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(data))
				if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %v, or other bytes", name, err)
				}
				if err := back.ReadOnlyReason(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// consistent makes the legs of a RAID those of an array in sync.
func (r testRAID) consistent(t *testing.T, disks []*testpv.Disk) {
	t.Helper()
	v, err := r.open(t, disks, Options{}).OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	metas := contentsOf(disks)
	data := make([]byte, v.Size())
	for i := range data {
		data[i] = byte(i >> 9)
	}
	if _, err := v.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for i, d := range disks {
		copy(metaOf(d.Bytes), metaOf(metas[i]))
	}
}

func TestADegradedRAIDThatIsCutOffIsNotSaidToBeInSync(t *testing.T) {
	r := wholeRAID("raid5")
	disks := r.disks()
	r.consistent(t, disks)
	lv := r.open(t, disks, Options{}, 1)
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt([]byte("cut off"), 0); err != nil {
		t.Fatal(err)
	}
	killed := r.open(t, copiesOf(disks), Options{}, 1)
	if err := killed.ReadOnlyReason(); err == nil || !strings.Contains(err.Error(), "not in sync") {
		t.Errorf("after a crash: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.open(t, disks, Options{}, 1).ReadOnlyReason(); err != nil {
		t.Error(err)
	}
}

func TestWithoutAPVOnlyWhatItHoldsIsReadOnly(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVExtents: 40, PVs: []string{"sda", "sdb"}, LVs: []testpv.LV{
		{Name: "here", Segments: []string{testpv.Linear(0, 2, "pv0", 0)}},
		{Name: "there", Segments: []string{testpv.Linear(0, 2, "pv1", 0)}},
		{Name: "both", Segments: []string{testpv.Linear(0, 2, "pv0", 2), testpv.Linear(2, 2, "pv1", 2)}},
	}}
	s := Open([]Device{vg.Disks()[0]}, Options{})
	for name, want := range map[string]string{"here": "", "there": "is missing", "both": "is missing"} {
		err := s.VGs[0].LV(name).ReadOnlyReason()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARAIDThatOthersHaveUsedIsStale(t *testing.T) {
	r := wholeRAID("raid5")
	disks := r.disks()
	lv := r.open(t, disks, Options{})
	if err := lv.ReadOnlyReason(); err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		meta := metaOf(d.Bytes)
		binary.LittleEndian.PutUint64(meta[16:], 25)
		binary.LittleEndian.PutUint64(meta[4096+24:], 25)
	}
	if _, err := lv.OpenWritable(); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
	for _, d := range disks {
		if d.Claims() != 0 {
			t.Error("a claim is left")
		}
	}
}

func TestARAIDThatChangesWhileItIsJudgedIsNotWritten(t *testing.T) {
	put := func(off int, v uint64) func(meta []byte) {
		return func(meta []byte) { binary.LittleEndian.PutUint64(meta[off:], v) }
	}
	for name, change := range map[string]func(meta []byte){
		"a leg fails":        put(24, 1),
		"a leg is rebuilt":   put(32, 8),
		"the array is dirty": put(40, 0),
		"a leg is behind":    put(16, 19),
	} {
		t.Run(name, func(t *testing.T) {
			r := wholeRAID("raid5")
			disks := r.disks()
			lv := r.open(t, disks, Options{})
			if err := lv.ReadOnlyReason(); err != nil {
				t.Fatal(err)
			}
			change(metaOf(disks[1].Bytes))
			if _, err := lv.OpenWritable(); !errors.Is(err, ErrStale) || !(strings.Contains(err.Error(), "leg 1 is not that of an array in order") || strings.Contains(err.Error(), "others have used")) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTwoOpensOfARAIDShareItsState(t *testing.T) {
	r := wholeRAID("raid1")
	disks := r.disks()
	lv := r.open(t, disks, Options{})
	a, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteAt([]byte("a"), 0); err != nil {
		t.Fatal(err)
	}
	b, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if meta := metaOf(disks[0].Contents()); meta[40] != 0 {
		t.Error("the array is said to be in sync while it is open")
	}
	if _, err := b.WriteAt([]byte("b"), 1); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if meta := metaOf(disks[0].Contents()); meta[40] != 0xff {
		t.Error("the array is not said to be in sync at the end")
	}
}

func TestALegThatFailsLeavesTheArrayOutOfSync(t *testing.T) {
	r := wholeRAID("raid1")
	disks := r.disks()
	lv := r.open(t, disks, Options{})
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	at := int64(testpv.DataStart + 10*testpv.ExtentSize)
	disks[1].Break(at, at+4096)
	if _, err := v.WriteAt(make([]byte, 8192), 0); !errors.Is(err, testpv.ErrIO) {
		t.Errorf("the write: %v", err)
	}
	if _, err := v.WriteAt(make([]byte, 512), 12288); !errors.Is(err, testpv.ErrIO) {
		t.Errorf("the next one: %v", err)
	}
	if health := lv.Health(); health != "failing" {
		t.Errorf("its health is %q", health)
	}
	if err := v.Sync(); !errors.Is(err, testpv.ErrIO) {
		t.Errorf("Sync: %v", err)
	}
	if err := v.Close(); !errors.Is(err, testpv.ErrIO) {
		t.Errorf("Close: %v", err)
	}
	for i, b := range contentsOf(disks) {
		if meta := metaOf(b); meta[40] != 0 || meta[4096+256]&1 == 0 {
			t.Errorf("leg %d is said to be in sync", i)
		}
	}
	if _, err := lv.OpenWritable(); err == nil {
		t.Error("it can be opened for writing again")
	}
}

// tape notes, in order, what is written and flushed.
type tape struct {
	mu  sync.Mutex
	ops []taped
}

type taped struct {
	disk  int
	off   int64
	bytes []byte // nil: a flush
}

type tapedDisk struct {
	*testpv.Disk
	tape *tape
	n    int
}

func (d tapedDisk) WriteAt(p []byte, off int64) (int, error) {
	d.tape.mu.Lock()
	defer d.tape.mu.Unlock()
	d.tape.ops = append(d.tape.ops, taped{d.n, off, bytes.Clone(p)})
	return d.Disk.WriteAt(p, off)
}

func (d tapedDisk) Sync() error {
	d.tape.mu.Lock()
	defer d.tape.mu.Unlock()
	d.tape.ops = append(d.tape.ops, taped{disk: d.n})
	return d.Disk.Sync()
}

func TestWhereverThePowerGoesTheKernelResyncsWhatDiffers(t *testing.T) {
	testenv.Long(t)
	for name, away := range map[string][]int{"whole": nil, "without the first leg": {0}, "without the last": {2}, "without two": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := wholeRAID("raid1")
			r.legs = 3
			disks := r.disks()
			copy(leg(disks, 1), leg(disks, 0))
			copy(leg(disks, 2), leg(disks, 0))
			before := contentsOf(disks)
			tp := &tape{}
			var devices []Device
			for i, d := range disks {
				if !slices.Contains(away, i) {
					devices = append(devices, tapedDisk{d, tp, i})
				}
			}
			lv := Open(devices, Options{}).VGs[0].LV("r")
			for range 3 {
				tp.write(t, lv)
			}
			for at := range len(tp.ops) + 1 {
				for range 4 {
					after := tp.cut(at, before)
					if away == nil {
						settlesWhereverThePowerGoes(t, r, after)
					}
					if err := resyncs(after, before, away); err != nil {
						t.Fatalf("power off before operation %d of %d: %v", at, len(tp.ops), err)
					}
					if err := readsOneOf(t, r, after, away); err != nil {
						t.Fatalf("power off before operation %d of %d: %v", at, len(tp.ops), err)
					}
				}
			}
		})
	}
}

// write writes to an LV of recorded disks.
func (tp *tape) write(t *testing.T, lv *LV) {
	t.Helper()
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		p := make([]byte, 512*(1+rand.IntN(20)))
		for i := range p {
			p[i] = byte(rand.Uint32())
		}
		if _, err := v.WriteAt(p, rand.Int64N(lv.Size()/512-20)*512); err != nil {
			t.Fatal(err)
		}
		if rand.IntN(2) == 0 {
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

// settlesWhereverThePowerGoes holds that a RAID1 that was cut off can be written. If that is cut off too, the kernel
// would resync what differs; if it is not, nothing differs.
func settlesWhereverThePowerGoes(t *testing.T, r testRAID, cut [][]byte) {
	t.Helper()
	tp := &tape{}
	var devices []Device
	for i, b := range cut {
		devices = append(devices, tapedDisk{&testpv.Disk{Label: fmt.Sprint(i), Bytes: bytes.Clone(b)}, tp, i})
	}
	v, err := Open(devices, Options{}).VGs[0].LV("r").OpenWritable()
	if err != nil {
		t.Fatalf("after it was cut off: %v", err)
	}
	if _, err := v.WriteAt([]byte("goes on"), 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range rand.N(min(4, len(tp.ops)+1)) {
		at := rand.N(len(tp.ops) + 1)
		if err := resyncs(tp.cut(at, cut), cut, nil); err != nil {
			t.Fatalf("cut off again, time %d, before operation %d of %d: %v", i, at, len(tp.ops), err)
		}
	}
	var last [][]byte
	for _, d := range devices {
		last = append(last, d.(tapedDisk).Contents())
	}
	for i, b := range last {
		const end = legStart + testLegExtents*testpv.ExtentSize
		if !bytes.Equal(b[legStart:end], last[0][legStart:end]) || metaOf(b)[40] != 0xff || metaOf(b)[4096+256]&3 != 0 {
			t.Fatalf("leg %d differs from the first, or is not said to be in sync", i)
		}
	}
}

// legStart is where a leg of a testRAID begins on its disk.
const legStart = testpv.DataStart + 10*testpv.ExtentSize

// readsOneOf holds that each sector of a RAID1, all of whose disks are there, is that of a leg that was there while it
// was written.
func readsOneOf(t *testing.T, r testRAID, disks [][]byte, away []int) error {
	t.Helper()
	var found []*testpv.Disk
	for i, b := range disks {
		found = append(found, &testpv.Disk{Label: fmt.Sprint(i), Bytes: b})
	}
	v, err := r.open(t, found, Options{}).Open()
	if err != nil {
		return err
	}
	p := make([]byte, v.Size())
	if _, err := v.ReadAt(p, 0); err != nil {
		return err
	}
	for off := int64(0); off < v.Size(); off += 512 {
		good := false
		for i, b := range disks {
			good = good || !slices.Contains(away, i) && bytes.Equal(p[off:off+512], b[legStart+off:][:512])
		}
		if !good {
			return fmt.Errorf("the sector at %d is that of a leg that was away", off)
		}
	}
	return nil
}

// cut is the disks when the power goes before operation number at.
func (tp *tape) cut(at int, before [][]byte) [][]byte {
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
		for from := int64(0); from < int64(len(o.bytes)); {
			n := min(512-(o.off+from)%512, int64(len(o.bytes))-from)
			if i < flushed[o.disk] || rand.IntN(2) == 0 {
				copy(out[o.disk][o.off+from:], o.bytes[from:from+n])
			}
			from += n
		}
	}
	return out
}

// resyncs does what the kernel does with a RAID1 (docs/format/03-mapping-linear-striped-raid.md, sections 7.2 and
// 7.4). It is an error if the legs differ then, or if a leg that was away is taken for whole although it lacks what
// was written.
func resyncs(disks, before [][]byte, away []int) error {
	le := binary.LittleEndian
	newest := 0
	for i, b := range disks {
		if le.Uint64(metaOf(b)[16:]) > le.Uint64(metaOf(disks[newest])[16:]) {
			newest = i
		}
	}
	meta := metaOf(disks[newest])
	resync := le.Uint64(meta[40:]) == 0
	all := le.Uint64(meta[4096+24:]) < le.Uint64(meta[16:])
	failed := func(i int) bool { return meta[24]>>i&1 != 0 }
	for i, b := range disks {
		here := !slices.Contains(away, i)
		switch {
		case here && failed(i):
			return fmt.Errorf("leg %d has failed, by leg %d", i, newest)
		case here && !bytes.Equal(b[legStart:], before[i][legStart:]):
			for _, j := range away {
				if !failed(j) {
					return fmt.Errorf("leg %d was away while leg %d was written, and has not failed by leg %d", j, i, newest)
				}
				if cleared := le.Uint64(meta[4096+32:]); cleared > le.Uint64(metaOf(disks[j])[16:]) {
					return fmt.Errorf("the bits are said to be those since %d events, when leg %d was away", cleared, j)
				}
			}
		}
	}
	first := 0
	for failed(first) {
		first++
	}
	for off := int64(0); off < testLegExtents*testpv.ExtentSize; off += 512 {
		region := off / 8192
		dirty := all || meta[4096+256+region/8]>>(region%8)&1 != 0
		for i, b := range disks {
			if !bytes.Equal(disks[first][legStart+off:][:512], b[legStart+off:][:512]) && !((resync || failed(i)) && dirty) {
				return fmt.Errorf("leg %d differs at %d; array out of sync: %v, region dirty: %v", i, off, resync, dirty)
			}
		}
	}
	return nil
}

var _ mapping.WritableDevice = tapedDisk{}
