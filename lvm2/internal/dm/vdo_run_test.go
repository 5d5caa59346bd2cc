package dm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lvm2fs/mapping"
)

// sparseVDO is a pool of two roots, whose pages are made as blocks are mapped.
type sparseVDO struct {
	*vdo
	m    memory
	next uint64 // free block
}

func newSparseVDO(logicalBlocks uint64) *sparseVDO {
	m := vdoMemory()
	s := &sparseVDO{vdo: newVDO(m), m: m, next: 64}
	s.logicalBlocks = logicalBlocks
	for root := range s.rootCount {
		s.m.vdoPage(s.rootOrigin + root)
	}
	return s
}

// put maps a block, which takes up to four pages.
func (s *sparseVDO) put(block uint64, e vdoEntry) {
	for {
		at, level, err := s.descend(block / vdoPageEntries)
		if err != nil {
			panic(err)
		}
		s.pages = newVDO(s.m).pages // which may hold it as it was
		entries := s.m[at.page*VDOBlock+vdoPageHeader:]
		if level == 0 {
			putVDOEntry(entries[block%vdoPageEntries*vdoEntrySize:], e)
			return
		}
		s.m.vdoPage(s.next)
		putVDOEntry(entries[at.slot*vdoEntrySize:], vdoEntry{s.next, vdoUncompressed})
		s.next++
	}
}

// walk wants zeros all over but for the blocks that are mapped, and returns how often Map was asked.
func (s *sparseVDO) walk(t *testing.T, mapped map[int64]mapping.Kind) (asked int) {
	t.Helper()
	seen := 0
	for off := int64(0); off < s.Size(); asked++ {
		e, err := s.Map(off, s.Size()-off)
		if err != nil || e.Length <= 0 || e.Length > s.Size()-off {
			t.Fatalf("at block %d: %+v, %v", off/VDOBlock, e, err)
		}
		if e.Kind == mapping.Zero {
			for block := range mapped {
				if block*VDOBlock >= off && block*VDOBlock < off+e.Length {
					t.Fatalf("block %d is in a hole of %d bytes at %d", block, e.Length, off)
				}
			}
		}
		for at := off; e.Kind != mapping.Zero && at < off+e.Length; at += VDOBlock {
			if kind, ok := mapped[at/VDOBlock]; !ok || kind != e.Kind {
				t.Fatalf("block %d is %v, want %v", at/VDOBlock, e.Kind, kind)
			}
			seen++
		}
		off += e.Length
	}
	if seen != len(mapped) {
		t.Errorf("%d blocks of %d", seen, len(mapped))
	}
	return asked
}

const vdo16TiB = 1 << 32 // blocks

func TestAnEmptyVDOPoolIsOneHole(t *testing.T) {
	s := newSparseVDO(vdo16TiB)
	if asked := s.walk(t, nil); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	t.Run("but for what is in the journal alone", func(t *testing.T) {
		const row = 2 * 812 * 812
		block := uint64(row*2+1) * vdoPageEntries // of the second root
		overlay := map[vdoSlot]vdoEntry{{2, 0}: {64, 1}, {64, 2}: {65, 1}, {65, 0}: {66, 1}, {66, 0}: {67, 1}, {67, 3}: {100, 1}}
		for page := uint64(64); page < 68; page++ {
			clear(s.m[page*VDOBlock:][:VDOBlock])
		}
		s.openOverlay = func() (map[vdoSlot]vdoEntry, error) { return overlay, nil }
		if asked := s.walk(t, map[int64]mapping.Kind{int64(block + 3): mapping.Data}); asked > 20 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestHolesInAVDOPoolAreFoundByTheirSubtrees(t *testing.T) {
	for range 20 {
		s := newSparseVDO(vdo16TiB - rand.Uint64N(1000))
		mapped := map[int64]mapping.Kind{}
		for range 60 {
			// Near the start, near the last one, or anywhere.
			block := []uint64{rand.Uint64N(5000), rand.Uint64N(vdoPageEntries * vdoPageEntries * 4), rand.Uint64N(s.logicalBlocks)}[rand.IntN(3)]
			e := []vdoEntry{{500 + rand.Uint64N(400), vdoUncompressed}, {500, vdoFirstFragment}, {0, vdoUncompressed}}[rand.IntN(3)]
			s.put(block, e)
			delete(mapped, int64(block))
			if e.compressed() {
				mapped[int64(block)] = mapping.Computed
			} else if !e.zero() {
				mapped[int64(block)] = mapping.Data
			}
		}
		if asked := s.walk(t, mapped); asked > 5000 {
			t.Errorf("asked %d times", asked)
		}
	}
}

func TestAnAnswerOfAVDOPoolTakesABoundedNumberOfPages(t *testing.T) {
	s := newSparseVDO(100 * vdoPageEntries)
	for leaf := range uint64(100) {
		s.put(leaf*vdoPageEntries, vdoEntry{0, vdoUncompressed}) // pages of zeros
	}
	e, err := s.Map(0, s.Size())
	if want := int64(vdoRunLeaves * vdoPageEntries * VDOBlock); err != nil || e.Kind != mapping.Zero || e.Length != want {
		t.Errorf("%+v, %v, want %d bytes", e, err, want)
	}
	s.walk(t, nil)
}

func BenchmarkVDO(b *testing.B) {
	const blocks = 850 // of the slab, behind the map
	s := newSparseVDO(vdoPageEntries * 2)
	for block := range uint64(blocks - 20) {
		s.put(block, vdoEntry{s.firstSlab + 20 + block, vdoUncompressed})
	}
	for _, size := range []int{4096, 512 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			for i := range b.N {
				if _, err := s.ReadAt(p, int64(i*size%(2<<20))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
