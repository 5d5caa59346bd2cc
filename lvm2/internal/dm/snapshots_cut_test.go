package dm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// moment is what a volume held when n steps had been done.
type moment struct {
	n        int
	contents memory
	flushed  bool
}

// history is what the volumes of a family held: the origin's first, then those of the snapshots.
type history [][]moment

func (f *family) volumes() []memory { return append([]memory{f.origin}, f.views...) }

func (h history) note(f *family, n int, flushed int) {
	for i, v := range f.volumes() {
		h[i] = append(h[i], moment{n, bytes.Clone(v), i == flushed})
	}
}

// possible is what a volume may hold after a cut behind n steps. That is what it held when it was last flushed, or
// later, up to the end of the change that was under way.
func possible(moments []moment, n int) []memory {
	var out []memory
	for i, m := range moments {
		if m.flushed && m.n <= n {
			out = nil
		}
		out = append(out, m.contents)
		if m.n > n && i > 0 {
			break
		}
	}
	return out
}

// write makes changes, with a flush of some volume now and then, and notes what there was at each step.
func (f *family) write(t *testing.T, u *unplugged, changes int) history {
	t.Helper()
	s, origin, views := f.open(t, u.volume)
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	h := make(history, 1+len(views))
	for i, v := range f.volumes() {
		h[i] = []moment{{0, bytes.Clone(v), true}}
	}
	for range changes {
		f.changeOne(t, origin, views)
		flushed := -1
		h.note(f, len(u.steps), flushed)
		if rand.IntN(4) == 0 {
			flushed = rand.IntN(1 + len(views))
			var v mapping.Writable = origin
			if flushed > 0 {
				v = views[flushed-1]
			}
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
			h.note(f, len(u.steps), flushed)
		}
	}
	return h
}

// reopen reads the family on disks after a cut behind n steps, and gives what it holds now.
func (f *family) reopen(t *testing.T, disks []memory, h history, n int) *family {
	t.Helper()
	_, origin, views := f.open(t, func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) })
	all := []mapping.Volume{origin}
	for _, v := range views {
		all = append(all, v)
	}
	now := &family{chunks: f.chunks, sizes: f.sizes}
	for i, v := range all {
		got := make(memory, v.Size())
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Fatalf("cut at %d: volume %d: %v", n, i, err)
		}
		may := possible(h[i], n)
		for k := range got {
			ok := false
			for _, p := range may {
				ok = ok || p[k] == got[k]
			}
			if !ok {
				t.Fatalf("cut at %d: volume %d (0 is the origin): byte %d is neither what was flushed nor what was written later", n, i, k)
			}
		}
		if i == 0 {
			now.origin = got
		} else {
			now.views = append(now.views, got)
		}
	}
	return now
}

// writtenTo is what power cuts are tried on: volumes in memory, with what they held at each step.
type writtenTo[F, H any] interface {
	write(t *testing.T, u *unplugged, changes int) H
	reopen(t *testing.T, disks []memory, h H, n int) F
}

// cutEverywhere cuts the power after each step of u, of which h tells. At every n-th of them, n being every, it
// also makes changes to what the cut left, and cuts those in again places.
func cutEverywhere[F writtenTo[F, H], H any](t *testing.T, f F, u *unplugged, h H, every, changes, again int) {
	t.Helper()
	cuts := 0
	for n := 0; n <= len(u.steps); n++ {
		after := u.cut(n)
		now := f.reopen(t, after, h, n)
		cuts++
		if n%every != 0 {
			continue
		}
		next := newUnplugged(after...)
		h := now.write(t, next, changes)
		for range again {
			n := rand.IntN(len(next.steps) + 1)
			now.reopen(t, next.cut(n), h, n)
			cuts++
		}
	}
	t.Logf("%d cuts", cuts)
}

func TestAPowerCutWhileOriginAndSnapshotsAreWritten(t *testing.T) {
	testenv.Long(t)
	for name, stores := range map[string][]testStore{
		"chunk sizes": {{4096, 60, 0}, {16384, 20, 0}},
		"areas of 32": {{512, 400, 0}, {1024, 200, 20_000}},
		"nearly full": {{4096, 12, 0}, {8192, 7, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, disks := newFamily(48<<10, stores...)
			u := newUnplugged(disks...)
			cutEverywhere(t, f, u, f.write(t, u, 20), 16, 8, 20)
		})
	}
}

