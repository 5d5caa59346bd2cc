package raid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if d.writeFails.Load() {
		return 0, errBroken
	}
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.bytes[off:off+int64(len(p))], p), nil
}

func (d *disk) PunchHole(off, n int64) error {
	if d.holeless {
		return errors.ErrUnsupported
	}
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func (d *disk) Sync() error {
	if d.writeFails.Load() {
		return errBroken
	}
	return nil
}

// marks is a Log in memory.
type marks struct {
	size int64
	mu   sync.Mutex
	set  map[int64]bool
	ever map[int64]bool
	fail error
}

func newMarks(size int64) *marks {
	return &marks{size: size, set: map[int64]bool{}, ever: map[int64]bool{}}
}

func (m *marks) RegionSize() int64 { return m.size }

func (m *marks) Mark(regions []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range regions {
		m.set[i], m.ever[i] = true, true
	}
	return m.fail
}

func (m *marks) Unmark(regions []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range regions {
		delete(m.set, i)
	}
	return m.fail
}

func (m *marks) now() map[int64]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[int64]bool{}
	for i := range m.set {
		out[i] = true
	}
	return out
}

// small gives a geometry sizes for a test.
func small(rng *rand.Rand, g Geometry) Geometry {
	g.DataOffset = 512 * int64(rng.IntN(20))
	if g.Level == RAID1 {
		g.LegSize = 4096 * int64(3+rng.IntN(4))
	} else {
		g.Chunk = 512 * int64(1+rng.IntN(6))
		g.LegSize = g.Chunk * int64(g.Legs+1+rng.IntN(4))
	}
	return g
}

// writable is an array over the world's disks that can be written.
func (w *world) writable(t testing.TB, log Log) *Array {
	t.Helper()
	a, err := New(Config{Geometry: w.g, Legs: w.legs(), InSync: All})
	if err == nil {
		err = a.StartWriting(log)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wantLegs holds that the disks are what the model makes of the data.
func (w *world) wantLegs(t *testing.T, data []byte) {
	t.Helper()
	want := make([]*disk, len(w.disks))
	for i, d := range w.disks {
		want[i] = &disk{bytes: bytes.Clone(d.bytes)}
	}
	w.table.encode(w.g, data, want)
	for i, d := range w.disks {
		if !bytes.Equal(d.bytes, want[i].bytes) {
			at := 0
			for d.bytes[at] == want[i].bytes[at] {
				at++
			}
			t.Fatalf("leg %d is not as it should be at %d", i, at)
		}
	}
}

func TestWritesToEveryLayoutChangeDataCopiesAndParityAndNothingElse(t *testing.T) {
	testenv.Long(t)
	for n := 2; n <= 10; n++ {
		for _, g := range geometries(n) {
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				g := small(rng, g)
				w := newWorld(rng, g)
				before := make([][]byte, len(w.disks))
				for i, d := range w.disks {
					d.grain = 512 * int64(rng.IntN(5))
					d.holeless = rng.IntN(4) == 0
					before[i] = bytes.Clone(d.bytes)
				}
				log := newMarks(512 * int64(1+rng.IntN(20)))
				a := w.writable(t, log)
				data := bytes.Clone(w.data)
				for range 60 {
					off := rng.IntN(len(data))
					n := 1 + rng.IntN(len(data)-off)
					if rng.IntN(3) > 0 {
						n = min(n, 1+rng.IntN(2000))
					}
					if rng.IntN(5) == 0 {
						if err := a.PunchHole(int64(off), int64(n)); err != nil {
							t.Fatal(err)
						}
						clear(data[off : off+n])
					} else {
						p := noise(rng, int64(n))
						if got, err := a.WriteAt(p, int64(off)); got != n || err != nil {
							t.Fatalf("wrote %d of %d at %d: %v", got, n, off, err)
						}
						copy(data[off:], p)
					}
				}
				compare(t, rng, a, data, all(len(data)))
				w.wantLegs(t, data)
				for i, d := range w.disks {
					if !bytes.Equal(d.bytes[:g.DataOffset], before[i][:g.DataOffset]) {
						t.Errorf("leg %d was written before its data", i)
					}
				}
				if n, err := a.Verify(context.Background(), Verification{Found: func(f Finding) error { return fmt.Errorf("%+v", f) }}); err != nil {
					t.Errorf("after %d bytes: %v", n, err)
				}
				if err := a.StopWriting(); err != nil || len(log.now()) > 0 {
					t.Errorf("%v, still marked: %v", err, log.now())
				}
				if redundant := g.Level != RAID0; redundant && len(log.ever) == 0 {
					t.Error("nothing was ever marked")
				}
				if _, err := a.WriteAt([]byte{1}, 0); !errors.Is(err, mapping.ErrNotWritable) {
					t.Errorf("a write after the end: %v", err)
				}
			})
		}
	}
}

