package raid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// at is a sector of a leg's volume.
type legSector struct {
	leg int
	off int64
}

// damage is what a verification should find, or has found: by sector of the legs.
type damage struct {
	Unreadable map[legSector]bool
	Blamed     map[legSector]bool // what is known to be wrong
	Rows       map[legSector]bool // the first place of a row, or of copies, in which something is wrong
}

func first(places []legSector) legSector {
	return slices.MinFunc(places, func(a, b legSector) int {
		return cmp.Or(cmp.Compare(a.leg, b.leg), cmp.Compare(a.off, b.off))
	})
}

func newDamage() damage {
	return damage{map[legSector]bool{}, map[legSector]bool{}, map[legSector]bool{}}
}

func verify(t *testing.T, a *Array) (damage, int64) {
	t.Helper()
	d := newDamage()
	compared, err := a.Verify(context.Background(), Verification{Found: func(f Finding) error {
		if f.Length <= 0 || f.Length%sector != 0 {
			t.Fatalf("finding of %d bytes", f.Length)
		}
		for o := int64(0); o < f.Length; o += sector {
			at := func(i int) legSector { return legSector{f.Places[i].Leg, f.Places[i].LegOffset + o} }
			switch {
			case f.Problem == Unreadable:
				if !errors.Is(f.Err, errBroken) {
					t.Errorf("unreadable because of %v", f.Err)
				}
				d.Unreadable[at(0)] = true
			case f.Problem == CopiesDiffer && len(f.Places) > 2, f.Problem == ParityDiffers && f.Blamed != Unknown:
				d.Blamed[at(f.Blamed)] = true
			default:
				var places []legSector
				for i := range f.Places {
					places = append(places, at(i))
				}
				d.Rows[first(places)] = true
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d, compared
}

// group is the places of a sector of the array with its other copies, or of a row.
type group struct {
	places  []legSector // x, not yet from the data offset on
	pending []legSector // of parity
	at      int64       // as InSync counts
	bytes   int64       // of the array
}

// groups are all that is to be compared in a world.
func (w *world) groups() []group {
	chunk := chunkOf(w.g)
	var out []group
	if w.g.ParityLegs() > 0 {
		for r, row := range w.table {
			for j := int64(0); j < chunk; j += sector {
				g := group{at: int64(r)*chunk + j}
				data := map[int]legSector{}
				var p, q []legSector
				for i, c := range row {
					s := legSector{i, g.at}
					switch c.kind {
					case 'D':
						data[c.number] = s
					case 'P':
						p = append(p, s)
					case 'Q':
						q = append(q, s)
					}
				}
				for _, k := range slices.Sorted(maps.Keys(data)) {
					g.places = append(g.places, data[k])
				}
				g.bytes = sector * int64(len(g.places))
				g.pending = append(p, q...)
				out = append(out, g)
			}
		}
		return out
	}
	copies := map[int64][]legSector{}
	for r, row := range w.table {
		for i, c := range row {
			for j := int64(0); c.kind == 'D' && j < chunk; j += sector {
				off := int64(c.number)*chunk + j
				copies[off] = append(copies[off], legSector{i, int64(r)*chunk + j})
			}
		}
	}
	for _, off := range slices.Sorted(maps.Keys(copies)) {
		if off < int64(len(w.data)) {
			out = append(out, group{places: copies[off], at: off, bytes: sector})
		}
	}
	return out
}

// expected is what a verification has to find, and how much it can compare.
func (w *world) expected(groups []group, usable, broken func(leg int, x int64) bool, inSync func(int64) bool, flipped map[legSector]bool) (damage, int64) {
	d := newDamage()
	var compared int64
	for _, g := range groups {
		var wrong, there []legSector
		all := append(slices.Clone(g.places), g.pending...)
		for _, s := range all {
			onLeg := legSector{s.leg, s.off + w.g.DataOffset}
			switch {
			case !usable(s.leg, s.off):
			case broken(s.leg, s.off):
				d.Unreadable[onLeg] = true
			default:
				there = append(there, onLeg)
				if flipped[onLeg] {
					wrong = append(wrong, onLeg)
				}
			}
		}
		enough := len(there) == len(all)
		if g.pending == nil {
			enough = len(there) >= 2
		}
		if !inSync(g.at) || !enough || w.g.Level == RAID0 {
			continue
		}
		compared += g.bytes
		switch {
		case len(wrong) == 0:
		case g.pending == nil && len(there) > 2 && len(wrong) == 1, w.g.Level == RAID6 && len(wrong) == 1:
			d.Blamed[wrong[0]] = true
		default:
			d.Rows[first(there)] = true
		}
	}
	return d, compared
}

// flip changes some sectors of the legs. Among sectors that are compared with each other it changes at most two, and
// one of three copies, so that it can be told what is wrong.
func (w *world) flip(rng *rand.Rand, groups []group) map[legSector]bool {
	flipped := map[legSector]bool{}
	for range 1 + rng.IntN(12) {
		g := groups[rng.IntN(len(groups))]
		all := append(slices.Clone(g.places), g.pending...)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		n := 1
		if g.pending != nil {
			n = 1 + rng.IntN(2)
		}
		touched := slices.ContainsFunc(all, func(s legSector) bool { return flipped[legSector{s.leg, s.off + w.g.DataOffset}] })
		for _, s := range all[:min(n, len(all))] {
			at := legSector{s.leg, s.off + w.g.DataOffset}
			if touched || at.off+sector > w.disks[s.leg].Size() {
				continue
			}
			b := w.disks[s.leg].bytes[at.off : at.off+sector]
			if n == 1 {
				b[rng.IntN(sector)] ^= 1 << rng.IntN(8)
			} else {
				for i, x := range noise(rng, sector) {
					b[i] ^= x
				}
			}
			flipped[at] = true
		}
	}
	return flipped
}

func TestVerifyFindsWhatWasAlteredAndNothingElse(t *testing.T) {
	for n := 2; n <= 6; n++ {
		for _, g := range geometries(n) {
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				for _, chunk := range []int64{512 * int64(1+rng.IntN(6)), 512 * int64(1+rng.IntN(40))} {
					g.DataOffset = 512 * int64(rng.IntN(20))
					g.Chunk = chunk
					g.LegSize = chunk * int64(n+1+rng.IntN(9))
					if g.Level == RAID1 {
						g.LegSize = 4096 * int64(3+rng.IntN(40))
					}
					w := newWorld(rng, g)
					a, err := New(Config{Geometry: g, Legs: w.legs(), InSync: All})
					if err != nil {
						t.Fatal(err)
					}
					always, never := func(int, int64) bool { return true }, func(int, int64) bool { return false }
					groups := w.groups()
					for range 2 {
						flipped := map[legSector]bool{}
						want, compare := w.expected(groups, always, never, func(int64) bool { return true }, flipped)
						if got, compared := verify(t, a); !gocmp.Equal(got, want, gocmp.AllowUnexported(legSector{})) || compared != compare {
							t.Fatalf("clean: %d bytes compared, want %d; %v", compared, compare, got)
						}
						before := slices.Clone(w.disks)
						for i, d := range w.disks {
							w.disks[i] = &disk{bytes: slices.Clone(d.bytes)}
						}
						flipped = w.flip(rng, groups)
						b, err := New(Config{Geometry: g, Legs: w.legs(), InSync: All})
						if err != nil {
							t.Fatal(err)
						}
						want, compare = w.expected(groups, always, never, func(int64) bool { return true }, flipped)
						got, compared := verify(t, b)
						if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(legSector{})); diff != "" || compared != compare {
							t.Fatalf("%d bytes compared, want %d\n%s", compared, compare, diff)
						}
						w.disks = before
					}
				}
			})
		}
	}
}

func TestVerifyReadsWhatCanBeUsedAndComparesWhatIsInSync(t *testing.T) {
	for n := 2; n <= 6; n++ {
		for _, g := range geometries(n) {
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				for range 4 {
					g := anyShape(rng, g)
					w := newWorld(rng, g)
					groups := w.groups()
					if len(groups) == 0 {
						continue
					}
					flipped := w.flip(rng, groups)
					legs := w.legs()
					staleAt := make([][]span, g.Legs)
					for i, d := range w.disks {
						if rng.IntN(5) == 0 {
							d.gone = randomSpans(rng, d.Size(), 512)
						}
						if rng.IntN(4) == 0 {
							d.broken = randomSpans(rng, d.Size(), 512)
						}
						if rng.IntN(6) == 0 {
							legs[i].InSync = 512 * rng.Int64N(g.LegSize/512)
						}
						if rng.IntN(4) == 0 {
							d.grain = 512 * int64(1+rng.IntN(20))
						}
						if rng.IntN(8) == 0 {
							d.bytes = d.bytes[:512*rng.Int64N(d.Size()/512)]
						}
						if rng.IntN(6) == 0 {
							staleAt[i] = randomSpans(rng, g.LegSize, 512)
							legs[i].Stale = runsOf(staleAt[i])
						}
						if rng.IntN(10) == 0 {
							legs[i] = Leg{Lost: errAway}
						}
					}
					c := Config{Geometry: g, Legs: legs, InSync: All}
					counted := g.LegSize
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
					c.OnError = func(int, int64, int64, error) { t.Error("OnError was told") }
					a, err := New(c)
					if err != nil {
						t.Fatal(err)
					}
					inSync := func(x int64) bool { return x < c.InSync && (c.Dirty == nil || !covers(dirty, x)) }
					usable := func(leg int, x int64) bool {
						at, d := x+g.DataOffset, w.disks[leg]
						return legs[leg].Volume != nil && x < legs[leg].InSync && !covers(staleAt[leg], x) && at < d.Size() && !covers(d.gone, at)
					}
					broken := func(leg int, x int64) bool { return covers(w.disks[leg].broken, x+g.DataOffset) }
					want, compare := w.expected(groups, usable, broken, inSync, flipped)
					got, compared := verify(t, a)
					if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(legSector{})); diff != "" || compared != compare {
						t.Fatalf("%d bytes compared, want %d\n%s", compared, compare, diff)
					}
				}
			})
		}
	}
}

