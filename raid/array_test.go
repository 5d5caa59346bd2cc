package raid

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// compare reads ranges of the array and asks Map for all of it. It compares both with the data, and with what must be
// readable.
func compare(t *testing.T, rng *rand.Rand, a *Array, data []byte, readable []bool) {
	t.Helper()
	if a.Size() != int64(len(data)) {
		t.Fatalf("size %d, want %d", a.Size(), len(data))
	}
	read := func(off, n int) {
		t.Helper()
		good := 0
		for good < n && readable[off+good] {
			good++
		}
		p := make([]byte, n)
		got, err := a.ReadAt(p, int64(off))
		if got != good || (err == nil) != (good == n) {
			t.Fatalf("read of %d at %d gave %d bytes and %v, want %d", n, off, got, err, good)
		}
		if err != nil && !errors.Is(err, mapping.ErrMissing) && !errors.Is(err, errBroken) {
			t.Fatalf("read of %d at %d: error wraps neither ErrMissing nor the leg's: %v", n, off, err)
		}
		if !bytes.Equal(p[:good], data[off:off+good]) {
			at := 0
			for p[at] == data[off+at] {
				at++
			}
			t.Fatalf("read of %d at %d differs at %d", n, off, off+at)
		}
	}
	read(0, len(data))
	for range 6 {
		off := rng.IntN(len(data))
		n := 1 + rng.IntN(len(data)-off)
		if rng.IntN(2) == 0 {
			n = min(n, 1+rng.IntN(9000))
		}
		read(off, n)
	}
	err := mapping.Walk(a, 0, a.Size(), func(off int64, e mapping.Extent) error {
		for i := off; i < off+e.Length; i++ {
			if readable[i] != (e.Kind != mapping.Missing) {
				return fmt.Errorf("%v at %d", e.Kind, i)
			}
		}
		switch e.Kind {
		case mapping.Data:
			p := make([]byte, e.Length)
			if _, err := e.Device.ReadAt(p, e.Offset); err != nil && !errors.Is(err, errBroken) {
				return err
			} else if err == nil && !bytes.Equal(p, data[off:off+e.Length]) {
				return fmt.Errorf("%d bytes mapped at %d are others", e.Length, off)
			}
		case mapping.Missing:
			if !errors.Is(e.Err, mapping.ErrMissing) {
				return fmt.Errorf("missing at %d because of %w", off, e.Err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func all(n int) []bool { return slices.Repeat([]bool{true}, n) }

var errAway = fmt.Errorf("away: %w", mapping.ErrMissing)

// losses gives all sets of at most most of n legs.
func losses(n, most int) [][]int {
	out := [][]int{nil}
	for size := 1; size <= most; size++ {
		var grow func(set []int, next int)
		grow = func(set []int, next int) {
			if len(set) == size {
				out = append(out, slices.Clone(set))
				return
			}
			for i := next; i < n; i++ {
				grow(append(set, i), i+1)
			}
		}
		grow(nil, 0)
	}
	return out
}

func TestEveryLayoutReadsWithEveryCombinationOfLostLegs(t *testing.T) {
	testenv.Long(t)
	for n := 2; n <= 10; n++ {
		for _, g := range geometries(n) {
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				g.DataOffset = 512 * int64(rng.IntN(20))
				if g.Level != RAID1 {
					g.Chunk = 512 * int64(1+rng.IntN(6))
					g.LegSize = g.Chunk * int64(n+1+rng.IntN(4))
				} else {
					g.LegSize = 4096 * int64(3+rng.IntN(4))
				}
				w := newWorld(rng, g)
				sets := losses(n, 3)
				if len(sets) > 20 {
					few := losses(n, 1)
					rest := sets[len(few):]
					rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
					sets = append(few, rest[:min(len(rest), 20)]...)
				}
				for _, set := range sets {
					legs := w.legs()
					for _, i := range set {
						legs[i] = Leg{Lost: errAway}
					}
					a, err := New(Config{Geometry: g, Legs: legs, InSync: All, OnError: func(leg int, off, n int64, err error) {
						t.Errorf("error reported of leg %d: %v", leg, err)
					}})
					if err != nil {
						t.Fatal(err)
					}
					readable := w.readable(func(leg int, x int64) bool { return !slices.Contains(set, leg) }, func(int64) bool { return true })
					compare(t, rng, a, w.data, readable)
				}
			})
		}
	}
}

// randomSpans are some ranges, of any alignment to unit, apart from each other.
func randomSpans(rng *rand.Rand, size, unit int64) []span {
	var out []span
	for at := int64(0); ; {
		start := at + unit*rng.Int64N(size/unit/2+1)
		end := start + unit*(1+rng.Int64N(size/unit/3+1))
		if end > size {
			return out
		}
		out = append(out, span{start, end})
		at = end + unit
	}
}

// runsOf says whether an offset is in one of the spans, and for how long that holds.
func runsOf(spans []span) func(off, max int64) (bool, int64) {
	return func(off, max int64) (bool, int64) {
		for _, s := range spans {
			if s.start > off {
				return false, min(max, s.start-off)
			} else if s.end > off {
				return true, min(max, s.end-off)
			}
		}
		return false, max
	}
}

// anyShape is a geometry with another offset, and another size of chunks and legs.
func anyShape(rng *rand.Rand, g Geometry) Geometry {
	g.DataOffset = 4096 * int64(rng.IntN(3))
	if g.Level != RAID1 {
		g.Chunk = 512 * int64(1+rng.IntN(12))
		g.LegSize = g.Chunk * int64(g.Legs+rng.IntN(4))
	}
	return g
}

func TestLossIsAMatterOfRanges(t *testing.T) {
	testenv.Long(t)
	for n := 2; n <= 7; n++ {
		for _, g := range geometries(n) {
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				for range 6 {
					g := anyShape(rng, g)
					w := newWorld(rng, g)
					legs := w.legs()
					staleAt := make([][]span, g.Legs)
					for i, d := range w.disks {
						if rng.IntN(3) == 0 {
							d.gone = randomSpans(rng, d.Size(), 512)
						}
						if rng.IntN(4) == 0 {
							d.broken = randomSpans(rng, d.Size(), sector)
						}
						if rng.IntN(4) == 0 {
							legs[i].InSync = 512 * rng.Int64N(g.LegSize/512)
						}
						if rng.IntN(4) == 0 {
							d.grain = 512 * int64(1+rng.IntN(20))
						}
						if rng.IntN(8) == 0 {
							cut := 512 * rng.Int64N(d.Size()/512)
							d.bytes = d.bytes[:cut]
						}
						if rng.IntN(4) == 0 {
							stale := randomSpans(rng, g.LegSize, 512)
							staleAt[i] = stale
							legs[i].Stale = runsOf(stale)
						}
						if rng.IntN(8) == 0 {
							legs[i] = Leg{Lost: errAway}
						}
					}
					c := Config{Geometry: g, Legs: legs, InSync: All}
					counted := g.LegSize // what InSync and Dirty count
					if g.Level == RAID10 {
						counted = g.Size()
					}
					if rng.IntN(2) == 0 {
						c.InSync = 512 * rng.Int64N(counted/512)
					}
					dirty := randomSpans(rng, counted, 512)
					if rng.IntN(2) == 0 {
						c.Dirty = runsOf(dirty)
					}
					inSync := func(x int64) bool { return x < c.InSync && (c.Dirty == nil || !covers(dirty, x)) }
					usable := func(broken bool) func(leg int, x int64) bool {
						return func(leg int, x int64) bool {
							at := x + g.DataOffset
							d := w.disks[leg]
							return legs[leg].Volume != nil && x < legs[leg].InSync && !covers(staleAt[leg], x) && at < d.Size() && !covers(d.gone, at) && !(broken && covers(d.broken, at))
						}
					}
					var mu sync.Mutex
					reported := map[int]int64{}
					c.OnError = func(leg int, off, n int64, err error) {
						mu.Lock()
						defer mu.Unlock()
						if !errors.Is(err, errBroken) || n <= 0 || !covers(w.disks[leg].broken, off) {
							t.Errorf("leg %d, %d bytes at %d: %v", leg, n, off, err)
						}
						reported[leg]++
					}
					a, err := New(c)
					if err != nil {
						t.Fatal(err)
					}
					readable := w.readable(usable(true), inSync)
					mapped := w.readable(usable(false), inSync)
					if !slices.Equal(readable, mapped) {
						// Map does not know what will fail. It must only promise no less than can be read.
						reading{a}.compare(t, rng, w.data, readable)
						continue
					}
					compare(t, rng, a, w.data, readable)
				}
			})
		}
	}
}

// reading is an array of which only the reads are compared.
type reading struct{ *Array }

func (r reading) compare(t *testing.T, rng *rand.Rand, data []byte, readable []bool) {
	t.Helper()
	for i := range 20 {
		off := rng.IntN(len(data))
		n := 1 + rng.IntN(len(data)-off)
		if i == 0 {
			off, n = 0, len(data)
		}
		good := 0
		for good < n && readable[off+good] {
			good++
		}
		p := make([]byte, n)
		got, err := r.ReadAt(p, int64(off))
		if got != good || (err == nil) != (good == n) || !bytes.Equal(p[:good], data[off:off+good]) {
			t.Fatalf("read of %d at %d gave %d bytes and %v, want %d", n, off, got, err, good)
		}
	}
}
