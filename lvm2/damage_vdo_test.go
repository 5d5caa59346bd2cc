package lvm2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// vdoPool is a pool as this test decodes it: where its structures lie.
// (docs/format/09-vdo.md)
type vdoPool struct {
	t          *testing.T
	devices    []Device
	truth      map[string][]byte
	data       mapping.Volume // the data device
	header     int64          // bytes of the logical space in front of the LV
	superBlock uint64
	inner      map[uint64]bool    // pages that are no leaves
	leaves     map[uint64]int64   // page → first logical block
	compressed map[uint64][]int64 // block → logical blocks in it
}

const vdoBlockSize = 4096

func openVDOPool(t *testing.T, image string) *vdoPool {
	t.Helper()
	vg := openImages(t, testimages.Load(t, image)).VGs[0]
	p := &vdoPool{t: t, devices: devicesOf(vg), truth: readVG(t, vg), inner: map[uint64]bool{}, leaves: map[uint64]int64{}, compressed: map[uint64][]int64{}}
	for _, lv := range vg.LVs {
		if m, ok := lv.Mapping().(*metadata.VDOPool); ok {
			v, err := vg.assembly.Own(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			p.data, p.header = v, m.HeaderSize
		}
	}
	le := binary.LittleEndian
	p.superBlock = le.Uint64(p.block(0)[80:])
	super := p.block(p.superBlock)
	origin, count := le.Uint64(super[418:]), le.Uint64(super[426:])
	for root := range count {
		p.walk(origin+root, 4, int64(root), int64(count))
	}
	return p
}

func (p *vdoPool) block(number uint64) []byte {
	b := make([]byte, vdoBlockSize)
	if _, err := p.data.ReadAt(b, int64(number)*vdoBlockSize); err != nil {
		p.t.Fatal(err)
	}
	return b
}

// walk visits a page that leads to leaf, leaf + stride, leaf + 2 strides, ...
func (p *vdoPool) walk(page uint64, level int, leaf, stride int64) {
	b := p.block(page)
	if b[32] != 1 {
		return
	}
	if level > 0 {
		p.inner[page] = true
	} else {
		p.leaves[page] = leaf * 812
	}
	span := stride
	for range level - 1 {
		span *= 812
	}
	for slot := range int64(812) {
		e := b[36+5*slot:]
		state, number := e[0]&15, uint64(e[0]>>4)<<32|uint64(binary.LittleEndian.Uint32(e[1:]))
		switch {
		case state == 0:
		case level > 0:
			p.walk(number, level-1, leaf+slot*span, stride)
		case state > 1:
			p.compressed[number] = append(p.compressed[number], leaf*812+slot)
		}
	}
}

// flip turns a bit of a block of the pool.
func (p *vdoPool) flip(block uint64, at int) flipped {
	e, err := p.data.Map(int64(block)*vdoBlockSize+int64(at), 1)
	if err != nil || e.Device == nil {
		p.t.Fatal(e.Kind, err)
	}
	return flipped{e.Device, e.Offset, uint(rand.IntN(8))}
}

// damage reads everything with the device in the place of one. It returns the logical blocks that could not be read,
// and those that were not what they should be.
func (p *vdoPool) damage(d flipped) (lost, wrong map[int64][]byte) {
	p.t.Helper()
	lost, wrong = map[int64][]byte{}, map[int64][]byte{}
	vg := Open(replace(p.devices, d), Options{}).VGs[0]
	for name, want := range p.truth {
		v, err := vg.LV(name).Open()
		for off := int64(0); off < int64(len(want)); off += vdoBlockSize {
			logical, got := (p.header+off)/vdoBlockSize, make([]byte, vdoBlockSize)
			if err != nil {
				lost[logical] = nil
			} else if _, err := v.ReadAt(got, off); err != nil {
				lost[logical] = nil
			} else if !bytes.Equal(got, want[off:off+vdoBlockSize]) {
				wrong[logical] = got
			}
		}
	}
	return lost, wrong
}

// some are a few keys of a map.
func some[V any](m map[uint64]V) []uint64 {
	keys := slices.Collect(maps.Keys(m))
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys[:min(len(keys), 3)]
}

// In a VDO pool, geometry and super block have a checksum. Pages of the block map have only their own number. The
// kernel takes a page without the right version, nonce and mark for empty; the number of mapped blocks gives that
// away. A compressed block has only its version. So a bit flipped in an entry or a compressed block may show, as with
// the kernel, in the blocks that it is about, and nowhere else.
// would with the kernel, in the blocks that the entry or block is about, and nowhere else.
func TestAFlippedBitInAVDOPoolDoesNotShowOutsideOfWhatItIsAbout(t *testing.T) {
	t.Parallel()
	p := openVDOPool(t, "vdo")
	if len(p.leaves) == 0 || len(p.compressed) == 0 {
		t.Fatalf("%d leaves, %d compressed blocks", len(p.leaves), len(p.compressed))
	}
	failed := 0
	check := func(what string, block uint64, from, to int, mayBeWrong func(logical int64, got []byte) bool) {
		t.Helper()
		at := from + rand.IntN(to-from)
		lost, wrong := p.damage(p.flip(block, at))
		failed += len(lost)
		for logical, got := range wrong {
			if !mayBeWrong(logical, got) {
				t.Fatalf("%s, block %d, a bit of byte %d: logical block %d is wrong", what, block, at, logical)
			}
		}
	}
	no := func(int64, []byte) bool { return false }
	for range 6 {
		check("geometry", 0, 0, 101, no)
		check("geometry, unused", 0, 101, vdoBlockSize, no)
		check("super block", p.superBlock, 0, 438, no)
		check("super block, unused", p.superBlock, 438, vdoBlockSize, no)
	}
	if failed == 0 {
		t.Error("no damage had any effect")
	}
	for _, page := range some(p.leaves) {
		first := p.leaves[page]
		check("leaf, version and nonce", page, 0, 16, no)
		check("leaf, own number", page, 16, 24, no)
		check("leaf, unused", page, 24, 32, no)
		check("leaf, mark", page, 32, 33, no)
		check("leaf, unused", page, 33, 36, no)
		slot := int64(rand.IntN(812))
		at := 36 + 5*int(slot)
		check("entry", page, at, at+5, func(logical int64, _ []byte) bool { return logical == first+slot })
	}
	for _, page := range some(p.inner) {
		check("inner page, version and nonce", page, 0, 16, no)
		check("inner page, own number", page, 16, 24, no)
		check("inner page, mark", page, 32, 33, no)
		check("inner page, unused", page, 33, 36, no)
	}
	for _, block := range some(p.compressed) {
		users := p.compressed[block]
		within := func(logical int64, _ []byte) bool { return slices.Contains(users, logical) }
		check("compressed block, version", block, 0, 8, no)
		check("compressed block, lengths", block, 8, 36, within)
		check("compressed block, fragments", block, 36, vdoBlockSize, within)
	}
}

// The recovery journal has no checksum. At a block that does not look like one of its own it ends, as after a power
// cut. What a replay has no use for can be checked.
func TestAFlippedBitInWhatAVDOReplayHasNoUseForDoesNotShow(t *testing.T) {
	t.Parallel()
	p := openVDOPool(t, "vdo-plain")
	le := binary.LittleEndian
	nonce, super := le.Uint64(p.block(0)[32:]), p.block(p.superBlock)
	var journal uint64
	for i := range 4 {
		if part := super[145+25*i:]; part[0] == 2 {
			journal = le.Uint64(part[1:])
		}
	}
	entries, blocks := 0, 0
	for i := uint64(0); blocks < 4 && i < 32; i++ {
		b := p.block(journal + i)
		if le.Uint64(b[24:]) != nonce {
			continue
		}
		blocks++
		entries += int(le.Uint16(b[33:]))
		for _, at := range []int{35 + rand.IntN(16), 53 + rand.IntN(512-53)} {
			if lost, wrong := p.damage(p.flip(journal+i, at)); len(lost)+len(wrong) > 0 {
				t.Errorf("journal block %d, a bit of byte %d: %d blocks lost, %d wrong", i, at, len(lost), len(wrong))
			}
		}
		// The replay has no use for where a block was mapped before, but it refuses a pool in which that place cannot
		// be.
		at := 512*(1+rand.IntN(7)) + 3 + 16*rand.IntN(31) + 11 + rand.IntN(5)
		if _, wrong := p.damage(p.flip(journal+i, at)); len(wrong) > 0 {
			t.Errorf("journal block %d, a bit of byte %d: %d blocks wrong", i, at, len(wrong))
		}
	}
	if entries == 0 {
		t.Error("there is nothing in the journal")
	}
}

// vdoJournalEntry is an entry of the recovery journal as it is on disk.
func vdoJournalEntry(operation, slot int, page uint64, to, from [2]uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, uint16(operation|slot<<2|int(page>>32)<<12))
	b = le.AppendUint32(b, uint32(page))
	for _, e := range [][2]uint64{to, from} { // state, block
		b = le.AppendUint32(append(b, byte(e[1]>>32<<4|e[0])), uint32(e[1]))
	}
	return b
}

