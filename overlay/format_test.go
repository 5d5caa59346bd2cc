package overlay

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"lvm2fs/mapping"
)

func TestTheHeaderSaysWhatItWasGiven(t *testing.T) {
	id := testIdentity(12345 * 512)
	h, err := newHeader(id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeHeader(h.encode()[:sectorSize])
	if err != nil || got.Identity != id || got.id != h.id || !got.created.Equal(h.created) {
		t.Errorf("got %+v, %v, want %+v", got, err, h)
	}
}

func TestAChangedBitOfTheHeaderIsNoticed(t *testing.T) {
	h, err := newHeader(testIdentity(1 << 30))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range sectorSize * 8 {
		p := h.encode()[:sectorSize]
		p[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeHeader(p); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
}

func TestAVolumeTooLargeForAFileIsRefused(t *testing.T) {
	for size, ok := range map[int64]bool{0: false, -1: false, 1: true, 1 << 60: true, math.MaxInt64: true} {
		if _, err := newHeader(testIdentity(size)); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestAChangedBitOfTheMapMakesItsAreaUnreadableAndNoOther(t *testing.T) {
	b := smallBase()
	for bit := 0; bit < sectorSize*8; bit += 37 {
		d, _, v := createOver(t, b)
		other := random(blockSize)
		for _, at := range []int64{0, areaSize} {
			if _, err := v.WriteAt(other, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Sync(); err != nil {
			t.Fatal(err)
		}
		s := d.sectors[headerSize/sectorSize]
		s[bit/8] ^= 1 << (bit % 8)
		d.sectors[headerSize/sectorSize] = s
		o, v := openOver(t, d, b)
		p := make([]byte, blockSize)
		if _, err := v.ReadAt(p, blockSize); !errors.Is(err, ErrDamaged) || !errors.Is(err, mapping.ErrMissing) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		e, err := v.Map(0, math.MaxInt64)
		if err != nil || e.Kind != mapping.Missing || e.Length != areaSize {
			t.Fatalf("bit %d: %+v, %v", bit, e, err)
		}
		for _, err := range []error{func() error { _, err := v.WriteAt(p, 0); return err }(), v.PunchHole(0, blockSize)} {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d: %v", bit, err)
			}
		}
		if _, err := v.ReadAt(p, areaSize); err != nil || !bytes.Equal(p, other) {
			t.Fatalf("bit %d: the other area: %v", bit, err)
		}
		// New places must not be where those of the damaged area may be.
		if _, err := v.WriteAt(random(2*blockSize), 2*areaSize); err != nil {
			t.Fatal(err)
		}
		if err := v.Sync(); err != nil {
			t.Fatal(err)
		}
		if u, err := o.Usage(); err != nil || u.Damaged != areaSize || u.Written != 3*blockSize {
			t.Fatalf("%+v, %v", u, err)
		}
		s[bit/8] ^= 1 << (bit % 8)
		d.sectors[headerSize/sectorSize] = s
		_, mended := openOver(t, d, b)
		if _, err := mended.ReadAt(p, 0); err != nil || !bytes.Equal(p, other) {
			t.Fatalf("bit %d: the area, mended: %v", bit, err)
		}
	}
}

func TestAFileThatWasCutShortIsRefused(t *testing.T) {
	b := smallBase()
	d, _, v := createOver(t, b)
	if _, err := v.WriteAt(random(5*blockSize), areaSize); err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	d.size--
	if _, err := Open(d, true); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	for _, size := range []int64{0, 100} {
		d.size = size
		if _, err := Open(d, true); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}
}

func TestTwoAreasInOnePlaceAreRefused(t *testing.T) {
	b := smallBase()
	d, o, v := createOver(t, b)
	if _, err := v.WriteAt(random(blockSize), 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	a, err := o.lookup(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(a.encode(o.head.id, 1), o.sector(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d, true); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestASectorOfAnotherOverlayIsNotTakenForOnesOwn(t *testing.T) {
	b := smallBase()
	d, o, _ := createOver(t, b)
	_, other, _ := createOver(t, b)
	if _, err := d.WriteAt((&area{place: 1}).encode(other.head.id, 0), o.sector(0)); err != nil {
		t.Fatal(err)
	}
	_, v := openOver(t, d, b)
	if _, err := v.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestStatesOfBlocksAreKept(t *testing.T) {
	var a area
	want := make([]state, areaBlocks)
	for i := range want {
		want[i] = state(i / 7 % 4)
		a.set(i, zeroed)
		a.set(i, want[i])
	}
	a.place = 1
	l := layoutOf(areaSize)
	got, err := l.decode(a.encode(fileID{}, 0), fileID{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		end := i
		for end < len(want) && want[end] == want[i] {
			end++
		}
		if got.at(i) != want[i] || got.run(i, areaBlocks) != end {
			t.Fatalf("block %d is %d up to %d", i, got.at(i), got.run(i, areaBlocks))
		}
	}
}

func TestPresenceFindsTheNextOfFewAndOfMany(t *testing.T) {
	for _, areas := range []int64{1, 63, 64, 65, 1000, maxPresenceBits*3 + 5} {
		p := newPresence(areas)
		want := []int64{0, areas / 3, areas / 2, areas - 1}
		for _, a := range want {
			p.add(a)
		}
		for from := int64(0); from < areas; from += max(1, areas/997) {
			next := p.next(from)
			i, _ := slices.BinarySearch(want, from)
			if next < from || next > want[i] || want[i]-next >= p.granule && !p.has(next) {
				t.Fatalf("%d areas: from %d: %d, want %d", areas, from, next, want[i])
			}
		}
		if got := p.next(areas); got != areas {
			t.Errorf("behind the end: %d", got)
		}
	}
}

// FuzzOpen opens arbitrary bytes as an overlay. Whatever they are, each read ends, and is whole or an error.
func FuzzOpen(f *testing.F) {
	b := smallBase()
	d, _, v := createOver(f, b)
	if _, err := v.WriteAt(make([]byte, 3*blockSize), areaSize-blockSize); err != nil {
		f.Fatal(err)
	}
	if err := v.Sync(); err != nil {
		f.Fatal(err)
	}
	seed := make([]byte, headerSize+3*sectorSize)
	_, _ = d.ReadAt(seed, 0)
	f.Add(seed, true)
	f.Add(seed, false)
	f.Fuzz(func(t *testing.T, p []byte, sums bool) {
		d := newDisk()
		if sums { // what is behind a checksum is to be reached, too
			p = sealed(p)
		}
		if _, err := d.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
		o, err := Open(d, true)
		if err != nil {
			return
		}
		_, _ = o.Usage()
		v, err := o.Over(hole(o.Identity().Size))
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range []int64{0, areaSize - 1, v.Size() / 2, v.Size() - 1} {
			if off < 0 || off >= v.Size() {
				continue
			}
			e, err := v.Map(off, v.Size()-off)
			if err == nil && (e.Length <= 0 || e.Length > v.Size()-off) {
				t.Fatalf("at %d: %+v", off, e)
			}
			buf := make([]byte, 9000)
			if n, err := v.ReadAt(buf, off); n < len(buf) && err == nil {
				t.Fatalf("at %d: %d bytes and no error", off, n)
			}
			_, _ = v.WriteAt(buf[:min(5000, v.Size()-off)], off)
		}
		_ = v.Sync()
	})
}

// sealed has right checksums and, in its sectors, the id of the header.
func sealed(p []byte) []byte {
	p = bytes.Clone(p)
	if len(p) < headerSize {
		return p
	}
	h := header{}
	copy(h.id[:], p[16:])
	putSum(p[12:], headerSum(p[:sectorSize]))
	for at := headerSize; at+sectorSize <= len(p); at += sectorSize {
		copy(p[at+24:at+32], h.id[:8])
		putSum(p[at:], sectorSum(p[at:at+sectorSize]))
	}
	return p
}
