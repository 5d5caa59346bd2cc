package dm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// family is an origin and its snapshots on disks, and what they should hold.
type family struct {
	chunks []int64 // of the snapshots, in bytes
	sizes  []int64
	origin memory
	views  []memory // of the snapshots; nil: given up
}

const originDisk = 0 // those of the stores follow

// newFamily makes an origin with a snapshot for each of the stores, none of which was ever activated.
func newFamily(originSize int, stores ...testStore) (*family, []memory) {
	f := &family{origin: random(originSize)}
	disks := []memory{bytes.Clone(f.origin)}
	for _, s := range stores {
		cow := random(s.chunks*s.chunkSize + s.chunkSize/2)
		clear(cow[:min(s.chunkSize, 4096)])
		f.chunks = append(f.chunks, int64(s.chunkSize))
		size := min(originSize, s.size)
		if s.size == 0 {
			size = originSize
		}
		f.sizes = append(f.sizes, int64(size))
		f.views = append(f.views, bytes.Clone(f.origin[:size]))
		disks = append(disks, cow)
	}
	return f, disks
}

// ram is a disk. It has no lock, so that the race detector tells who reads what another writes meanwhile.
type ram struct{ *memory }

func (d ram) Claim() error   { return nil }
func (d ram) Release() error { return nil }
func (d ram) Sync() error    { return nil }

func (d ram) WriteAt(p []byte, off int64) (int, error) { return copy((*d.memory)[off:], p), nil }

func (d ram) PunchHole(off, n int64) error {
	clear((*d.memory)[off : off+n])
	return nil
}

type testStore struct{ chunkSize, chunks, size int }

// open is the family on disks.
func (f *family) open(t *testing.T, volume func(disk int) mapping.Volume) (*Snapshots, *Origin, []*Snapshot) {
	t.Helper()
	s := NewSnapshots(volume(originDisk))
	var views []*Snapshot
	for i, chunk := range f.chunks {
		store, err := OpenExceptionStore(volume(1+i), chunk)
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, s.Add(fmt.Sprintf("s%d", i), store, f.sizes[i]))
	}
	return s, s.Origin(), views
}

// check reads all of the family.
func (f *family) check(t *testing.T, what string, origin mapping.Volume, views []*Snapshot) {
	t.Helper()
	same := func(name string, v mapping.Volume, want memory) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Fatalf("%s: %s: %v", what, name, err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: %s: byte %d (chunk of 4 KiB %d)", what, name, i, i/4096)
			}
		}
	}
	same("origin", origin, f.origin)
	for i, v := range views {
		if f.views[i] == nil {
			if _, err := v.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrInvalidSnapshot) {
				t.Fatalf("%s: %s: %v", what, v.Name(), err)
			}
			continue
		}
		same(v.Name(), v, f.views[i])
	}
}

// changeOne makes a random change to the origin or a snapshot, and to what they should hold. It may be refused for want of room.
func (f *family) changeOne(t *testing.T, origin *Origin, views []*Snapshot) (refused bool) {
	t.Helper()
	var v mapping.Writable = origin
	contents := f.origin
	if i := rand.IntN(2 * len(views)); i < len(views) && f.views[i] != nil {
		v, contents = views[i], f.views[i]
	}
	off := rand.IntN(len(contents))
	n := min(len(contents)-off, 1+rand.IntN([]int{10, 600, 5000, 20000, 100000}[rand.IntN(5)]))
	if rand.IntN(3) == 0 {
		off -= off % 4096
		n = min(4096<<rand.IntN(4), len(contents)-off)
	}
	if rand.IntN(12) == 0 {
		err := v.PunchHole(int64(off), int64(n))
		switch {
		case err == nil:
			clear(contents[off : off+n])
		case !errors.Is(err, ErrFull) && !(v != mapping.Writable(origin) && errors.Is(err, errors.ErrUnsupported)):
			t.Fatal(err)
		}
		return err != nil
	}
	p := random(n)
	got, err := v.WriteAt(p, int64(off))
	copy(contents[off:], p[:got])
	if err != nil && !errors.Is(err, ErrFull) || err == nil && got != n {
		t.Fatal(got, err)
	}
	return err != nil
}