func TestWholeRowsAreWrittenWithoutReading(t *testing.T) {
	for _, g := range []Geometry{
		{Level: RAID5, Layout: LeftSymmetric, Legs: 5, Chunk: 4096, LegSize: 1 << 16},
		{Level: RAID6, Layout: ZeroRestart, Legs: 6, Chunk: 4096, LegSize: 1 << 16},
	} {
		w := newWorld(seeded(t), g)
		a := w.writable(t, newMarks(1<<16))
		if _, err := a.WriteAt(make([]byte, 8*4*4096), 4*4096); err != nil {
			t.Fatal(err)
		}
		for i, d := range w.disks {
			if n := d.reads.Load(); n != 0 {
				t.Errorf("%v: %d reads of leg %d", g, n, i)
			}
		}
	}
}

func TestASmallWriteReadsWhicheverIsLess(t *testing.T) {
	reads := func(g Geometry, n int64) (total int64) {
		w := newWorld(seeded(t), g)
		a := w.writable(t, newMarks(1<<16))
		if _, err := a.WriteAt(make([]byte, n), 0); err != nil {
			t.Fatal(err)
		}
		for _, d := range w.disks {
			total += d.reads.Load()
		}
		return total
	}
	five := Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 9, Chunk: 4096, LegSize: 1 << 16}
	six := Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 10, Chunk: 4096, LegSize: 1 << 16}
	for _, c := range []struct {
		g         Geometry
		n, chunks int64
	}{
		{five, 4096, 2},     // the old data and P
		{five, 7 * 4096, 1}, // the chunk that stays
		{six, 4096, 3},      // the old data, P and Q
		{six, 6 * 4096, 2},
	} {
		if got := reads(c.g, c.n); got != c.chunks {
			t.Errorf("%v: a write of %d bytes reads %d times, want %d", c.g, c.n, got, c.chunks)
		}
	}
}

// redundant are geometries of every kind whose legs have to agree.
func redundant() []Geometry {
	return []Geometry{
		{Level: RAID1, Legs: 3, LegSize: 1 << 16},
		{Level: RAID10, Layout: Near2, Legs: 4, Chunk: 2048, LegSize: 1 << 15},
		{Level: RAID10, Layout: Near2, Legs: 5, Chunk: 2048, LegSize: 1 << 15},
		{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 2048, LegSize: 1 << 15},
		{Level: RAID5, Layout: ParityFirst, Legs: 2, Chunk: 2048, LegSize: 1 << 15},
		{Level: RAID6, Layout: ZeroRestart, Legs: 6, Chunk: 2048, LegSize: 1 << 15},
		{Level: RAID6, Layout: LeftSymmetric6, Legs: 7, Chunk: 2048, LegSize: 1 << 15},
	}
}

