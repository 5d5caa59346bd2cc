package luks

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"

	"lvm2fs/mapping"
)

func TestAnyRangeCanBeRead(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		r := recipe{sector: sector, payload: 300 << 10}
		want, c := r.plain(), opened(t, r.make(t))
		rng := rand.New(rand.NewPCG(1, uint64(sector)))
		for range 400 {
			off := rng.IntN(len(want))
			n := min(rng.IntN(3*int(sector))+rng.IntN(2)*rng.IntN(200<<10), len(want)-off)
			p := make([]byte, n)
			if got, err := c.ReadAt(p, int64(off)); got != n || err != nil || !bytes.Equal(p, want[off:off+n]) {
				t.Fatalf("sectors of %d: %d bytes at %d: read %d, %v", sector, n, off, got, err)
			}
		}
	}
}

func TestALargeReadIsWholeOrEndsBeforeTheFirstBadSector(t *testing.T) {
	r := recipe{payload: 4 << 20}
	want, d := r.plain(), r.make(t)
	c := opened(t, d)
	for _, off := range []int{0, 1, 512, 12345} {
		for _, n := range []int{2*partSize - 1, 2 * partSize, 3*partSize + 77, len(want) - off} {
			p := make([]byte, n)
			if got, err := c.ReadAt(p, int64(off)); got != n || err != nil || !bytes.Equal(p, want[off:off+n]) {
				t.Fatalf("%d bytes at %d: read %d, %v", n, off, got, err)
			}
		}
	}
	for _, sector := range []int{0, 700, 5000, 8000} {
		first := sector * 512
		d.bad = func(off int64) bool { return off == payloadOffset+int64(first) || off == payloadOffset+8100*512 }
		p := make([]byte, len(want))
		if n, err := c.ReadAt(p, 0); n != first || !errors.Is(err, errBad) || !bytes.Equal(p[:n], want[:n]) {
			t.Errorf("sector %d: read %d, %v", sector, n, err)
		}
	}
}

func TestReadsStopAtTheEnd(t *testing.T) {
	r := recipe{}
	want, c := r.plain(), opened(t, r.make(t))
	p := make([]byte, 1000)
	n, err := c.ReadAt(p, c.Size()-700)
	if n != 700 || err != io.EOF || !bytes.Equal(p[:n], want[len(want)-700:]) {
		t.Error(n, err)
	}
	if n, err := c.ReadAt(p, c.Size()); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if n, err := c.ReadAt(nil, c.Size()); n != 0 || err != nil {
		t.Error(n, err)
	}
	if _, err := c.ReadAt(p, -1); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
}

func TestABadSectorFailsWhatTouchesItAndNothingElse(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		r := recipe{sector: sector}
		want, d := r.plain(), r.make(t)
		bad := 9 * sector
		c := opened(t, d)
		d.bad = func(off int64) bool { return off == payloadOffset+bad+100 }
		p := make([]byte, len(want))
		n, err := c.ReadAt(p, 0)
		if int64(n) != bad || !errors.Is(err, errBad) || !bytes.Equal(p[:n], want[:n]) {
			t.Error(n, err)
		}
		n, err = c.ReadAt(p, 100)
		if int64(n) != bad-100 || !errors.Is(err, errBad) || !bytes.Equal(p[:n], want[100:100+n]) {
			t.Error(n, err)
		}
		if n, err := c.ReadAt(p[:1], bad+sector-1); n != 0 || !errors.Is(err, errBad) {
			t.Error(n, err)
		}
		rest := p[bad+sector:]
		if n, err := c.ReadAt(rest, bad+sector); n != len(rest) || err != nil || !bytes.Equal(rest, want[bad+sector:]) {
			t.Error(n, err)
		}
	}
}

func TestAnyRangeCanBeWritten(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		r := recipe{sector: sector, payload: 300 << 10}
		d := r.make(t)
		want, w := r.plain(), opened(t, d).(mapping.WritableDevice)
		if err := w.Claim(); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(2, uint64(sector)))
		before := bytes.Clone(d.data[:payloadOffset])
		for range 200 {
			off := rng.IntN(len(want))
			n := min(rng.IntN(3*int(sector))+rng.IntN(2)*rng.IntN(200<<10), len(want)-off)
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			given := bytes.Clone(p)
			copy(want[off:], p)
			if got, err := w.WriteAt(p, int64(off)); got != n || err != nil || !bytes.Equal(p, given) {
				t.Fatalf("sectors of %d: %d bytes at %d: wrote %d, %v", sector, n, off, got, err)
			}
		}
		// Another container reads from the disk, and nothing from memory.
		if !bytes.Equal(readAll(t, opened(t, d)), want) {
			t.Error("something else was written")
		}
		if !bytes.Equal(d.data[:payloadOffset], before) {
			t.Error("the header changed")
		}
	}
}