func TestVerifyUsesTheGeometryOfEachSideOfAReshape(t *testing.T) {
	rng := seeded(t)
	for _, backwards := range []bool{false, true} {
		for _, row := range []int64{0, 1, 3, 4} {
			old := Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6, Chunk: 2048, LegSize: 2048 * 12}
			to := Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 5, Chunk: 4096, LegSize: 2048 * 12, DataOffset: old.LegSize}
			before, _ := halfReshaped(rng, old, to)
			position := row * 16384 // whole rows of both
			a, err := New(Config{Geometry: old, Legs: before.legs(), InSync: All, Reshape: &Reshape{To: to, Position: position, Backwards: backwards}})
			if err != nil {
				t.Fatal(err)
			}
			if got, compared := verify(t, a); !gocmp.Equal(got, newDamage(), gocmp.AllowUnexported(legSector{})) || compared < a.Size()-8192 {
				t.Fatalf("%d of %d bytes compared; %v", compared, a.Size(), got)
			}
			if position != 0 {
				continue
			}
			// All is in one geometry, and the bytes of the other matter to nobody.
			for _, d := range before.disks {
				other := d.bytes[old.LegSize:]
				if backwards {
					other = d.bytes[:old.LegSize]
				}
				copy(other, noise(rng, int64(len(other))))
			}
			if got, _ := verify(t, a); !gocmp.Equal(got, newDamage(), gocmp.AllowUnexported(legSector{})) {
				t.Fatalf("backwards %v: %v", backwards, got)
			}
		}
	}
}

