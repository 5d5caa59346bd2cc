package raid

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// survivable gives sets of legs, at most about 12 and none of them empty. Without the legs of a set nothing of the
// array is lost.
func survivable(rng *rand.Rand, g Geometry) (sets [][]int) {
	for _, set := range losses(g.Legs, max(2, g.ParityLegs())) {
		if len(set) > 0 && g.Survives(func(i int) bool { return slices.Contains(set, i) }) {
			sets = append(sets, set)
		}
	}
	rng.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	return sets[:min(len(sets), 12)]
}

func TestAnArrayIsWrittenWithoutLegsThatItCanLose(t *testing.T) {
	testenv.Long(t)
	for n := 2; n <= 8; n++ {
		for _, g := range geometries(n) {
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				g := small(rng, g)
				for _, lost := range survivable(rng, g) {
					writeWithout(t, rng, g, lost)
				}
			})
		}
	}
}

func writeWithout(t *testing.T, rng *rand.Rand, g Geometry, lost []int) {
	t.Helper()
	w := newWorld(rng, g)
	legs := w.legs()
	stale := map[int][]byte{}
	for _, i := range lost {
		stale[i] = bytes.Clone(w.disks[i].bytes)
		switch rng.IntN(3) {
		case 0: // the leg is read in parts until it is stale
			w.disks[i].gone = []span{{g.DataOffset, g.DataOffset + g.LegSize/2}}
			legs[i].Gaps = true
		default:
			legs[i] = Leg{Lost: errAway}
		}
	}
	a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, rng, a, w.data, all(len(w.data)))
	log := newMarks(512 * int64(1+rng.IntN(20)))
	if err := a.StartWriting(log); err != nil {
		t.Fatalf("without %v: %v", lost, err)
	}
	data := bytes.Clone(w.data)
	for range 40 {
		off := rng.IntN(len(data))
		n := 1 + rng.IntN(len(data)-off)
		if rng.IntN(3) > 0 {
			n = min(n, 1+rng.IntN(2000))
		}
		p := noise(rng, int64(n))
		if rng.IntN(5) == 0 {
			clear(p)
			err = a.PunchHole(int64(off), int64(n))
		} else {
			_, err = a.WriteAt(p, int64(off))
		}
		if err != nil {
			t.Fatalf("without %v: %v", lost, err)
		}
		copy(data[off:], p)
		if rng.IntN(8) == 0 {
			compare(t, rng, a, data, all(len(data)))
		}
	}
	compare(t, rng, a, data, all(len(data)))
	if err := a.StopWriting(); err != nil {
		t.Error(err)
	}
	compare(t, rng, a, data, all(len(data)))
	for i, before := range stale {
		if !bytes.Equal(w.disks[i].bytes, before) {
			t.Errorf("without %v: leg %d was written", lost, i)
		}
	}
	w.wantLegsBut(t, data, lost)
}

// wantLegsBut is wantLegs, but for legs that are lost.
func (w *world) wantLegsBut(t *testing.T, data []byte, lost []int) {
	t.Helper()
	want := make([]*disk, len(w.disks))
	for i, d := range w.disks {
		want[i] = &disk{bytes: bytes.Clone(d.bytes)}
	}
	w.table.encode(w.g, data, want)
	for i, d := range w.disks {
		if !slices.Contains(lost, i) && !bytes.Equal(d.bytes, want[i].bytes) {
			t.Fatalf("without %v: leg %d is not as it should be", lost, i)
		}
	}
}