func TestWritesToPartsOfOneSectorDoNotUndoEachOther(t *testing.T) {
	r := recipe{sector: 4096}
	d := r.make(t)
	w := opened(t, d).(mapping.WritableDevice)
	if err := w.Claim(); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			p := bytes.Repeat([]byte{byte(i + 1)}, 512)
			for range 50 {
				if _, err := w.WriteAt(p, int64(i*512)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	got := readAll(t, w)
	for i := range 8 {
		if !bytes.Equal(got[i*512:][:512], bytes.Repeat([]byte{byte(i + 1)}, 512)) {
			t.Errorf("part %d was undone", i)
		}
	}
}

func TestAWriteThatFailsTellsHowFarItGot(t *testing.T) {
	r := recipe{sector: 4096}
	d := r.make(t)
	c := opened(t, d)
	w := c.(mapping.WritableDevice)
	if _, err := w.WriteAt(make([]byte, 4096), 0); !errors.Is(err, errNoClaim) {
		t.Error(err)
	}
	if err := w.Claim(); err != nil {
		t.Fatal(err)
	}
	d.bad = func(off int64) bool { return off == payloadOffset+3*4096+5 }
	if n, err := w.WriteAt(make([]byte, 10*4096), 0); n != 3*4096 || !errors.Is(err, errBad) {
		t.Error(n, err)
	}
	if n, err := w.WriteAt(make([]byte, 10*4096), 512); n != 3*4096-512 || !errors.Is(err, errBad) {
		t.Error(n, err)
	}
	if n, err := w.WriteAt(make([]byte, 10), 3*4096+7); n != 0 || !errors.Is(err, errBad) {
		t.Error(n, err)
	}
	if n, err := w.WriteAt(make([]byte, 2), c.Size()-1); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Error(n, err)
	}
	if n, err := w.WriteAt(make([]byte, 2), -1); n != 0 || !errors.Is(err, syscall.EINVAL) {
		t.Error(n, err)
	}
}

func TestThereAreNoHolesInAContainer(t *testing.T) {
	r := recipe{}
	d := r.make(t)
	w := opened(t, d).(mapping.WritableDevice)
	if err := w.Claim(); err != nil {
		t.Fatal(err)
	}
	if err := w.PunchHole(0, 4096); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if !bytes.Equal(readAll(t, w), r.plain()) {
		t.Error("it changed")
	}
}

func TestClaimsReachTheDevice(t *testing.T) {
	d := recipe{}.make(t)
	w := opened(t, d).(mapping.WritableDevice)
	if err := errors.Join(w.Claim(), w.Claim(), w.Release()); err != nil || d.claims != 1 {
		t.Error(err, d.claims)
	}
	if err := errors.Join(w.Sync(), w.Release()); err != nil || d.claims != 0 {
		t.Error(err, d.claims)
	}
}

func TestAContainerOnWhatCannotBeWrittenCannotBeWritten(t *testing.T) {
	if _, ok := opened(t, readOnly{recipe{}.make(t)}).(mapping.WritableDevice); ok {
		t.Error("it says that it can")
	}
}

func TestEverythingIsComputed(t *testing.T) {
	c := opened(t, recipe{}.make(t))
	for _, ask := range [][2]int64{{0, 1}, {5, 1 << 40}, {c.Size() - 1, 512}} {
		e, err := c.Map(ask[0], ask[1])
		if err != nil || e.Kind != mapping.Computed || e.Length != min(ask[1], c.Size()-ask[0]) {
			t.Error(ask, e, err)
		}
	}
}

func TestAClosedContainerHasNoKeys(t *testing.T) {
	d := recipe{}.make(t)
	c := opened(t, d).(*writable)
	if err := c.Claim(); err != nil {
		t.Fatal(err)
	}
	ciphers := []single{c.mode.data.(single), c.mode.tweak.(single)}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range ciphers {
		if s.state.Bytes() != nil {
			t.Error("the key of a cipher is still there")
		}
	}
	before := bytes.Clone(d.data)
	if _, err := c.ReadAt(make([]byte, 10), 0); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.WriteAt(make([]byte, 10), 0); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if c.mode != nil || !bytes.Equal(d.data, before) {
		t.Error("still there")
	}
}

func BenchmarkRead(b *testing.B) {
	d := recipe{payload: 16 << 20}.make(b)
	c := opened(b, d)
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	begun := processorTime(b)
	off := int64(0)
	for b.Loop() {
		if _, err := c.ReadAt(p, off); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(p))) % c.Size()
	}
	reportPerCore(b, int64(len(p)), processorTime(b)-begun)
}
