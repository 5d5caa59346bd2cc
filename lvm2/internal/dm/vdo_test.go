package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"

	"lvm2fs/internal/lru"
	"lvm2fs/mapping"
)

// newVDO makes a pool in memory: roots at block 1, slabs from 64, and a journal of 8 blocks from 32.
func newVDO(m memory) *vdo {
	return &vdo{
		data: volumeOf(m), nonce: 99, recoveries: 3, logicalBlocks: 3 * vdoPageEntries, physical: uint64(len(m) / VDOBlock),
		slabBlocks: 1000, dataBlocks: 900, firstSlab: 64, lastSlab: 1064, rootOrigin: 1, rootCount: 2,
		journal:     vdoJournal{first: 32, size: 8, start: 1},
		openOverlay: func() (map[vdoSlot]vdoEntry, error) { return nil, nil },
		pages:       lru.New[uint64, *vdoPage](10), blocks: lru.New[uint64, []byte](10),
	}
}

func vdoMemory() memory { return random(1064 * VDOBlock) }

func (m memory) vdoPage(number uint64) []byte {
	b := m[number*VDOBlock:][:VDOBlock]
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b, 4)
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[8:], 99)
	le.PutUint64(b[16:], number)
	b[32] = 1
	return b[vdoPageHeader:]
}

func putVDOEntry(b []byte, e vdoEntry) {
	b[0] = byte(e.block>>32)<<4 | e.state
	binary.LittleEndian.PutUint32(b[1:], uint32(e.block))
}

// map0 builds the way to leaf page 0, in blocks 64 to 67, and returns the entries of the leaf.
func (m memory) map0() []byte {
	clear(m[2*VDOBlock : 3*VDOBlock]) // root 1 is empty
	page := m.vdoPage(1)
	for next := uint64(64); next < 68; next++ {
		putVDOEntry(page, vdoEntry{next, vdoUncompressed})
		page = m.vdoPage(next)
	}
	return page
}