func TestVerifyJoinsWhatLiesSideBySide(t *testing.T) {
	g := Geometry{Level: RAID1, Legs: 2, LegSize: 8 << 20}
	w := newWorld(seeded(t), g)
	for i := range w.disks[1].bytes[1<<20 : 7<<20] {
		w.disks[1].bytes[1<<20+i] ^= 0xff
	}
	a, err := New(Config{Geometry: g, Legs: w.legs(), InSync: All})
	if err != nil {
		t.Fatal(err)
	}
	var got []Finding
	var progress int64
	_, err = a.Verify(context.Background(), Verification{
		Found:    func(f Finding) error { got = append(got, f); return nil },
		Progress: func(done int64) { progress = done },
	})
	want := []Finding{{Problem: CopiesDiffer, Length: 6 << 20, Blamed: 1, Places: []Place{
		{Leg: 0, LegOffset: 1 << 20, Offset: 1 << 20},
		{Leg: 1, LegOffset: 1 << 20, Offset: 1 << 20},
	}}}
	if diff := gocmp.Diff(want, got); diff != "" || err != nil || progress != g.LegSize {
		t.Errorf("%v, progress %d\n%s", err, progress, diff)
	}
}

func TestVerifyStopsWhenItIsToldTo(t *testing.T) {
	g := Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 65536, LegSize: 8 << 20}
	w := newWorld(seeded(t), g)
	w.disks[2].bytes[5000] ^= 1
	a, err := New(Config{Geometry: g, Legs: w.legs(), InSync: All})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if _, err := a.Verify(context.Background(), Verification{Found: func(Finding) error { return stop }}); err != stop {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if _, err := a.Verify(ctx, Verification{Found: func(Finding) error { return nil }}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// BenchmarkVerify gives bytes of all legs compared a second, in memory.
func BenchmarkVerify(b *testing.B) {
	const legSize = 64 << 20
	for _, g := range []Geometry{
		{Level: RAID1, Legs: 2},
		{Level: RAID10, Layout: Near2, Legs: 4, Chunk: 64 << 10},
		{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 64 << 10},
		{Level: RAID6, Layout: ZeroRestart, Legs: 6, Chunk: 64 << 10},
		{Level: RAID6, Layout: ZeroRestart, Legs: 6, Chunk: 4 << 10},
	} {
		b.Run(fmt.Sprintf("%v/chunk=%dK", g.Level, g.Chunk>>10), func(b *testing.B) {
			g.LegSize = legSize
			var legs []Leg
			for range g.Legs {
				legs = append(legs, Leg{Volume: &ram{make([]byte, legSize)}, InSync: All})
			}
			a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(g.Legs) * legSize)
			for b.Loop() {
				if n, err := a.Verify(context.Background(), Verification{}); err != nil || n != a.Size() {
					b.Fatal(n, err)
				}
			}
		})
	}
}
