package overlay

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"lvm2fs/mapping"
)

func TestWhatIsWrittenReadsBackAndTheRestIsTheBase(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	m := readModel(t, b)
	m.check(t, v)
	for i := range 2000 {
		m.change(t, v)
		switch rand.IntN(20) {
		case 0:
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
		case 1:
			m.check(t, v)
		case 2:
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
			_, v = openOver(t, d, b)
			m.check(t, v)
		}
		if i == 1000 && d.punched == 0 {
			t.Error("no space was ever given back")
		}
	}
	m.check(t, v)
	if got, want := runsBetween(t, v), runsBetween(t, b); !slices.Equal(got, want) {
		t.Error("between the windows it is not the base")
	}
}

// runsBetween are the runs between the first two windows.
func runsBetween(t *testing.T, v mapping.Volume) (runs []mapping.Extent) {
	t.Helper()
	err := mapping.Walk(v, 20*blockSize, areaSize/2, func(_ int64, e mapping.Extent) error {
		runs = append(runs, e)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return runs
}

func TestRunsThatHaveNotChangedAreAnsweredByTheBase(t *testing.T) {
	b := smallBase()
	d, o, v := createOver(t, b)
	if _, err := v.WriteAt(random(2*blockSize), 8*blockSize); err != nil {
		t.Fatal(err)
	}
	if err := v.PunchHole(10*blockSize, blockSize); err != nil {
		t.Fatal(err)
	}
	var got []mapping.Extent
	var ends []int64
	err := mapping.Walk(v, 7*blockSize, 5*blockSize, func(off int64, e mapping.Extent) error {
		got, ends = append(got, e), append(ends, off+e.Length)
		return nil
	})
	if err != nil || len(got) < 4 {
		t.Fatal(got, err)
	}
	if got[0].Kind != b.kind(7*blockSize) || got[0].Kind == mapping.Data && got[0].Device.Name() != "base" {
		t.Errorf("in front of what was written: %+v", got[0])
	}
	if e := got[1]; e.Kind != mapping.Data || e.Device != mapping.Device(d) || e.Length != 2*blockSize || ends[1] != 10*blockSize {
		t.Errorf("what was written: %+v", e)
	}
	if e := got[2]; e.Kind != mapping.Zero || ends[2]-e.Length != 10*blockSize {
		t.Errorf("the hole: %+v", e)
	}
	u, err := o.Usage()
	if want := (Usage{Written: 2 * blockSize, Zeroed: blockSize}); err != nil || u != want {
		t.Errorf("got %+v, %v", u, err)
	}
}

func TestAreasThatWereNeverTouchedAreOneRun(t *testing.T) {
	b := hole(1 << 50)
	_, _, v := createOver(t, b)
	e, err := v.Map(0, math.MaxInt64)
	if err != nil || e.Kind != mapping.Zero || e.Length != 1<<50 {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := v.WriteAt([]byte("x"), 1<<49); err != nil {
		t.Fatal(err)
	}
	calls := 0
	for off := int64(0); off < v.Size(); calls++ {
		e, err := v.Map(off, v.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		off += e.Length
	}
	if calls > 100 {
		t.Errorf("%d runs", calls)
	}
	// What lies nowhere needs no note that it is zeros.
	if err := v.PunchHole(0, 1<<33); err != nil {
		t.Fatal(err)
	}
	if u, err := v.o.Usage(); err != nil || u.Zeroed != 0 || u.Written != blockSize {
		t.Errorf("%+v, %v", u, err)
	}
}

// hole is a volume of zeros.
type hole int64

func (h hole) Size() int64 { return int64(h) }

func (h hole) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Zero, Length: min(max, int64(h)-off)}, nil
}

func (h hole) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("hole", p, off, int64(h))
	clear(p)
	return len(p), end
}

func TestReadsAndWritesAreCutAtTheEnd(t *testing.T) {
	b := smallBase()
	_, _, v := createOver(t, b)
	end := b.size
	if _, err := v.WriteAt(random(4*blockSize+1536), end-4*blockSize-1536); err != nil { // some of it is lost in the base
		t.Fatal(err)
	}
	if n, err := v.WriteAt(random(100), end-100); n != 100 || err != nil {
		t.Error(n, err)
	}
	for _, err := range []error{
		func() error { _, err := v.WriteAt(random(100), end-99); return err }(),
		v.PunchHole(end-99, 100),
	} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	if n, err := v.ReadAt(make([]byte, 200), end-100); n != 100 || err != io.EOF {
		t.Error(n, err)
	}
	if _, err := v.WriteAt(random(1), -1); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
}

func TestAPartOfABlockThatCannotBeReadCannotBeWrittenButAllOfItCan(t *testing.T) {
	b := smallBase()
	_, _, v := createOver(t, b)
	at := int64(5*baseRun/blockSize+1) * blockSize
	if _, err := v.WriteAt([]byte("x"), at); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	p := random(blockSize)
	if _, err := v.WriteAt(p, at); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, blockSize)
	if _, err := v.ReadAt(got, at); err != nil || !bytes.Equal(got, p) {
		t.Error(err)
	}
}