// failing is a disk on which a write or a flush fails, or all from one on.
type failing struct {
	ram
	after  *int // how many succeed before
	always bool // all others fail too
}

var errFailing = errors.New("the disk failed")

func (d failing) fails() error {
	*d.after--
	if *d.after == -1 || *d.after < -1 && d.always {
		return errFailing
	}
	return nil
}

func (d failing) WriteAt(p []byte, off int64) (int, error) {
	if err := d.fails(); err != nil {
		n := len(p) / 2 / sector * sector // that much was written
		_, _ = d.ram.WriteAt(p[:n], off)
		return 0, err
	}
	return d.ram.WriteAt(p, off)
}

func (d failing) PunchHole(off, n int64) error {
	if err := d.fails(); err != nil {
		return err
	}
	return d.ram.PunchHole(off, n)
}

func (d failing) Sync() error { return d.fails() }

// After a write that fails, each byte it was about is as it was or as it should become, and all others are as they
// were, here and on disk. The same holds for what follows.
func TestAWriteThatFailsHarmsNothingElse(t *testing.T) {
	testenv.Long(t)
	for disk := range 3 {
		for _, always := range []bool{false, true} {
			failed := 0
			for after := 0; ; after++ {
				f, disks := newFamily(64<<10, testStore{4096, 60, 0}, testStore{1024, 150, 0})
				left := after
				volume := func(i int) mapping.Volume {
					if i == disk {
						return Device(failing{ram{&disks[i]}, &left, always}, 0, disks[i].Size())
					}
					return Device(ram{&disks[i]}, 0, disks[i].Size())
				}
				s, origin, views := f.open(t, volume)
				if err := s.StartWriting(); err != nil {
					t.Fatal(err)
				}
				all := []mapping.Writable{origin}
				for _, v := range views {
					all = append(all, v)
				}
				var attempts [3][]memory // what failed writes would have made of each
				for change := range 12 {
					i := change % 3
					v, want := all[i], f.volumes()[i]
					off := rand.IntN(len(want))
					p := random(min(1+rand.IntN(9000), len(want)-off))
					_, err := v.WriteAt(p, int64(off))
					if err == nil {
						copy(want[off:], p)
						continue
					}
					failed++
					if !errors.Is(err, errFailing) {
						t.Fatal(err)
					}
					got := make([]byte, len(p))
					if _, err := v.ReadAt(got, int64(off)); err != nil {
						t.Fatal(err)
					}
					for k := range got {
						if got[k] != p[k] && got[k] != want[off+k] {
							t.Fatalf("disk %d, %d writes: byte %d is neither old nor new", disk, after, off+k)
						}
					}
					copy(want[off:], got)
					tried := bytes.Clone(want)
					copy(tried[off:], p)
					attempts[i] = append(attempts[i], tried)
				}
				what := fmt.Sprintf("disk %d failed after %d, always %v", disk, after, always)
				f.check(t, what, origin, views)
				_, origin, views = f.open(t, func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) })
				for i, v := range []mapping.Volume{origin, views[0], views[1]} {
					want := f.volumes()[i]
					got := make([]byte, len(want))
					if _, err := v.ReadAt(got, 0); err != nil {
						t.Fatalf("%s, opened anew: %v", what, err)
					}
					for k := range got {
						ok := got[k] == want[k]
						for _, tried := range attempts[i] {
							ok = ok || got[k] == tried[k]
						}
						if !ok {
							t.Fatalf("%s, opened anew: volume %d (0 is the origin): byte %d", what, i, k)
						}
					}
				}
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

// A writer died. What it had not flushed is in the cache of its host, and the next writer must not build on that.
func TestAPowerCutAfterAWriterDied(t *testing.T) {
	testenv.Long(t)
	for range 25 {
		f, disks := newFamily(32<<10, testStore{4096, 40, 0}, testStore{1024, 100, 0})
		u := newUnplugged(disks...)
		died := 0
		for range 3 {
			s, origin, _ := f.open(t, u.volume)
			if err := s.StartWriting(); err != nil {
				t.Fatal(err)
			}
			died = len(u.steps)
			u.fail = rand.IntN(60)
			for range 6 {
				off := rand.IntN(len(f.origin) - 3000)
				if _, err := origin.WriteAt(random(1+rand.IntN(3000)), int64(off)); err != nil && !errors.Is(err, errUnplugged) {
					t.Fatal(err)
				}
			}
			u.fail = -1
		}
		for n := died; n <= len(u.steps); n += 1 + rand.IntN(3) {
			after := u.cut(n)
			_, _, views := f.open(t, func(i int) mapping.Volume { return Device(ram{&after[i]}, 0, after[i].Size()) })
			f.check(t, fmt.Sprintf("cut at %d", n), Device(ram{&f.origin}, 0, f.origin.Size()), views)
		}
	}
}

// The kernel writes an area as a whole. If the power fails meanwhile, later sectors of the area may be there without
// an earlier one.
func TestEntriesBehindTheEndOfTheTableStayThere(t *testing.T) {
	f, disks := newFamily(100*testChunk, testStore{testChunk, 200, 0})
	disks[1] = newStore(200, []redirection{{7, 2}})
	copy(f.views[0][7*testChunk:], disks[1][2*testChunk:3*testChunk])
	for i := 40; i < 256; i++ { // in the second sector, and so on
		at := testChunk + 16*i
		disks[1][at], disks[1][at+8] = byte(i-40), byte(i)
	}
	volume := func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
	s, origin, views := f.open(t, volume)
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	f.check(t, "before", origin, views)
	for chunk := 99; chunk > 0; chunk-- {
		p := random(100)
		if _, err := origin.WriteAt(p, int64(chunk*testChunk)); err != nil {
			t.Fatal(err)
		}
		copy(f.origin[chunk*testChunk:], p)
		_, origin, views := f.open(t, volume)
		f.check(t, fmt.Sprintf("chunk %d written", chunk), origin, views)
	}
}

func TestASnapshotIsGivenUpOnlyWhereThatIsAllowed(t *testing.T) {
	f, disks := newFamily(64<<10, testStore{4096, 8, 0}, testStore{4096, 40, 0})
	u := newUnplugged(disks...)
	s, origin, views := f.open(t, u.volume)
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	fill := func() error {
		for off := 0; off < len(f.origin); off += 4096 {
			p := random(4096)
			if _, err := origin.WriteAt(p, int64(off)); err != nil {
				return err
			}
			copy(f.origin[off:], p)
		}
		return nil
	}
	if err := fill(); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	f.check(t, "refused", origin, views)
	if err := origin.PunchHole(0, int64(len(f.origin))); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	f.check(t, "a hole refused", origin, views)
	if _, err := views[0].WriteAt(random(4096), 60<<10); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	f.check(t, "a write to the snapshot refused", origin, views)

	var given []*Snapshot
	s.GiveUp(func(s *Snapshot, err error) {
		if !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		given = append(given, s)
	})
	whole := bytes.Clone(f.views[0])
	before := len(u.steps)
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	f.views[0] = nil
	if len(given) != 1 || given[0] != views[0] || views[0].Valid() {
		t.Errorf("%v were given up", given)
	}
	f.check(t, "given up", origin, views)
	if _, err := views[0].WriteAt([]byte{1}, 0); !errors.Is(err, ErrInvalidSnapshot) {
		t.Error(err)
	}
	if err := s.StopWriting(); err != nil {
		t.Fatal(err)
	}
	if err := s.StartWriting(); err != nil {
		t.Error(err)
	}
	for n := before; n <= len(u.steps); n++ {
		after := u.cut(n)
		_, _, views := f.open(t, func(i int) mapping.Volume { return Device(ram{&after[i]}, 0, after[i].Size()) })
		f.views[0] = nil
		if views[0].Valid() {
			f.views[0] = whole
		}
		f.check(t, fmt.Sprintf("cut at %d", n), Device(ram{&f.origin}, 0, f.origin.Size()), views)
	}
}
