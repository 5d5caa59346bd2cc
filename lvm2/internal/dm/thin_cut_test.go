package dm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// thinHistory is what the devices of a pool held.
type thinHistory map[uint64][]moment

func (h thinHistory) note(f *thinFamily, n int, flushed bool) {
	for id, c := range f.contents {
		h[id] = append(h[id], moment{n, bytes.Clone(c), flushed})
	}
}

// write makes changes to all volumes of the pool, with a flush now and then, and notes what there was at each step.
func (f *thinFamily) write(t *testing.T, u *unplugged, changes int) thinHistory {
	t.Helper()
	p, open := f.open(t, u.volume)
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	h := thinHistory{}
	h.note(f, 0, true)
	for range changes {
		if err := f.writeOne(t, open); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		h.note(f, len(u.steps), false)
		if rand.IntN(4) == 0 {
			if err := p.Sync(); err != nil {
				t.Fatal(err)
			}
			h.note(f, len(u.steps), true)
		}
	}
	return h
}

// reopen reads the pool on disks after a cut behind n steps, and gives what it holds now.
func (f *thinFamily) reopen(t *testing.T, disks []memory, h thinHistory, n int) *thinFamily {
	t.Helper()
	what := fmt.Sprintf("cut at %d", n)
	checkPool(t, what, f, disks)
	_, open := f.open(t, ramVolumes(disks))
	now := &thinFamily{chunk: f.chunk, discards: f.discards, sizes: f.sizes, external: f.external, contents: map[uint64]memory{}}
	for id, v := range open {
		got := make(memory, v.Size())
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Fatalf("%s: device %d: %v", what, id, err)
		}
		may := possible(h[id], n)
		for k := range got {
			if !slices.ContainsFunc(may, func(p memory) bool { return p[k] == got[k] }) {
				t.Fatalf("%s: device %d: byte %d (chunk %d) is neither what was flushed nor what was written later", what, id, k, int64(k)/f.chunk)
			}
		}
		now.contents[id] = got
	}
	return now
}

// someThinFamily is a pool with snapshots that share chunks.
func someThinFamily(t *testing.T, discards string, chunks int, external bool) (*thinFamily, []memory) {
	t.Helper()
	return thinFamilyOf(t, discards, chunks, 4096, 80_000, external)
}

// thinFamilyOf is someThinFamily with chunks and volumes of other sizes, in bytes.
func thinFamilyOf(t *testing.T, discards string, chunks int, chunk int64, size int, external bool) (*thinFamily, []memory) {
	t.Helper()
	f, disks := newThinPool(256, chunks, chunk, size, 2)
	f.discards = discards
	if external {
		f.external = random(size * 5 / 8 / sector * sector)
		copy(f.contents[1], f.external)
	}
	for id := range uint64(2) {
		p, open := f.open(t, ramVolumes(disks))
		if err := p.StartWriting(); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if err := f.writeOne(t, open); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
		if err := p.StopWriting(); err != nil {
			t.Fatal(err)
		}
		f.snapshot(t, disks, 2, 10+id)
	}
	return f, disks
}

func thinFamilies(t *testing.T) map[string]func() (*thinFamily, []memory) {
	return map[string]func() (*thinFamily, []memory){
		"no passdown":     func() (*thinFamily, []memory) { return someThinFamily(t, "nopassdown", 200, false) },
		"passdown":        func() (*thinFamily, []memory) { return someThinFamily(t, "passdown", 200, false) },
		"nearly full":     func() (*thinFamily, []memory) { return someThinFamily(t, "passdown", 50, false) },
		"external origin": func() (*thinFamily, []memory) { return someThinFamily(t, "nopassdown", 200, true) },
	}
}

func TestAPowerCutWhileThinVolumesAreWritten(t *testing.T) {
	testenv.Long(t)
	for name, make := range thinFamilies(t) {
		f, disks := make()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUnplugged(disks...)
			cutEverywhere(t, f, u, f.write(t, u, 20), 100, 6, 10)
		})
	}
}

func TestThinCheckFindsNothingAfterAPowerCut(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "thin_check")
	const states = 130 // of each family
	for name, make := range thinFamilies(t) {
		f, disks := make()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUnplugged(disks...)
			f.write(t, u, 20)
			for i := range states {
				n := i * len(u.steps) / (states - 1)
				thinCheckTool(t, fmt.Sprintf("cut at %d", n), u.cut(n))
			}
		})
	}
}

