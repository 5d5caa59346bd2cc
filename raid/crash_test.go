package raid

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// recorder notes, in order, what is written to and flushed on all disks of a machine.
type recorder struct {
	mu  sync.Mutex
	ops []op
	// promised says, by sector of the array, what Sync has promised to be there, and what was written since.
	promised [][]promise
}

// op is a write, or without bytes a flush.
type op struct {
	disk  int
	off   int64
	bytes []byte
}

// promise is that a sector holds data, or what came later, from operation on number at on.
type promise struct {
	at   int
	data []byte
	sync bool
}

// recorded is a disk whose writes are recorded. Its contents are those that a running system sees.
type recorded struct {
	*disk
	r      *recorder
	number int
}

func (d recorded) WriteAt(p []byte, off int64) (int, error) {
	d.r.mu.Lock()
	d.r.ops = append(d.r.ops, op{d.number, off, bytes.Clone(p)})
	d.r.mu.Unlock()
	return d.disk.WriteAt(p, off)
}

func (d recorded) PunchHole(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func (d recorded) Sync() error {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	d.r.ops = append(d.r.ops, op{disk: d.number})
	return nil
}

// diskLog is a Log on a disk: a byte for each region.
type diskLog struct {
	recorded
	size int64
}

func (l diskLog) RegionSize() int64 { return l.size }

func (l diskLog) Mark(regions []int64) error {
	for _, i := range regions {
		if _, err := l.WriteAt([]byte{1}, i); err != nil {
			return err
		}
	}
	return l.Sync()
}

func (l diskLog) Unmark(regions []int64) error {
	for _, i := range regions {
		if _, err := l.WriteAt([]byte{0}, i); err != nil {
			return err
		}
	}
	return nil
}

// crash is the disks as they may be when the power goes before operation number at. What was flushed is there; of the
// rest some sectors are, in any combination.
func (r *recorder) crash(rng *rand.Rand, at int, before [][]byte) [][]byte {
	out := make([][]byte, len(before))
	for i, b := range before {
		out[i] = bytes.Clone(b)
	}
	flushed := make([]int, len(before))
	for i, o := range r.ops[:at] {
		if o.bytes == nil {
			flushed[o.disk] = i
		}
	}
	for i, o := range r.ops[:at] {
		for from := int64(0); from < int64(len(o.bytes)); {
			n := min(sector-(o.off+from)%sector, int64(len(o.bytes))-from)
			if i < flushed[o.disk] || rng.IntN(2) == 0 {
				copy(out[o.disk][o.off+from:], o.bytes[from:from+n])
			}
			from += n
		}
	}
	return out
}

// recordWrites writes to an array without the lost legs. It returns every step, the log of the array, and what the
// disks and the disk of the log held before.
func recordWrites(t *testing.T, rng *rand.Rand, g Geometry, w *world, lost []int) (r *recorder, log diskLog, before [][]byte) {
	t.Helper()
	r = &recorder{}
	logDisk := &disk{bytes: make([]byte, 512)}
	log = diskLog{recorded{logDisk, r, g.Legs}, 512 * int64(2+rng.IntN(6))}
	c := Config{Geometry: g, InSync: All}
	for i, d := range w.disks {
		before = append(before, bytes.Clone(d.bytes))
		c.Legs = append(c.Legs, Leg{Volume: recorded{d, r, i}, InSync: All})
	}
	for _, i := range lost {
		c.Legs[i] = Leg{Lost: errAway}
	}
	before = append(before, bytes.Clone(logDisk.bytes))
	a, err := New(c)
	if err == nil {
		err = a.StartWriting(log)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, rng, a, w.data)
	return r, log, before
}

func TestWhereverThePowerGoesWhatMayDifferIsMarkedAndWhatWasSyncedIsThere(t *testing.T) {
	testenv.Long(t)
	for _, g := range redundant() {
		t.Run(g.String(), func(t *testing.T) {
			t.Parallel()
			rng := seeded(t)
			g.LegSize = max(g.Chunk, 2048) * 8
			w := newWorld(rng, g)
			r, log, before := recordWrites(t, rng, g, w, nil)
			for at := range len(r.ops) + 1 {
				for range 3 {
					r.check(t, g, w, log.size, at, r.crash(rng, at, before))
				}
			}
			if bytes.ContainsFunc(log.disk.bytes, func(c rune) bool { return c != 0 }) {
				t.Error("a region is still marked at the end")
			}
		})
	}
}

// write writes to an array that is being written, and stops that. It notes what is promised of its sectors, which hold
// data.
func (r *recorder) write(t *testing.T, rng *rand.Rand, a *Array, data []byte) {
	t.Helper()
	in := a.writing.Load()
	in.quiet = 1 << 40 // only when told
	sectors := int(a.Size() / sector)
	r.promised = make([][]promise, sectors)
	for s := range sectors {
		r.promised[s] = []promise{{0, data[s*sector : (s+1)*sector], true}}
	}
	for range 25 {
		first := rng.IntN(sectors)
		n := min(1+rng.IntN(12), sectors-first)
		p := noise(rng, int64(n*sector))
		for s := range n {
			r.promised[first+s] = append(r.promised[first+s], promise{len(r.ops), p[s*sector : (s+1)*sector], false})
		}
		if _, err := a.WriteAt(p, int64(first*sector)); err != nil {
			t.Fatal(err)
		}
		switch rng.IntN(5) {
		case 0:
			if err := a.Sync(); err != nil {
				t.Fatal(err)
			}
			for s := range sectors {
				last := r.promised[s][len(r.promised[s])-1]
				r.promised[s] = append(r.promised[s], promise{len(r.ops), last.data, true})
			}
		case 1:
			in.mu.Lock()
			in.quiet = 0
			in.mu.Unlock()
			in.tidy()
			in.mu.Lock()
			in.quiet = 1 << 40
			in.mu.Unlock()
		}
	}
	if err := a.StopWriting(); err != nil {
		t.Fatal(err)
	}
}

func (r *recorder) check(t *testing.T, g Geometry, w *world, region int64, at int, disks [][]byte) {
	t.Helper()
	chunk := chunkOf(g)
	marks := disks[len(disks)-1]
	marked := func(row int, x int64, number int) bool {
		if g.Level == RAID10 {
			return marks[(int64(number)*chunk+x%chunk)/region] != 0
		}
		return marks[x/region] != 0
	}
	copyOf := map[int]int{} // leg and row of the first copy of each chunk
	for row := range w.table {
		for o := int64(0); o < chunk; o += sector {
			x := int64(row)*chunk + o
			part := func(leg int) []byte { return disks[leg][g.DataOffset+x:][:sector] }
			p, q := make([]byte, sector), make([]byte, sector)
			for leg, c := range w.table[row] {
				if c.kind != 'D' {
					continue
				}
				if s := int(int64(c.number)*chunk+o) / sector; s < len(r.promised) {
					if _, found := copyOf[s]; !found {
						copyOf[s] = leg<<32 | int(g.DataOffset+x)
						r.holds(t, at, s, part(leg))
					} else {
						first := copyOf[s]
						if !bytes.Equal(disks[first>>32][first&(1<<32-1):][:sector], part(leg)) && !marked(row, x, c.number) {
							t.Fatalf("power off before operation %d: copies of sector %d differ, and it is not marked", at, s)
						}
					}
				}
				for i, b := range part(leg) {
					p[i] ^= b
					q[i] ^= powers[c.power][b]
				}
			}
			for leg, c := range w.table[row] {
				want := p
				if c.kind == 'Q' {
					want = q
				}
				if (c.kind == 'P' || c.kind == 'Q') && !bytes.Equal(want, part(leg)) && !marked(row, x, 0) {
					t.Fatalf("power off before operation %d: %c of row %d is wrong at %d, and that is not marked", at, c.kind, row, o)
				}
			}
		}
	}
}

// holds holds that a sector is what was last synced before the power went, or what was written since.
func (r *recorder) holds(t *testing.T, at, s int, got []byte) {
	t.Helper()
	var may [][]byte
	for _, p := range r.promised[s] {
		if p.at > at || p.at == at && !p.sync {
			break
		}
		if p.sync {
			may = nil
		}
		may = append(may, p.data)
	}
	for _, data := range may {
		if bytes.Equal(got, data) {
			return
		}
	}
	t.Fatalf("power off before operation %d: sector %d holds none of the %d things it may", at, s, len(may))
}