// The pool of the case vdo-plain got other bytes in its recovery journal. These are the CRC-32 that Linux 6.12 then
// read of the LV, or that it refused the pool. The first sector has entry 0, of the last block of the journal; the
// second has entry 25, for a page.
func TestAVDOJournalIsReplayedOrRefusedAsTheKernelDoes(t *testing.T) {
	t.Parallel()
	const (
		block = 10225232 * 512
		data  = block + 512 + 3
		page  = 10225226*512 + 3 + 25*16

		refused = 0
		whole   = 0x2ec5d1bd
		without = 0xf70fe523 // the entry
		shorter = 0x60228671 // the last block
	)
	none, block1, zeros := [2]uint64{}, [2]uint64{1, 1}, [2]uint64{1, 0}
	to, toPage, old := [2]uint64{1, 681019}, [2]uint64{1, 680853}, [2]uint64{1, 680700}
	images := openImages(t, testimages.Load(t, "vdo-plain"))
	devices := devicesOf(images.VGs[0])
	for name, c := range map[string]struct {
		at    int64
		bytes []byte
		want  uint32
	}{
		"as it was":                       {data, vdoJournalEntry(0, 502, 680970, to, none), whole},
		"from block 1":                    {data, vdoJournalEntry(0, 502, 680970, to, block1), refused},
		"from a block in state 0":         {data, vdoJournalEntry(0, 502, 680970, to, [2]uint64{0, 679500}), refused},
		"from a fragment of block 0":      {data, vdoJournalEntry(0, 502, 680970, to, [2]uint64{5, 0}), refused},
		"from a reference count":          {data, vdoJournalEntry(0, 502, 680970, to, [2]uint64{1, 711800}), refused},
		"from a fragment":                 {data, vdoJournalEntry(0, 502, 680970, to, [2]uint64{5, 681025}), whole},
		"from zeros":                      {data, vdoJournalEntry(0, 502, 680970, to, zeros), whole},
		"to block 1":                      {data, vdoJournalEntry(0, 502, 680970, block1, none), refused},
		"to a reference count":            {data, vdoJournalEntry(0, 502, 680970, [2]uint64{1, 711800}, none), refused},
		"behind the last slab":            {data, vdoJournalEntry(0, 502, 680970, [2]uint64{1, 1269013}, none), refused},
		"to a block in state 0":           {data, vdoJournalEntry(0, 502, 680970, [2]uint64{0, 681019}, none), refused},
		"to a fragment of block 0":        {data, vdoJournalEntry(0, 502, 680970, [2]uint64{5, 0}, none), refused},
		"to zeros":                        {data, vdoJournalEntry(0, 502, 680970, zeros, none), without},
		"slot 812":                        {data, vdoJournalEntry(0, 812, 680970, to, none), refused},
		"slot 1023":                       {data, vdoJournalEntry(0, 1023, 680970, to, none), refused},
		"of page 0":                       {data, vdoJournalEntry(0, 502, 0, to, none), without},
		"of a page beyond all slabs":      {data, vdoJournalEntry(0, 502, 1280000, to, none), without},
		"of a page beyond the end":        {data, vdoJournalEntry(0, 502, 1310720, to, none), refused},
		"of another root":                 {data, vdoJournalEntry(0, 502, 679148, to, none), without},
		"of operation 1":                  {data, vdoJournalEntry(1, 502, 680970, to, none), whole},
		"of operation 2":                  {data, vdoJournalEntry(2, 502, 680970, to, none), whole},
		"of operation 3":                  {data, vdoJournalEntry(3, 502, 680970, to, none), whole},
		"a page in a fragment":            {page, vdoJournalEntry(1, 0, 679148, [2]uint64{5, 680853}, none), refused},
		"a page in nothing":               {page, vdoJournalEntry(1, 0, 679148, none, none), refused},
		"a page in zeros":                 {page, vdoJournalEntry(1, 0, 679148, zeros, none), refused},
		"a page that was elsewhere":       {page, vdoJournalEntry(1, 0, 679148, toPage, old), refused},
		"a page as if it were data":       {page, vdoJournalEntry(0, 0, 679148, toPage, none), whole},
		"a block of 218 entries":          {block + 33, []byte{218, 0}, shorter},
		"a sector of 32 entries":          {block + 512 + 2, []byte{32}, shorter},
		"a head behind the last block":    {block, []byte{11, 0, 0, 0, 0, 0, 0, 0}, refused},
		"heads far behind the last block": {block, []byte{255, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0}, refused},
	} {
		lv := Open(patch(devices, devices[0], c.at, c.bytes), Options{}).VGs[0].LV("vol")
		v, err := lv.Open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := make([]byte, v.Size())
		_, err = v.ReadAt(p, 0)
		switch got := crc32.ChecksumIEEE(p); {
		case c.want == refused:
			if !errors.Is(err, dm.ErrVDO) {
				t.Errorf("%s: %v, and not refused", name, err)
			}
		case err != nil, got != c.want:
			t.Errorf("%s: CRC %08x, %v; the kernel read %08x", name, got, err, c.want)
		}
	}
}