// moment is what a volume read as after a change.
type moment struct {
	steps     int // of the disk, when it was over
	committed bool
	*model
}

// TestAPowerCutLeavesEachBlockAsAWhole cuts the power behind every write and every flush. Each block is then, as a
// whole, what it was at the last Sync or at some time since.
func TestAPowerCutLeavesEachBlockAsAWhole(t *testing.T) {
	for round := range 4 {
		b := smallBase()
		d, _, v := createOver(t, b)
		m := readModel(t, b)
		for range round * 20 { // an overlay that has been used
			m.change(t, v)
		}
		if err := v.Sync(); err != nil {
			t.Fatal(err)
		}
		d.begin()
		moments := []moment{{0, true, m.clone()}}
		for i := range 24 {
			m.change(t, v)
			moments = append(moments, moment{len(d.steps), false, m.clone()})
			if i%6 == 5 {
				if err := v.Sync(); err != nil {
					t.Fatal(err)
				}
				moments = append(moments, moment{len(d.steps), true, m.clone()})
			}
		}
		for n := 0; n <= len(d.steps); n++ {
			after := d.cut(n)
			_, cut := openOver(t, after, b)
			checkCut(t, n, cut, possibleAt(moments, n))
			if n%20 == 0 { // and it can go on
				m := readModel(t, cut)
				for range 10 {
					m.change(t, cut)
				}
				if err := cut.Sync(); err != nil {
					t.Fatal(err)
				}
				_, again := openOver(t, after, b)
				m.check(t, again)
			}
		}
	}
}

// possibleAt are the moments of which blocks may be found after n steps.
func possibleAt(moments []moment, n int) []*model {
	var possible []*model
	for i, m := range moments {
		if m.committed && m.steps <= n {
			possible = nil
		}
		possible = append(possible, m.model)
		if m.steps > n && i > 0 {
			break
		}
	}
	return possible
}

func checkCut(t *testing.T, n int, v *Volume, possible []*model) {
	t.Helper()
	got := readModel(t, v)
	for i, w := range got.windows {
		for at := 0; at < len(w.bytes); {
			end := int(min(int64(len(w.bytes)), (w.start+int64(at))/blockSize*blockSize+blockSize-w.start))
			ok := false
			for _, p := range possible {
				was := p.windows[i]
				ok = ok || bytes.Equal(was.bytes[at:end], w.bytes[at:end]) && slices.Equal(was.lost[at:end], w.lost[at:end])
			}
			if !ok {
				t.Fatalf("cut at %d: window %d: bytes %d to %d were never like that since the last flush", n, i, at, end)
			}
			at = end
		}
	}
}

// TestAWriteThatFailsLosesNothing lets each write and flush of a number of changes fail. What was there is still
// there, except for the bytes that were being written, and those that a flush was to bring to stable storage.
func TestAWriteThatFailsLosesNothing(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for fail := range 40 {
			b := smallBase()
			d, _, v := createOver(t, b)
			m := readModel(t, b)
			for range 10 {
				m.change(t, v)
			}
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
			d.begin()
			committed := m.clone()
			d.fail, d.torn = fail, torn
			flushFailed := false
			for i := 0; i < 30 && d.fail >= 0; i++ {
				op := m.operation()
				if !m.possible(v, op) {
					continue
				}
				err := op.do(v, m.at(op))
				if err != nil && !errors.Is(err, errDisk) {
					t.Fatal(err)
				}
				if err == nil {
					m.apply(op)
				} else { // of these bytes either value is right
					got := readModel(t, v)
					w, is := m.windows[op.window], got.windows[op.window]
					for j := range op.data {
						if at := op.off + j; !is.lost[at] && (is.bytes[at] == op.data[j] || is.bytes[at] == w.bytes[at]) {
							w.bytes[at], w.lost[at] = is.bytes[at], false
						}
					}
				}
				if i%5 == 4 {
					if err := v.Sync(); err == nil {
						committed = m.clone()
					} else if !errors.Is(err, errDisk) {
						t.Fatal(err)
					} else if flushFailed = v.o.failed.Load() != nil; flushFailed {
						break
					}
				}
			}
			d.steady()
			if flushFailed {
				if _, err := v.WriteAt([]byte("x"), 0); !errors.Is(err, errDisk) {
					t.Fatalf("a write after a flush that failed: %v", err)
				}
				if err := v.Sync(); !errors.Is(err, errDisk) {
					t.Fatalf("a flush after one that failed: %v", err)
				}
				checkCut(t, fail, reopened(t, d.cut(len(d.steps)), b), []*model{committed, m})
				continue
			}
			m.check(t, v)
			for range 5 {
				m.change(t, v)
			}
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
			m.check(t, reopened(t, d, b))
		}
	}
}

func reopened(t *testing.T, d *disk, b *base) *Volume {
	t.Helper()
	_, v := openOver(t, d, b)
	return v
}