// model does random changes, and reads and opens anew in between.
func model(t *testing.T, f *family, disks []memory, changes int) {
	volume := func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
	s, origin, views := f.open(t, volume)
	start := func() {
		if err := s.StartWriting(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	full := 0
	for i := range changes {
		if f.changeOne(t, origin, views) {
			full++
		}
		if rand.IntN(20) == 0 {
			v, want := mapping.Volume(origin), f.origin
			if k := rand.IntN(len(views) + 1); k < len(views) && f.views[k] != nil {
				v, want = views[k], f.views[k]
			}
			off := rand.IntN(len(want))
			p := make([]byte, rand.IntN(len(want)-off))
			if _, err := v.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
				t.Fatalf("change %d: %v, or wrong bytes", i, err)
			}
		}
		switch rand.IntN(500) {
		case 0:
			f.check(t, "while open", origin, views)
			s, origin, views = f.open(t, volume)
			start()
			f.check(t, "opened anew", origin, views)
		case 1:
			if err := s.StopWriting(); err != nil {
				t.Fatal(err)
			}
			start()
		}
	}
	f.check(t, "at the end", origin, views)
	s, origin, views = f.open(t, volume)
	f.check(t, "opened anew at the end", origin, views)
	for i, v := range views {
		if f.views[i] != nil {
			checkMap(t, v, f.views[i], never)
		}
	}
	_ = s
	t.Logf("%d of %d changes were refused", full, changes)
}

func TestOriginAndSnapshotsHoldWhatWasWrittenToEach(t *testing.T) {
	testenv.Long(t)
	const size = 1<<20 + 3000
	for name, c := range map[string]struct {
		stores  []testStore
		changes int
	}{
		"one":             {[]testStore{{4096, 1000, 0}}, 2000},
		"chunk sizes":     {[]testStore{{4096, 600, 0}, {16384, 200, 0}, {65536, 60, 0}, {512, 4000, 0}, {524288, 7, 0}}, 3000},
		"full":            {[]testStore{{4096, 200, 0}, {8192, 1000, 0}}, 2500},
		"areas of 32":     {[]testStore{{512, 2300, 0}, {512, 1000, 0}}, 2500},
		"origin extended": {[]testStore{{4096, 1000, 500 << 10}, {65536, 70, 1 << 18}, {8192, 9, 0}}, 2000},
		"too small":       {[]testStore{{65536, 2, 0}, {4096, 3, 0}}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, disks := newFamily(size, c.stores...)
			model(t, f, disks, c.changes)
		})
	}
}

func FuzzSnapshotsModel(f *testing.F) {
	f.Add(uint16(200), uint16(50), uint8(3))
	f.Fuzz(func(t *testing.T, a, b uint16, shift uint8) {
		fam, disks := newFamily(300_000, testStore{4096, int(a)%400 + 3, 0}, testStore{512 << (shift % 8), int(b)%1000 + 3, 200_000})
		model(t, fam, disks, 100)
	})
}

func TestAStoreThatOthersHaveChangedIsNotWritten(t *testing.T) {
	f, disks := newFamily(64<<10, testStore{4096, 40, 0})
	volume := func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
	ours, origin, views := f.open(t, volume)
	f.check(t, "before", origin, views)
	if _, err := origin.WriteAt([]byte{1}, 0); !errors.Is(err, mapping.ErrNotWritable) {
		t.Errorf("the origin, before writing was started: %v", err)
	}
	if _, err := views[0].WriteAt([]byte{1}, 0); !errors.Is(err, mapping.ErrNotWritable) {
		t.Errorf("the snapshot, before writing was started: %v", err)
	}
	theirs, _, views := f.open(t, volume)
	if err := theirs.StartWriting(); err != nil {
		t.Fatal(err)
	}
	if _, err := views[0].WriteAt([]byte{1}, 5000); err != nil {
		t.Fatal(err)
	}
	if err := ours.StartWriting(); !errors.Is(err, ErrStoreChanged) {
		t.Error(err)
	}
}