func TestWhatALostLegWouldHoldIsNotReadForAWriteThatCanDoWithout(t *testing.T) {
	g := Geometry{Level: RAID6, Layout: ParityLast, Legs: 6, Chunk: 4096, LegSize: 1 << 16}
	for _, c := range []struct {
		lost, chunk int
		reads       int64
	}{
		{0, 0, 3}, // the chunks that stay
		{0, 1, 3}, // the old data, P and Q
		{4, 0, 2}, // the old data and Q
		{5, 0, 2}, // the old data and P
	} {
		w := newWorld(seeded(t), g)
		legs := w.legs()
		legs[c.lost] = Leg{Lost: errAway}
		a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
		if err == nil {
			err = a.StartWriting(newMarks(1 << 16))
		}
		if err == nil {
			_, err = a.WriteAt(make([]byte, 4096), int64(c.chunk)*4096)
		}
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, d := range w.disks {
			total += d.reads.Load()
		}
		if total != c.reads {
			t.Errorf("without leg %d, chunk %d is written with %d reads, want %d", c.lost, c.chunk, total, c.reads)
		}
	}
}

func TestAWriteWithoutALegThatFailsOnAnotherIsTheLast(t *testing.T) {
	for _, g := range redundant() {
		for _, lost := range survivable(seeded(t), g)[:1] {
			for broken := range g.Legs {
				if slices.Contains(lost, broken) {
					continue
				}
				w := newWorld(seeded(t), g)
				legs := w.legs()
				for _, i := range lost {
					legs[i] = Leg{Lost: errAway}
				}
				a, err := New(Config{Geometry: g, Legs: legs, InSync: All})
				log := newMarks(4096)
				if err == nil {
					err = a.StartWriting(log)
				}
				if err != nil {
					t.Fatal(err)
				}
				w.disks[broken].writeFails.Store(true)
				if _, err := a.WriteAt(make([]byte, a.Size()), 0); !errors.Is(err, errBroken) {
					t.Errorf("%v without %v: leg %d fails, and the write: %v", g, lost, broken, err)
				}
				w.disks[broken].writeFails.Store(false)
				if _, err := a.WriteAt([]byte{1}, 0); !errors.Is(err, errBroken) {
					t.Errorf("%v without %v: the next write: %v", g, lost, err)
				}
				if err := a.StopWriting(); !errors.Is(err, errBroken) || len(log.now()) == 0 {
					t.Errorf("%v without %v: StopWriting: %v; marked: %v", g, lost, err, log.now())
				}
			}
		}
	}
}

// A write that the power cuts off may leave a row whose parity does not tell what the lost leg held. Such a row is
// marked, so whoever knows what is marked reads that or nothing there; all else is as it was or as it was written.
func TestWhereverThePowerGoesWithoutALegNothingWrongIsRead(t *testing.T) {
	for _, g := range redundant() {
		t.Run(g.String(), func(t *testing.T) {
			t.Parallel()
			rng := seeded(t)
			g.LegSize = max(g.Chunk, 2048) * 8
			lost := survivable(rng, g)[0]
			w := newWorld(rng, g)
			r, log, before := recordWrites(t, rng, g, w, lost)
			for at := range len(r.ops) + 1 {
				disks := r.crash(rng, at, before)
				r.readable(t, g, log.size, at, disks, lost)
			}
		})
	}
}

// readable reads an array without some legs, and knows what is marked. What can be read must be what it may be.
func (r *recorder) readable(t *testing.T, g Geometry, region int64, at int, disks [][]byte, lost []int) {
	t.Helper()
	marks := disks[g.Legs]
	marked := false
	c := Config{Geometry: g, InSync: All, Dirty: func(off, max int64) (bool, int64) {
		dirty := marks[off/region] != 0
		marked = marked || dirty
		return dirty, min(max, (off/region+1)*region-off)
	}}
	for i, b := range disks[:g.Legs] {
		c.Legs = append(c.Legs, Leg{Volume: &disk{name: fmt.Sprint(i), bytes: b}, InSync: All})
	}
	for _, i := range lost {
		c.Legs[i] = Leg{Lost: errAway}
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for s := range r.promised {
		p := make([]byte, sector)
		marked = false
		switch _, err := a.ReadAt(p, int64(s)*sector); {
		case err == nil:
			r.holds(t, at, s, p)
		case !marked:
			t.Fatalf("power off before operation %d: sector %d is not marked, and cannot be read: %v", at, s, err)
		}
	}
}
