package raid

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

type report struct {
	leg    int
	off, n int64
}

func reporting(c *Config) func() []report {
	var mu sync.Mutex
	var out []report
	c.OnError = func(leg int, off, n int64, err error) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, report{leg, off, n})
	}
	return func() []report {
		mu.Lock()
		defer mu.Unlock()
		return out
	}
}

func TestAFailingRangeIsReadFromTheOthersAndReportedOnce(t *testing.T) {
	for _, g := range []Geometry{
		{Level: RAID1, Legs: 2, LegSize: 1 << 20},
		{Level: RAID10, Layout: Near2, Legs: 4, Chunk: 16384, LegSize: 1 << 19},
		{Level: RAID5, Layout: LeftSymmetric, Legs: 3, Chunk: 16384, LegSize: 1 << 19},
		{Level: RAID6, Layout: ZeroRestart, Legs: 5, Chunk: 16384, LegSize: 1 << 19},
	} {
		t.Run(g.String(), func(t *testing.T) {
			w := newWorld(seeded(t), g)
			w.disks[0].broken = []span{{3<<16 + 512, 3<<16 + 1024}}
			c := Config{Geometry: g, Legs: w.legs(), InSync: All}
			reports := reporting(&c)
			a, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				p := make([]byte, len(w.data))
				if n, err := a.ReadAt(p, 0); n != len(p) || err != nil || !bytes.Equal(p, w.data) {
					t.Fatalf("%d bytes, %v", n, err)
				}
			}
			got := reports()
			if len(got) != 1 || got[0].leg != 0 || got[0].off != 3<<16+512 || got[0].n > faultBlock {
				t.Errorf("reported %v", got)
			}
			err = mapping.Walk(a, 0, a.Size(), func(_ int64, e mapping.Extent) error {
				if e.Kind == mapping.Data && e.Device == mapping.Device(w.disks[0]) && e.Offset < 3<<16+1024 && e.Offset+e.Length > 3<<16+512 {
					return fmt.Errorf("Map still points into the range that fails: %+v", e)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADeadDeviceIsNotAskedForEachOfItsBlocks(t *testing.T) {
	testenv.Long(t)
	g := Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 65536, LegSize: 16 << 20}
	w := newWorld(seeded(t), g)
	w.disks[1].broken = []span{{0, endless}}
	c := Config{Geometry: g, Legs: w.legs(), InSync: All}
	reports := reporting(&c)
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(w.data))
	if _, err := a.ReadAt(p, 0); err != nil || !bytes.Equal(p, w.data) {
		t.Fatal(err)
	}
	if n := w.disks[1].reads.Load(); n > 100 {
		t.Errorf("%d reads of the dead device", n)
	}
	if n := len(reports()); n > 50 {
		t.Errorf("%d reports", n)
	}
}

func TestALegThatRecoversIsReadAgainWhereNoOtherCanHelp(t *testing.T) {
	g := Geometry{Level: RAID1, Legs: 2, LegSize: 1 << 16}
	w := newWorld(seeded(t), g)
	legs := w.legs()
	legs[1] = Leg{Lost: errAway}
	w.disks[0].broken = []span{{0, endless}}
	a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	if n, err := a.ReadAt(p, 8192); n != 0 || !errors.Is(err, errBroken) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	w.disks[0].broken = nil
	if _, err := a.ReadAt(p, 8192); err != nil || !bytes.Equal(p, w.data[8192:8192+4096]) {
		t.Fatal(err)
	}
}

func TestTwoReadsOfCopiesThatDifferAreTheSame(t *testing.T) {
	for _, g := range []Geometry{
		{Level: RAID1, Legs: 3, LegSize: 1 << 18},
		{Level: RAID10, Layout: Near2, Legs: 4, Chunk: 4096, LegSize: 1 << 17},
	} {
		w := newWorld(seeded(t), g)
		first := bytes.Clone(w.data)
		for i, d := range w.disks {
			if g.Level == RAID1 && i > 0 || g.Level == RAID10 && i%2 == 1 {
				for j := range d.bytes {
					d.bytes[j] ^= 0xff
				}
			}
		}
		a, err := New(Config{Geometry: g, Legs: w.legs(), InSync: 0})
		if err != nil {
			t.Fatal(err)
		}
		compare(t, seeded(t), a, first, all(len(first)))
	}
}

func TestReadsOfLegsInSyncAreSpreadOverThem(t *testing.T) {
	var disks [2]*disk
	for i := range disks {
		disks[i] = &disk{bytes: make([]byte, 1<<12)}
	}
	big := func(i int) Leg { return Leg{Volume: huge{disks[i]}, InSync: All} }
	c := Config{Geometry: Geometry{Level: RAID1, Legs: 2, LegSize: 4 * balanceRun}, Legs: []Leg{big(0), big(1)}, InSync: 2 * balanceRun}
	turns := func(c Config) (out []mapping.Device) {
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < a.Size(); off += balanceRun {
			e, _ := a.Map(off, a.Size()-off)
			if e.Length < balanceRun {
				t.Errorf("extent of %d bytes", e.Length)
			}
			out = append(out, e.Device)
		}
		return out
	}
	want := func(got []mapping.Device, legs ...int) {
		t.Helper()
		for i, leg := range legs {
			if got[i] != mapping.Device(disks[leg]) {
				t.Errorf("run %d is not from leg %d", i, leg)
			}
		}
	}
	want(turns(c), 0, 1, 0, 0) // beyond InSync from the first alone
	c.Legs[0].WriteMostly = true
	want(turns(c), 1, 1, 1, 1)
	c.Legs[1] = Leg{Lost: errAway}
	want(turns(c), 0, 0, 0, 0)
}

// huge is a volume of which only the mapping matters.
type huge struct{ *disk }

func (h huge) Size() int64 { return 1 << 40 }
func (h huge) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Device: h.disk, Offset: off, Length: max}, nil
}

// damaged is a volume whose metadata do not say where its bytes are.
type damaged struct{ *disk }

var errDamaged = errors.New("damaged")

func (damaged) Map(int64, int64) (mapping.Extent, error) { return mapping.Extent{}, errDamaged }
func (damaged) ReadAt([]byte, int64) (int, error)        { return 0, errDamaged }

func TestWhatNoLegCanMapIsMissing(t *testing.T) {
	w := newWorld(seeded(t), Geometry{Level: RAID1, Legs: 2, LegSize: 1 << 20})
	legs := w.legs()
	for i := range legs {
		legs[i].Volume = damaged{w.disks[i]}
	}
	a, err := New(Config{Geometry: w.g, Legs: legs, InSync: All})
	if err != nil {
		t.Fatal(err)
	}
	e, err := a.Map(0, 4096)
	if err != nil || e.Kind != mapping.Missing || !errors.Is(e.Err, mapping.ErrMissing) || !errors.Is(e.Err, errDamaged) {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := a.ReadAt(make([]byte, 1), 0); !errors.Is(err, mapping.ErrMissing) || !errors.Is(err, errDamaged) {
		t.Error(err)
	}
}

func TestSmallChunksAreReadInFewCalls(t *testing.T) {
	for _, g := range []Geometry{
		{Level: RAID0, Legs: 4, Chunk: 4096, LegSize: 1 << 18},
		{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 4096, LegSize: 1 << 18},
		{Level: RAID10, Layout: Near2, Legs: 4, Chunk: 4096, LegSize: 1 << 18},
	} {
		for _, lost := range []int{none, 1} {
			if g.Level == RAID0 && lost != none {
				continue
			}
			w := newWorld(seeded(t), g)
			legs := w.legs()
			if lost != none {
				legs[lost] = Leg{Lost: errAway}
			}
			a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.ReadAt(make([]byte, len(w.data)), 0); err != nil {
				t.Fatal(err)
			}
			for i, d := range w.disks {
				if n := d.reads.Load(); n > 4 {
					t.Errorf("%v without leg %d: %d reads of leg %d", g, lost, n, i)
				}
			}
		}
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	g := Geometry{Level: RAID6, Layout: LeftSymmetric, Legs: 6, Chunk: 4096, LegSize: 1 << 17}
	w := newWorld(seeded(t), g)
	w.disks[2].broken = randomSpans(seeded(t), g.LegSize, faultBlock)
	legs := w.legs()
	legs[4] = Leg{Lost: errAway}
	a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		rng := seeded(t)
		wg.Go(func() {
			for range 50 {
				off := rng.IntN(len(w.data))
				p := make([]byte, 1+rng.IntN(len(w.data)-off))
				if _, err := a.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, w.data[off:off+len(p)]) {
					t.Errorf("%d bytes at %d: %v", len(p), off, err)
				}
			}
		})
	}
	wg.Wait()
}