// After a write or flush that fails, the pool is as at its last commit or the next, except for what is written in
// place. The writer is told, and what was flushed before is there.
func TestAPoolWhoseDisksFailKeepsWhatWasFlushed(t *testing.T) {
	testenv.Long(t)
	for disk := range 2 {
		for _, always := range []bool{false, true} {
			failed := 0
			for after := 0; ; after++ {
				f, disks := someThinFamily(t, "passdown", 200, false)
				left := 1 << 30
				p, open := f.open(t, func(i int) mapping.Volume {
					if i == disk {
						return Device(failing{ram{&disks[i]}, &left, always}, 0, disks[i].Size())
					}
					return Device(ram{&disks[i]}, 0, disks[i].Size())
				})
				if err := p.StartWriting(); err != nil {
					t.Fatal(err)
				}
				left = after
				h := thinHistory{}
				h.note(f, 0, true)
				var broken error
				for i := range 16 {
					ids := slices.Sorted(maps.Keys(open))
					id := ids[rand.IntN(len(ids))]
					want := f.contents[id]
					off := rand.IntN(len(want))
					b := random(min(1+rand.IntN(9000), len(want)-off))
					before := bytes.Clone(want)
					_, err := open[id].WriteAt(b, int64(off))
					if err != nil && !errors.Is(err, errFailing) {
						t.Fatal(err)
					}
					copy(want[off:], b)
					h.note(f, 0, false)
					if err != nil {
						failed++
						got := make(memory, len(want))
						if _, err := open[id].ReadAt(got, 0); err != nil {
							t.Fatal(err)
						}
						for k := range got {
							if got[k] != before[k] && got[k] != want[k] {
								t.Fatalf("disk %d, %d writes: byte %d is neither old nor new", disk, after, k)
							}
						}
						copy(want, got)
						h.note(f, 0, false)
					}
					if i%4 == 3 {
						err := p.Sync()
						switch {
						case err == nil && broken != nil:
							t.Fatalf("disk %d, %d writes: a flush succeeds after %v", disk, after, broken)
						case err == nil:
							h.note(f, 0, true)
						case p.failure() != nil:
							failed++
							broken = err
						default:
							failed++
						}
					}
				}
				_ = p.StopWriting()
				if broken != nil && p.ReadOnlyReason() == "" {
					t.Error("it can be written after it failed")
				}
				f.reopen(t, disks, h, 0)
				if left >= 0 {
					break
				}
			}
			if failed == 0 {
				t.Error("nothing failed")
			}
		}
	}
}

// lockedRAM is a disk that many may use at once. flushing, unless nil, is called by Sync.
type lockedRAM struct {
	*memory
	mu       *sync.Mutex
	flushing func()
}

func (d lockedRAM) Claim() error   { return nil }
func (d lockedRAM) Release() error { return nil }

func (d lockedRAM) Sync() error {
	if d.flushing != nil {
		d.flushing()
	}
	return nil
}

func (d lockedRAM) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memory.ReadAt(p, off)
}

func (d lockedRAM) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy((*d.memory)[off:], p), nil
}

func (d lockedRAM) PunchHole(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear((*d.memory)[off : off+n])
	return nil
}

func lockedVolumes(disks []memory, flushing func()) func(disk int) mapping.Volume {
	mu := &sync.Mutex{}
	return func(i int) mapping.Volume {
		return Device(lockedRAM{&disks[i], mu, flushing}, 0, disks[i].Size())
	}
}

