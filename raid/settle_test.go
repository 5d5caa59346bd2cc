package raid

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
)

// Legs differ in dirty regions. Once these are settled, the legs agree and hold what a reader saw before; elsewhere
// nothing is changed.
func TestSettlingMakesDirtyRegionsAgreeWithWhatIsRead(t *testing.T) {
	for n := 2; n <= 7; n++ {
		for _, g := range geometries(n) {
			if g.Level == RAID0 {
				continue
			}
			t.Run(g.String(), func(t *testing.T) {
				t.Parallel()
				rng := seeded(t)
				g := small(rng, g)
				w := newWorld(rng, g)
				covers := g.LegSize
				if g.Level == RAID10 {
					covers = g.Size()
				}
				region := 512 * int64(1+rng.IntN(20))
				bits := make([]byte, covers/region/8+1)
				for i := range (covers + region - 1) / region {
					if rng.IntN(2) == 0 {
						bits[i/8] |= 1 << (i % 8)
					}
				}
				regions := Regions{Size: region, Bits: bits}
				// What is dirty is spoilt: data anywhere, and so parity and copies.
				for row := range w.table {
					chunk := chunkOf(g)
					for x := int64(row) * chunk; x < int64(row+1)*chunk; x += sector {
						for i, c := range w.table[row] {
							at := x
							if g.Level == RAID10 {
								at = int64(c.number)*chunk + x%chunk
							}
							if dirty, _ := regions.Dirty(at, 1); dirty && c.kind != 0 && at < covers && rng.IntN(3) == 0 {
								copy(w.disks[i].bytes[g.DataOffset+x:][:sector], noise(rng, sector))
							}
						}
					}
				}
				a, err := New(Config{Geometry: g, Legs: w.legs(), InSync: All, Dirty: regions.Dirty})
				if err != nil {
					t.Fatal(err)
				}
				seen := make([]byte, a.Size())
				if _, err := a.ReadAt(seen, 0); err != nil {
					t.Fatal(err)
				}
				clean := slices.Clone(w.disks)
				for i, d := range w.disks {
					clean[i] = &disk{bytes: bytes.Clone(d.bytes)}
				}
				for off := int64(0); off < covers; {
					dirty, n := regions.Dirty(off, covers-off)
					if dirty {
						if err := a.Settle(off, n); err != nil {
							t.Fatal(err)
						}
					}
					off += n
				}
				if err := a.Settled(); err != nil {
					t.Fatal(err)
				}
				w.wantLegs(t, seen)
				compare(t, rng, a, seen, all(len(seen)))
				if err := a.StartWriting(newMarks(4096)); err != nil {
					t.Fatal(err)
				}
				if n, err := a.Verify(context.Background(), Verification{Found: func(f Finding) error { return fmt.Errorf("%+v", f) }}); err != nil {
					t.Errorf("after %d bytes: %v", n, err)
				}
				for row := range w.table {
					chunk := chunkOf(g)
					for x := int64(row) * chunk; x < int64(row+1)*chunk; x += sector {
						for i, c := range w.table[row] {
							at := x
							if g.Level == RAID10 {
								at = int64(c.number)*chunk + x%chunk
							}
							if dirty, _ := regions.Dirty(at, 1); !dirty && !bytes.Equal(w.disks[i].bytes[g.DataOffset+x:][:sector], clean[i].bytes[g.DataOffset+x:][:sector]) {
								t.Fatalf("leg %d was changed at %d, which is clean", i, x)
							}
						}
					}
				}
			})
		}
	}
}

func TestAnArrayWithParityThatIsDirtyIsNotWrittenBeforeItIsSettled(t *testing.T) {
	g := Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 5, Chunk: 4096, LegSize: 1 << 15}
	w := newWorld(seeded(t), g)
	regions := Regions{Size: 4096, Bits: []byte{0b10}}
	a, err := New(Config{Geometry: g, Legs: w.legs(), InSync: All, Dirty: regions.Dirty})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.StartWriting(newMarks(4096)); err == nil {
		t.Error("it can be written")
	}
	w.disks[2].writeFails.Store(true)
	w.disks[0].bytes[4096] ^= 1 // so that there is something to write
	w.disks[1].bytes[4096] ^= 2
	if err := a.Settle(0, g.LegSize); err == nil {
		if err = a.Settled(); err == nil {
			t.Error("it is settled although a leg fails")
		}
	}
	if err := a.StartWriting(newMarks(4096)); err == nil {
		t.Error("it can be written after a leg failed")
	}
}
