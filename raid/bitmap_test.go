package raid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// bitmapAt makes a bitmap of regions of 4096 bytes over sectors, at byte 512.
func bitmapAt(sectors uint64, bits ...byte) []byte {
	b := make([]byte, 512+256+len(bits))
	h := b[512:]
	le := binary.LittleEndian
	copy(h, "bitm")
	le.PutUint32(h[4:], 4)
	copy(h[8:], "0123456789abcdef")
	le.PutUint64(h[24:], 7)
	le.PutUint64(h[40:], sectors)
	le.PutUint32(h[52:], 4096)
	copy(h[256:], bits)
	return b
}

func TestABitmapTellsWhichRegionsAreDirty(t *testing.T) {
	b := bitmapAt(8*20+1, 0b00000110, 0, 0b00010000)
	bm, err := ReadBitmap(bytes.NewReader(b), 512, int64(len(b)-512))
	if err != nil {
		t.Fatal(err)
	}
	if string(bm.UUID[:]) != "0123456789abcdef" || bm.Events != 7 || bm.SyncSize != 161*512 {
		t.Errorf("got %+v", bm)
	}
	for _, c := range []struct {
		off, max int64
		dirty    bool
		n        int64
	}{
		{0, 1 << 20, false, 4096},
		{100, 1 << 20, false, 3996},
		{4096, 1 << 20, true, 8192},
		{4096, 100, true, 100},
		{3 * 4096, 1 << 20, false, 17 * 4096},
		{20 * 4096, 1 << 20, true, 512},
		{161 * 512, 999, true, 999},
	} {
		if dirty, n := bm.Dirty(c.off, c.max); dirty != c.dirty || n != c.n {
			t.Errorf("at %d: got %t for %d bytes, want %t for %d", c.off, dirty, n, c.dirty, c.n)
		}
	}
}

func TestABitmapThatIsNotKeptUpIsRefused(t *testing.T) {
	for name, change := range map[string]func(h []byte){
		"magic":              func(h []byte) { h[0] = 'B' },
		"version":            func(h []byte) { h[4] = 6 },
		"stale":              func(h []byte) { h[48] = 2 },
		"write error":        func(h []byte) { h[48] = 4 },
		"regions of nothing": func(h []byte) { clear(h[52:56]) },
		"too many regions":   func(h []byte) { h[46] = 1 },
		"too many sectors":   func(h []byte) { h[47] = 0xff },
		"as many as go":      func(h []byte) { binary.LittleEndian.PutUint64(h[40:], 1<<54-1) },
	} {
		b := bitmapAt(161, 0, 0, 0)
		change(b[512:])
		if _, err := ReadBitmap(bytes.NewReader(b), 512, int64(len(b)-512)); !errors.Is(err, ErrBitmap) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	b := bitmapAt(161, 0, 0, 0)
	if _, err := ReadBitmap(bytes.NewReader(b[:600]), 512, 1<<20); err == nil {
		t.Error("a bitmap that is cut short was read")
	}
}

func FuzzReadBitmap(f *testing.F) {
	f.Add(bitmapAt(161, 1, 2, 3)[512:])
	f.Fuzz(func(t *testing.T, b []byte) {
		bm, err := ReadBitmap(bytes.NewReader(b), 0, int64(len(b)))
		if err != nil {
			return
		}
		for off := int64(0); off < bm.SyncSize; {
			_, n := bm.Dirty(off, bm.SyncSize-off)
			if n <= 0 || n > bm.SyncSize-off {
				t.Fatalf("%d bytes at %d of %d", n, off, bm.SyncSize)
			}
			off += n
		}
	})
}

func TestJoinedBitmapsAreDirtyWhereEitherIs(t *testing.T) {
	of := func(size int64, bits ...byte) *Bitmap {
		return &Bitmap{SyncSize: 16 * size, Regions: Regions{Size: size, Bits: bits}}
	}
	a := of(4096, 0b1, 0)
	before := a.Clone()
	if !a.Join(of(4096, 0b100, 0b10)) || a.Regions.Bits[0] != 0b101 || a.Regions.Bits[1] != 0b10 {
		t.Errorf("got %b", a.Regions.Bits)
	}
	if a.Join(of(8192, 0xff, 0xff)) || a.Regions.Bits[0] != 0b101 {
		t.Error("bitmaps with other regions are joined")
	}
	if before.Regions.Bits[0] != 0b1 || before.Regions.Bits[1] != 0 {
		t.Error("a clone is joined too")
	}
}