func TestAFullDiskIsToldToTheWriterAndLosesNothing(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	m := readModel(t, b)
	for range 20 {
		m.change(t, v)
	}
	for range 3 {
		fill(d)
		if _, err := v.WriteAt(random(blockSize), 20*areaBlocks); !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	d.steady()
	fill(d)
	d.fail = 1 // the blocks are flushed, and the map does not fit
	if err := v.Sync(); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	m.check(t, v)
	fill(d)
	d.fail = 1
	if _, err := v.WriteAt(random(blockSize), 0); !errors.Is(err, syscall.ENOSPC) && err != nil {
		t.Error(err)
	}
	d.steady()
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt(make([]byte, 20*blockSize), 0); err != nil { // now there is room
		t.Fatal(err)
	}
}

func TestAfterAFlushThatFailedWhatMayBeLostCannotBeRead(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	kept, lost := random(blockSize), random(blockSize)
	if _, err := v.WriteAt(kept, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt(lost, blockSize); err != nil {
		t.Fatal(err)
	}
	d.fail = 0
	if err := v.Sync(); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	got := make([]byte, 2*blockSize)
	if n, err := v.ReadAt(got, 0); n != blockSize || !errors.Is(err, errDisk) || !bytes.Equal(got[:n], kept) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if _, err := v.Map(blockSize, blockSize); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

func TestASyncWithoutChangesDoesNothing(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	d.begin()
	for range 3 {
		if err := v.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.steps) != 0 {
		t.Errorf("%d steps", len(d.steps))
	}
	if _, err := v.WriteAt(random(blockSize), 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(); err != nil || d.flushes() != 2 {
		t.Errorf("%v, %d flushes", err, d.flushes())
	}
}

func TestManyWritersLeaveWholeBlocks(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	if _, err := v.WriteAt(random(blockSize), areaSize); err != nil { // some of it is lost in the base
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for writer := range 8 {
		all.Go(func() {
			for i := range 200 {
				p := bytes.Repeat([]byte{byte(writer + 1)}, blockSize)
				if _, err := v.WriteAt(p, int64(i%16)*blockSize); err != nil {
					t.Error(err)
				}
				// Each has sectors of its own in one block.
				if _, err := v.WriteAt(p[:sectorSize], areaSize+int64(writer)*sectorSize); err != nil {
					t.Error(err)
				}
				if i%50 == writer {
					if err := v.Sync(); err != nil {
						t.Error(err)
					}
				}
				if _, err := v.ReadAt(p, int64(i%16)*blockSize); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	_, v = openOver(t, d, b)
	p := make([]byte, blockSize)
	for i := range int64(16) {
		if _, err := v.ReadAt(p, i*blockSize); err != nil || p[0] == 0 || !bytes.Equal(p, bytes.Repeat(p[:1], blockSize)) {
			t.Errorf("block %d is of several writers, %v", i, err)
		}
	}
	if _, err := v.ReadAt(p, areaSize); err != nil {
		t.Fatal(err)
	}
	for writer := range 8 {
		if !bytes.Equal(p[writer*sectorSize:][:sectorSize], bytes.Repeat([]byte{byte(writer + 1)}, sectorSize)) {
			t.Errorf("the sector of writer %d is not what it wrote", writer)
		}
	}
}

func TestManyChangedAreasAreCommittedBeforeTheyFillTheMemory(t *testing.T) {
	b := hole(1 << 40)
	d, o, v := createOver(t, b)
	d.begin()
	for i := range int64(maxChanged + 10) {
		if err := v.PunchHole(i*areaSize, 1); err != nil { // is zero already, but begins an area
			t.Fatal(err)
		}
	}
	if len(o.changed) > maxChanged || d.flushes() == 0 {
		t.Errorf("%d changed areas in memory, %d flushes", len(o.changed), d.flushes())
	}
}

func TestAnOverlayOfSomethingElseIsRefused(t *testing.T) {
	b := smallBase()
	_, o, _ := createOver(t, b)
	id := testIdentity(b.size)
	if err := o.Check(id); err != nil {
		t.Error(err)
	}
	renamed := id
	renamed.LVName, renamed.VGName = "new", "names"
	if err := o.Check(renamed); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Identity){
		"of LV lv-uuid": func(id *Identity) { id.LV = "another" },
		"of VG vg-uuid": func(id *Identity) { id.VG = "another" },
		"bytes":         func(id *Identity) { id.Size += 512 },
		"metadata":      func(id *Identity) { id.Fingerprint[31]++ },
	} {
		other := id
		change(&other)
		if err := o.Check(other); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := o.Over(&base{b.size + 512}); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

func TestAnOverlayThatWasOpenedForReadingIsNotWritten(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	p := random(blockSize)
	if _, err := v.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	d.begin()
	o, err := Open(d, false)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := o.Over(b)
	got := make([]byte, blockSize)
	if _, err := r.ReadAt(got, 0); err != nil || !bytes.Equal(got, p) {
		t.Error(err)
	}
	if _, err := r.WriteAt(p, 0); !errors.Is(err, mapping.ErrNotWritable) {
		t.Error(err)
	}
	if err := r.PunchHole(0, blockSize); !errors.Is(err, mapping.ErrNotWritable) {
		t.Error(err)
	}
	if err := r.Sync(); err != nil || len(d.steps) > 0 {
		t.Error("something was written", err)
	}
}