func TestLegsAgreeAfterManyWritersAtOnce(t *testing.T) {
	testenv.Long(t)
	for _, g := range redundant() {
		t.Run(g.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(seeded(t), g)
			for _, d := range w.disks {
				d.lag = 50 * time.Microsecond
			}
			log := newMarks(4096)
			a := w.writable(t, log)
			a.writing.Load().quiet = 1 // so that marks come and go
			var wg sync.WaitGroup
			for i := range 6 {
				rng := seeded(t)
				wg.Go(func() {
					for range 50 {
						off := rng.Int64N(a.Size())
						n := min(1+rng.Int64N(12000), a.Size()-off)
						switch i {
						case 0:
							if _, err := a.ReadAt(make([]byte, n), off); err != nil {
								t.Error(err)
							}
						case 1:
							if err := a.Sync(); err != nil {
								t.Error(err)
							}
						case 2:
							if err := a.PunchHole(off, n); err != nil {
								t.Error(err)
							}
						default:
							if _, err := a.WriteAt(bytes.Repeat([]byte{byte(i)}, int(n)), off); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			wg.Wait()
			data := make([]byte, a.Size())
			if _, err := a.ReadAt(data, 0); err != nil {
				t.Fatal(err)
			}
			w.wantLegs(t, data)
			if err := a.StopWriting(); err != nil || len(log.now()) > 0 {
				t.Errorf("%v, still marked: %v", err, log.now())
			}
		})
	}
}

func TestOfTwoWritesToOnePlaceOneWinsOnAllLegs(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	for _, g := range redundant() {
		w := newWorld(seeded(t), g)
		for _, d := range w.disks {
			d.lag = 50 * time.Microsecond
		}
		a := w.writable(t, newMarks(4096))
		for range 25 {
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					if _, err := a.WriteAt(bytes.Repeat([]byte{byte(i)}, 1000), int64(i)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			data := make([]byte, a.Size())
			if _, err := a.ReadAt(data, 0); err != nil {
				t.Fatal(err)
			}
			w.wantLegs(t, data)
		}
	}
}

func TestAQuietRegionIsUnmarkedAndOneInUseIsNot(t *testing.T) {
	w := newWorld(seeded(t), redundant()[0])
	log := newMarks(4096)
	a := w.writable(t, log)
	in := a.writing.Load()
	write := func(off int64) {
		if _, err := a.WriteAt([]byte("x"), off); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	write(4096)
	if got := log.now(); !got[0] || !got[1] || len(got) != 2 {
		t.Fatalf("marked: %v", got)
	}
	if err := in.Enter(0, 1); err != nil {
		t.Fatal(err)
	}
	in.mu.Lock()
	in.quiet = 0
	in.mu.Unlock()
	in.tidy()
	if got := log.now(); !got[0] || got[1] {
		t.Errorf("marked: %v, want region 0, which is being written", got)
	}
	in.Leave(0, 1, nil)
	write(4096)
	if got := log.now(); !got[1] {
		t.Error("a region that was unmarked was written without a mark")
	}
}

func TestAfterAFailedWriteTheArrayTakesNoMore(t *testing.T) {
	for _, g := range redundant() {
		t.Run(g.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(seeded(t), g)
			log := newMarks(4096)
			a := w.writable(t, log)
			if _, err := a.WriteAt([]byte("good"), a.Size()-4); err != nil {
				t.Fatal(err)
			}
			if err := a.Sync(); err != nil {
				t.Fatal(err)
			}
			w.disks[1].writeFails.Store(true)
			p := make([]byte, min(4*g.Chunk*int64(g.Legs)+4096, a.Size()-8192))
			if _, err := a.WriteAt(p, 0); !errors.Is(err, errBroken) {
				t.Fatalf("got %v", err)
			}
			w.disks[1].writeFails.Store(false)
			if _, err := a.WriteAt([]byte("x"), a.Size()-1); !errors.Is(err, errBroken) {
				t.Errorf("the next write: %v", err)
			}
			if err := a.PunchHole(0, 1); !errors.Is(err, errBroken) {
				t.Errorf("the next hole: %v", err)
			}
			if err := a.Sync(); !errors.Is(err, errBroken) || !errors.Is(a.WriteError(), errBroken) {
				t.Errorf("Sync: %v, WriteError: %v", err, a.WriteError())
			}
			a.writing.Load().tidy()
			if err := a.StopWriting(); !errors.Is(err, errBroken) {
				t.Errorf("StopWriting: %v", err)
			}
			if got := log.now(); !got[0] {
				t.Error("the region where a leg failed is not marked any more")
			}
			// Of copies that differ, one and the same is read.
			first := make([]byte, 4096)
			if _, err := a.ReadAt(first, 0); err != nil {
				t.Fatal(err)
			}
			if g.Level == RAID1 && !bytes.Equal(first, w.disks[0].bytes[:4096]) {
				t.Error("not read from the first leg")
			}
			if err := a.StartWriting(log); err == nil {
				t.Error("writing could be started again")
			}
		})
	}
}

func TestALogThatFailsLetsNothingBeWritten(t *testing.T) {
	for _, g := range redundant() {
		w := newWorld(seeded(t), g)
		log := newMarks(4096)
		log.fail = errBroken
		a := w.writable(t, log)
		if _, err := a.WriteAt(make([]byte, 5000), 100); !errors.Is(err, errBroken) {
			t.Errorf("%v: got %v", g, err)
		}
		w.wantLegs(t, w.data)
		if err := a.StopWriting(); !errors.Is(err, errBroken) {
			t.Errorf("%v: StopWriting: %v", g, err)
		}
	}
}

func TestALegThatCannotBeReadIsWrittenAllTheSame(t *testing.T) {
	for _, g := range redundant() {
		t.Run(g.String(), func(t *testing.T) {
			rng := seeded(t)
			w := newWorld(rng, g)
			w.disks[1].broken = []span{{2048, 4096}, {9000, 9001}}
			a := w.writable(t, newMarks(4096))
			data := bytes.Clone(w.data)
			for range 200 {
				off := rng.IntN(len(data))
				p := noise(rng, int64(1+rng.IntN(min(5000, len(data)-off))))
				if _, err := a.WriteAt(p, int64(off)); err != nil {
					t.Fatal(err)
				}
				copy(data[off:], p)
			}
			w.wantLegs(t, data)
		})
	}
}

func TestReadsThatRebuildAreTrueWhileTheirRowsAreWritten(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	g := Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 5, Chunk: 2048, LegSize: 1 << 14}
	w := newWorld(seeded(t), g)
	w.disks[2].broken = []span{{0, endless}}
	for _, d := range w.disks {
		d.lag = 50 * time.Microsecond
	}
	a := w.writable(t, newMarks(4096))
	// Of one row the first chunk changes, and the others are read.
	const row = 3
	stripe := 3 * g.Chunk
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for k := range 200 {
				if i == 0 {
					if _, err := a.WriteAt(bytes.Repeat([]byte{byte(k)}, int(g.Chunk)), row*stripe); err != nil {
						t.Error(err)
					}
					continue
				}
				p := make([]byte, 2*g.Chunk)
				off := row*stripe + g.Chunk
				if _, err := a.ReadAt(p, off); err != nil || !bytes.Equal(p, w.data[off:off+int64(len(p))]) {
					t.Errorf("%v, or other bytes", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAnArrayThatIsNotWholeIsNotWritten(t *testing.T) {
	g := Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 4096, LegSize: 1 << 15}
	w := newWorld(seeded(t), g)
	for name, change := range map[string]func(c *Config){
		"two legs are lost":             func(c *Config) { c.Legs[1], c.Legs[2] = Leg{Lost: errAway}, Leg{Lost: errAway} },
		"one is lost, and one has gaps": func(c *Config) { c.Legs[1], c.Legs[2].Gaps = Leg{Lost: errAway}, true },
		"a leg is lost, and it is dirty": func(c *Config) {
			c.Legs[1] = Leg{Lost: errAway}
			c.Dirty = Regions{Size: 4096, Bits: []byte{1}}.Dirty
		},
		"a leg is being rebuilt":      func(c *Config) { c.Legs[1].InSync = 4096 },
		"a leg is read-only":          func(c *Config) { c.Legs[1].Volume = endlessZeros{1 << 15} },
		"its parity is not true":      func(c *Config) { c.InSync = 1 << 14 },
		"it is being reshaped":        func(c *Config) { c.Reshape = &Reshape{To: c.Geometry, Position: 3 * 4096 * 2} },
		"there is nowhere to note it": nil,
	} {
		c := Config{Geometry: g, Legs: w.legs(), InSync: All}
		var log Log = newMarks(4096)
		if change != nil {
			change(&c)
		} else {
			log = nil
		}
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.StartWriting(log); err == nil {
			t.Errorf("%s: it can be written", name)
		}
		if _, err := a.WriteAt([]byte{1}, 0); !errors.Is(err, mapping.ErrNotWritable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	a := w.writable(t, newMarks(4096))
	if _, err := a.WriteAt([]byte{1, 2}, a.Size()-1); err == nil {
		t.Error("a write beyond the end succeeded")
	}
	w.wantLegs(t, w.data)
}