func TestVDOBlocksAreZerosOrDataOrFragments(t *testing.T) {
	m := vdoMemory()
	leaf := m.map0()
	put := func(i int, block uint64, state uint8) { putVDOEntry(leaf[i*vdoEntrySize:], vdoEntry{block, state}) }
	want := make([]byte, 3*vdoPageEntries*VDOBlock)
	data := func(i int, block uint64) {
		put(i, block, vdoUncompressed)
		copy(want[i*VDOBlock:], m[block*VDOBlock:][:VDOBlock])
	}
	for i := range 10 {
		data(i, 100+uint64(i))
	}
	data(11, 100)
	put(12, 0, vdoUncompressed)
	compressed := m[200*VDOBlock:][:VDOBlock]
	clear(compressed)
	compressed[0] = 1
	at := 36
	for f := range 3 {
		text := bytes.Repeat([]byte{byte(f), 7}, VDOBlock/2)
		n, err := lz4.CompressBlock(text, compressed[at:], nil)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		binary.LittleEndian.PutUint16(compressed[8+2*f:], uint16(n))
		at += n
		put(20+f, 200, uint8(vdoFirstFragment+f))
		copy(want[(20+f)*VDOBlock:], text)
	}
	v := newVDO(m)
	for range 200 {
		off := rand.IntN(30 * VDOBlock)
		p := make([]byte, rand.IntN(5*VDOBlock)+1)
		if _, err := v.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
			t.Fatalf("%d bytes at %d: %v", len(p), off, err)
		}
	}
	var kinds []mapping.Kind
	if err := mapping.Walk(v, 0, 30*VDOBlock, func(_ int64, e mapping.Extent) error { kinds = append(kinds, e.Kind); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(kinds) != 6 {
		t.Errorf("extents %v", kinds)
	}
}

func TestVDOEntriesThatMakeNoSenseAreErrors(t *testing.T) {
	m := vdoMemory()
	leaf := m.map0()
	for i, e := range []vdoEntry{{5, 1}, {64 + 950, 1}, {1 << 35, 1}, {100, 0}, {0, 5}} {
		putVDOEntry(leaf[i*vdoEntrySize:], e)
		if _, err := newVDO(m).ReadAt(make([]byte, 1), int64(i*VDOBlock)); !errors.Is(err, ErrVDO) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	putVDOEntry(leaf[5*vdoEntrySize:], vdoEntry{300, vdoFirstFragment})
	if _, err := newVDO(m).ReadAt(make([]byte, 1), 5*VDOBlock); !errors.Is(err, ErrVDO) {
		t.Errorf("no compressed block: %v", err)
	}
}

func TestAVDOPageOfAnotherLifeIsEmpty(t *testing.T) {
	m := vdoMemory()
	m.map0()
	m[67*VDOBlock+8]++
	p := []byte{1}
	if _, err := newVDO(m).ReadAt(p, 0); err != nil || p[0] != 0 {
		t.Error(p, err)
	}
}

// When the pool was closed, more blocks were mapped than are found. So a page that looks empty is a damaged one.
func TestAVDOPageThatWasDamagedIsNotEmpty(t *testing.T) {
	for what, damage := range map[string]func(m memory){
		"leaf zeroed":            func(m memory) { clear(m[67*VDOBlock:][:VDOBlock]) },
		"leaf, mark":             func(m memory) { m[67*VDOBlock+32] = 0 },
		"leaf, version":          func(m memory) { m[67*VDOBlock]++ },
		"inner page zeroed":      func(m memory) { clear(m[65*VDOBlock:][:VDOBlock]) },
		"root overwritten":       func(m memory) { copy(m[VDOBlock:], random(VDOBlock)) },
		"leaf, nonce":            func(m memory) { m[67*VDOBlock+8]++ },
		"nothing":                func(memory) {},
		"root that was so empty": func(m memory) { clear(m[2*VDOBlock:][:VDOBlock]) },
	} {
		m := vdoMemory()
		leaf := m.map0()
		putVDOEntry(leaf, vdoEntry{100, vdoUncompressed})
		damage(m)
		v := newVDO(m)
		v.logicalUsed, v.mapPages = 1, 4
		v.countMap = once(func() (struct{}, error) { return struct{}{}, v.checkMapped() })
		whole := what == "nothing" || what == "root that was so empty"
		p := make([]byte, VDOBlock)
		for _, block := range []int64{0, 1} {
			if _, err := v.ReadAt(p, block*VDOBlock); whole && err != nil || !whole && !errors.Is(err, ErrVDO) {
				t.Errorf("%s: block %d: %v", what, block, err)
			}
		}
		if _, err := v.ReadAt(p, vdoPageEntries*VDOBlock); whole && err != nil {
			t.Errorf("%s: a leaf that is not there: %v", what, err)
		}
	}
}

// journalBlock writes the block of the recovery journal with sequence number q.
func (m memory) journalBlock(q, head uint64, entries map[vdoSlot]vdoEntry, count int) {
	b := m[(32+q%8)*VDOBlock:][:VDOBlock]
	clear(b)
	le := binary.LittleEndian
	le.PutUint64(b, head)
	le.PutUint64(b[8:], head)
	le.PutUint64(b[16:], q)
	le.PutUint64(b[24:], 99)
	b[32] = vdoJournalType
	le.PutUint16(b[33:], uint16(count))
	check := byte(0x80 | q/8&0x7f)
	b[51], b[52] = check, 3
	for i := range count {
		s := b[512*(1+i/vdoJournalSectorEntries):]
		s[0], s[1] = check, 3
		s[2]++
		e := s[vdoJournalSectorHeader+i%vdoJournalSectorEntries*vdoJournalEntrySize:]
		for at, entry := range entries {
			le.PutUint16(e, uint16(at.slot<<2|int(at.page>>32)<<12))
			le.PutUint32(e[2:], uint32(at.page))
			putVDOEntry(e[6:], entry)
		}
	}
}

func TestTheVDOJournalIsNewerThanTheBlockMap(t *testing.T) {
	slot := func(i int) vdoSlot { return vdoSlot{67, i} }
	one := func(i int, block uint64) map[vdoSlot]vdoEntry {
		return map[vdoSlot]vdoEntry{slot(i): {block, vdoUncompressed}}
	}
	m := vdoMemory()
	m.map0()
	clear(m[32*VDOBlock : 40*VDOBlock])
	for q := uint64(6); q < 12; q++ { // wraps around the ring of 8
		m.journalBlock(q, 7, one(int(q), 100+q), vdoJournalEntries)
	}
	m.journalBlock(12, 7, one(8, 500), 40)
	v := newVDO(m)
	overlay, err := v.replay()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]uint64{6: 0, 7: 107, 8: 500, 9: 109, 11: 111} {
		if got := overlay[slot(i)].block; got != want {
			t.Errorf("slot %d: block %d, want %d", i, got, want)
		}
	}
	t.Run("up to the first block that is torn", func(t *testing.T) {
		m[(32+10%8)*VDOBlock+512*3] ^= 0x80
		overlay, err := v.replay()
		if _, later := overlay[slot(11)]; err != nil || later || overlay[slot(10)].block != 110 || overlay[slot(8)].block != 108 {
			t.Error(overlay, err)
		}
	})
	t.Run("unless it points out of the pool", func(t *testing.T) {
		m.journalBlock(7, 7, map[vdoSlot]vdoEntry{{1 << 20, 1}: {100, 1}}, 1)
		if _, err := v.replay(); !errors.Is(err, ErrVDO) {
			t.Error(err)
		}
	})
}

func TestVDOUsageIsCountedInTheBlockMapAndTheJournal(t *testing.T) {
	m := vdoMemory()
	leaf := m.map0()
	for i, e := range []vdoEntry{{100, 1}, {101, 1}, {100, 1}, {0, 1}, {102, 2}, {102, 3}} {
		putVDOEntry(leaf[i*vdoEntrySize:], e)
	}
	v := newVDO(m)
	// 1064 blocks, of which 900 are for data; and 4 pages of the block map that are no roots.
	want := VDOUsage{Logical: 6, Data: 3, Overhead: 164 + 4, Physical: 1064}
	if u, err := CountVDO(v, 6); err != nil || u != want {
		t.Errorf("%+v, %v, want %+v", u, err, want)
	}
	if _, err := CountVDO(v, 5); !errors.Is(err, ErrTooMuch) {
		t.Errorf("of more pages than asked for: %v", err)
	}
	v.openOverlay = func() (map[vdoSlot]vdoEntry, error) {
		return map[vdoSlot]vdoEntry{{67, 0}: {}, {67, 9}: {103, 1}, {67, 10}: {104, 1}}, nil
	}
	want.Logical, want.Data = 7, 5
	if u, err := CountVDO(v, 6); err != nil || u != want {
		t.Errorf("after a crash: %+v, %v, want %+v", u, err, want)
	}
	for _, e := range []vdoEntry{{66, 2}, {5, 1}} {
		putVDOEntry(m.vdoPage(65), e)
		if _, err := CountVDO(newVDO(m), 6); !errors.Is(err, ErrVDO) {
			t.Errorf("through %+v: %v", e, err)
		}
	}
	if _, err := CountVDO(Zero(4096), 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of none: %v", err)
	}
}

func FuzzVDOJournal(f *testing.F) {
	m := vdoMemory()
	m.map0()
	m.journalBlock(1, 1, map[vdoSlot]vdoEntry{{67, 3}: {100, 1}}, 1)
	f.Add([]byte(m[32*VDOBlock : 34*VDOBlock]))
	f.Fuzz(func(t *testing.T, b []byte) {
		copy(m[32*VDOBlock:40*VDOBlock], b)
		_, _ = newVDO(m).replay()
	})
}

func FuzzVDOGeometry(f *testing.F) {
	m := vdoMemory()
	f.Add([]byte(m[:8192]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < VDOBlock {
			return
		}
		d := memory(b)
		copy(d, "dmvdo001")
		binary.LittleEndian.PutUint32(d[97:], vdoChecksum(d[:97]))
		if len(d) >= 2*VDOBlock {
			binary.LittleEndian.PutUint32(d[VDOBlock+vdoSuperBlockSize:], vdoChecksum(d[VDOBlock:][:vdoSuperBlockSize]))
		}
		if v, err := VDO(volumeOf(d)); err == nil {
			_, _ = v.ReadAt(make([]byte, 1<<16), 0)
			_, _ = CountVDO(v, 100)
		}
	})
}