func TestThinVolumesOfOnePoolAreWrittenByManyAtOnce(t *testing.T) {
	f, disks := someThinFamily(t, "passdown", 400, false)
	p, open := f.open(t, lockedVolumes(disks, nil))
	p.within = 5 * time.Millisecond
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for id, v := range open {
		want := f.contents[id]
		half := len(want) / 2
		for part := range 2 { // of the volume
			all.Go(func() {
				for i := range 160 {
					off := part*half + rand.IntN(half)
					b := random(min(1+rand.IntN(9000), part*half+half-off))
					if i%9 == 0 {
						clear(b)
						if err := v.PunchHole(int64(off), int64(len(b))); err != nil {
							t.Error(err)
						}
					} else if _, err := v.WriteAt(b, int64(off)); err != nil {
						t.Error(err)
					}
					copy(want[off:], b)
					got := make([]byte, len(b))
					if _, err := v.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, b) {
						t.Errorf("%v, or not what was written", err)
					}
					if i%4 == 0 {
						if err := v.Sync(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	all.Go(func() { // others look at the pool, and open its devices
		for range 100 {
			if _, err := p.Devices(); err != nil {
				t.Error(err)
			}
			for id := range f.sizes {
				if _, err := p.Mapped(id); err != nil {
					t.Error(err)
				}
				if _, err := p.Thin(id, f.sizes[id], nil); err != nil {
					t.Error(err)
				}
			}
			_, _ = p.Usage(), p.ReadOnlyReason()
		}
	})
	all.Wait()
	f.check(t, "open", open)
	if err := p.StopWriting(); err != nil {
		t.Fatal(err)
	}
	_, open = f.open(t, ramVolumes(disks))
	f.check(t, "opened anew", open)
	checkPool(t, "closed", f, disks)
}

func TestOneFlushOfAPoolServesAllWhoCameBeforeItBegan(t *testing.T) {
	f, disks := newThinPool(256, 100, 4096, 80_000, 1)
	flushes := 0
	p, open := f.open(t, lockedVolumes(disks, func() { flushes++ }))
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	if _, err := open[1].WriteAt([]byte("x"), 5000); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		came uint64
		want int // flushes of disks
	}{
		{"a commit", 0, 3},
		{"one who came before it began", 0, 0},
		{"one who came after", 1, 1},
		{"another", 1, 0},
		{"one who came last", 2, 1},
	} {
		flushes = 0
		if err := p.syncFor(c.came); err != nil || flushes != c.want {
			t.Errorf("%s: %d flushes, not %d: %v", c.what, flushes, c.want, err)
		}
	}
	if err := p.StopWriting(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNotFlushedIsCommittedInAWhile(t *testing.T) {
	f, disks := newThinPool(256, 100, 4096, 80_000, 1)
	p, open := f.open(t, lockedVolumes(disks, nil))
	p.within = time.Millisecond
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	if _, err := open[1].WriteAt([]byte("x"), 5000); err != nil {
		t.Fatal(err)
	}
	f.contents[1][5000] = 'x'
	for committed := false; !committed; runtime.Gosched() {
		p.making.Lock()
		committed = !p.tx.Pending()
		p.making.Unlock()
	}
	_, open = f.open(t, ramVolumes(disks))
	f.check(t, "opened by another", open)
	if err := p.StopWriting(); err != nil {
		t.Fatal(err)
	}
}

func TestFullMetadataRefuseAWriteAndNothingElse(t *testing.T) {
	f, disks := newThinPool(115, 4000, 512, 2_000_000, 1)
	p, open := f.open(t, ramVolumes(disks))
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	v, full := open[1], 0
	for range 3000 {
		off := 512 * rand.IntN(3900)
		b := random(512)
		n, err := v.WriteAt(b, int64(off))
		if err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if err != nil {
			full++
		}
		copy(f.contents[1][off:], b[:n])
	}
	if full == 0 {
		t.Error("the metadata did not get full")
	}
	f.check(t, "full", open)
	if err := p.StopWriting(); err != nil {
		t.Fatal(err)
	}
	checkPool(t, "full", f, disks)
	thinCheckTool(t, "full", disks)
}

func TestAPoolThatIsNotRightIsNotWritten(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *ThinPool)
		want   string
	}{
		"needs check": {func(p *ThinPool) { p.NeedsCheck = true }, "need a check"},
		"held":        {func(p *ThinPool) { p.heldRoot = 9 }, "held"},
		"flags":       {func(p *ThinPool) { p.superblock[4] = 4 }, "unknown flags"},
		"new flags":   {func(p *ThinPool) { p.superblock[356] = 1 }, "unknown flags"},
		"restricted":  {func(p *ThinPool) { p.Restrict("messages", "") }, "messages"},
		"data":        {func(p *ThinPool) { p.chunks-- }, "smaller"},
	} {
		f, disks := newThinPool(256, 100, 4096, 80_000, 1)
		p, open := f.open(t, ramVolumes(disks))
		if reason := p.ReadOnlyReason(); reason != "" {
			t.Fatal(reason)
		}
		if _, err := open[1].WriteAt([]byte{1}, 0); !errors.Is(err, mapping.ErrNotWritable) {
			t.Error(err)
		}
		c.change(p)
		if reason := p.ReadOnlyReason(); !bytes.Contains([]byte(reason), []byte(c.want)) {
			t.Errorf("%s: %q", name, reason)
		}
	}
	f, disks := newThinPool(256, 100, 4096, 80_000, 1)
	p, _ := f.open(t, ramVolumes(disks))
	disks[metaDisk][7*4096+16] ^= 3 // a bitmap, without its checksum
	if err := p.StartWriting(); !errors.Is(err, ErrThinPool) {
		t.Errorf("damaged: %v", err)
	}
	f, disks = newThinPool(256, 100, 4096, 80_000, 1)
	p, _ = f.open(t, ramVolumes(disks))
	f.snapshot(t, disks, 1, 2)
	if err := p.StartWriting(); !errors.Is(err, ErrThinPoolChanged) {
		t.Errorf("changed by another: %v", err)
	}
}

// With many snapshots, counts are in trees. One change of a mapping may then change many of them.
func TestMetadataThatGetFullWithSnapshotsNeverFailACommit(t *testing.T) {
	testenv.Long(t)
	f, disks := newThinPool(170, 17_000, 512, 1_000_000, 1)
	full := 0
	for id := uint64(1); id < 9; id++ {
		p, open := f.open(t, ramVolumes(disks))
		if err := p.StartWriting(); err != nil {
			t.Fatal(err)
		}
		for i := range 600 {
			k := 1 + rand.Uint64N(id)
			off := 512 * rand.IntN(1900)
			b := random(512 * (1 + rand.IntN(3)))
			n, err := open[k].WriteAt(b, int64(off))
			if err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			if err != nil {
				full++
			}
			copy(f.contents[k][off:], b[:n])
			if i%40 == 0 {
				if err := open[k].PunchHole(int64(off), 512); err != nil && !errors.Is(err, ErrFull) {
					t.Fatal(err)
				} else if err == nil {
					clear(f.contents[k][off : off+512])
				}
			}
		}
		if err := p.StopWriting(); err != nil {
			t.Fatal(err)
		}
		f.snapshot(t, disks, 1+rand.Uint64N(id), id+1)
		checkPool(t, "full", f, disks)
		thinCheckTool(t, "full", disks)
	}
	if full == 0 {
		t.Error("the metadata did not get full")
	}
	_, open := f.open(t, ramVolumes(disks))
	f.check(t, "opened anew", open)
}

// Between two of our writers another may write twice, and so bring back every number in the superblock.
func TestAPoolIsReadAnewBeforeItIsWritten(t *testing.T) {
	f, disks := newThinPool(256, 100, 4096, 80_000, 1)
	session := func(change func(v *thin) error) {
		t.Helper()
		p, open := f.open(t, ramVolumes(disks))
		if err := errors.Join(p.StartWriting(), change(open[1]), p.StopWriting()); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 { // until each change frees what the next takes
		session(func(v *thin) error { return v.PunchHole(0, 80_000) })
		session(func(v *thin) error { _, err := v.WriteAt(bytes.Repeat([]byte{1}, 4096), 8192); return err })
	}
	p, open := f.open(t, ramVolumes(disks))
	if _, err := open[1].ReadAt(make([]byte, 80_000), 0); err != nil {
		t.Fatal(err)
	}
	was := bytes.Clone(disks[metaDisk][:4096])
	session(func(v *thin) error { return v.PunchHole(0, 80_000) })
	session(func(v *thin) error { _, err := v.WriteAt(bytes.Repeat([]byte{2}, 4096), 16384); return err })
	if !bytes.Equal(was, disks[metaDisk][:4096]) {
		t.Fatal("the superblock is another, so this tests nothing")
	}
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	if _, err := open[1].WriteAt([]byte{3}, 16385); err != nil {
		t.Fatal(err)
	}
	if err := p.StopWriting(); err != nil {
		t.Fatal(err)
	}
	copy(f.contents[1][16384:], bytes.Repeat([]byte{2}, 4096))
	f.contents[1][16385] = 3
	_, open = f.open(t, ramVolumes(disks))
	f.check(t, "written by two", open)
	checkPool(t, "written by two", f, disks)
}

func TestAPoolIsNotWrittenOnAfterItFailed(t *testing.T) {
	f, disks := newThinPool(256, 100, 4096, 80_000, 1)
	left := 1 << 30
	p, open := f.open(t, func(i int) mapping.Volume {
		return Device(failing{ram{&disks[i]}, &left, false}, 0, disks[i].Size())
	})
	if err := p.StartWriting(); err != nil {
		t.Fatal(err)
	}
	if _, err := open[1].WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	left = 1 // and then the first block of metadata fails, once
	if err := p.StopWriting(); !errors.Is(err, errFailing) {
		t.Fatal(err)
	}
	left = 1 << 30
	if err := p.StartWriting(); !errors.Is(err, ErrThinPoolChanged) {
		t.Errorf("started again: %v", err)
	}
	checkPool(t, "failed", f, disks)
}