// Each of several writers has its own range of each volume; readers of a snapshot that nobody writes see it never change.
func TestAFamilyIsWrittenAndReadAtTheSameTime(t *testing.T) {
	const size = 256 << 10
	f, disks := newFamily(size, testStore{4096, 200, 0}, testStore{16384, 40, 0}, testStore{1024, 800, 0})
	volume := func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
	s, origin, views := f.open(t, volume)
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				off := rand.IntN(size)
				p := make([]byte, 1+rand.IntN(size-off))
				if _, err := views[0].ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, f.views[0][off:off+len(p)]) {
					t.Errorf("%v, or the snapshot has changed", err)
					return
				}
			}
		})
	}
	// Ranges begin and end within chunks.
	const writersOfEach = 3
	const share = size/writersOfEach - 100
	for i, v := range []mapping.Writable{origin, views[1], views[2]} {
		want := f.volumes()[[]int{0, 2, 3}[i]]
		for k := range writersOfEach {
			want := want[k*share : (k+1)*share]
			writers.Go(func() {
				for range 60 {
					off := rand.IntN(share)
					p := random(1 + rand.IntN(min(share-off, 9000)))
					if _, err := v.WriteAt(p, int64(k*share+off)); err != nil {
						t.Error(err)
						return
					}
					copy(want[off:], p)
				}
			})
		}
	}
	writers.Wait()
	close(done)
	readers.Wait()
	f.check(t, "at the end", origin, views)
	_, origin, views = f.open(t, volume)
	f.check(t, "opened anew", origin, views)
}

func TestAHoleInASnapshotTakesNoRoom(t *testing.T) {
	f, disks := newFamily(64<<10, testStore{4096, 40, 0})
	volume := func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
	s, origin, views := f.open(t, volume)
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	v := views[0]
	if err := v.PunchHole(8192, 4096); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("where it has what the origin has: %v", err)
	}
	if _, err := v.WriteAt(f.views[0][8192:16384], 8192); err != nil {
		t.Fatal(err)
	}
	if err := v.PunchHole(9000, 5000); err != nil {
		t.Error(err)
	}
	clear(f.views[0][9000:14000])
	if used, err := v.Used(); used != 4*4096 || err != nil {
		t.Errorf("%d bytes are in use, %v", used, err)
	}
	f.check(t, "a hole", origin, views)
}

func TestAWriteThatIsRefusedHasCopiedNothing(t *testing.T) {
	f, disks := newFamily(64<<10, testStore{4096, 40, 0}, testStore{4096, 4, 0})
	volume := func(i int) mapping.Volume { return Device(ram{&disks[i]}, 0, disks[i].Size()) }
	s, origin, views := f.open(t, volume)
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	if _, err := origin.WriteAt(make([]byte, 12000), 0); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if used, err := views[0].Used(); used != 0 || err != nil {
		t.Errorf("%d bytes of the store that has room are in use, %v", used, err)
	}
}

// slowReads is a disk on which reads wait.
type slowReads struct {
	ram
	reading, read chan struct{}
}

func (d slowReads) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 1 {
		close(d.reading)
		<-d.read
	}
	return d.ram.ReadAt(p, off)
}

func TestAWriteToTheOriginWaitsForReadersOfASnapshot(t *testing.T) {
	f, disks := newFamily(64<<10, testStore{4096, 40, 0})
	d := slowReads{ram{&disks[0]}, make(chan struct{}), make(chan struct{})}
	s, origin, views := f.open(t, func(i int) mapping.Volume {
		if i == originDisk {
			return Device(d, 0, d.Size())
		}
		return Device(ram{&disks[i]}, 0, disks[i].Size())
	})
	if err := s.StartWriting(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1)
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := views[0].ReadAt(got, 5000); err != nil {
			t.Error(err)
		}
	})
	<-d.reading
	all.Go(func() {
		if _, err := origin.WriteAt([]byte{^f.origin[5000]}, 5000); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(50 * time.Millisecond)
	close(d.read)
	all.Wait()
	if got[0] != f.origin[5000] {
		t.Error("the snapshot showed what was written to the origin since")
	}
}
