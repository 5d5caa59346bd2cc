package dm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"lvm2fs/mapping"
)

// integrityDisk is data with its metadata, as tests build it.
type integrityDisk struct {
	config     IntegrityConfig
	journal    journal
	data, meta memory
}

func newIntegrityDisk(blocks, blockSize int, sections int64) *integrityDisk {
	d := &integrityDisk{
		config:  IntegrityConfig{Size: int64(blocks * blockSize), BlockSize: int64(blockSize), TagSize: 4, Hash: "crc32c"},
		journal: newJournal(sections, int64(blockSize/512), 4),
		data:    random(blocks * blockSize),
	}
	d.meta = make(memory, 4096+d.journal.size()+int64(4*blocks))
	le := binary.LittleEndian
	copy(d.meta, integrityMagic)
	d.meta[8] = 2
	le.PutUint16(d.meta[10:], 4)
	le.PutUint32(d.meta[12:], uint32(sections))
	le.PutUint64(d.meta[16:], uint64(d.config.Size/512))
	for 512<<d.meta[28] < blockSize {
		d.meta[28]++
	}
	for i := range blocks {
		copy(d.tag(i), d.sum(i, d.block(i)))
	}
	for s := range sections {
		d.commit(s, 0, nil)
	}
	return d
}

func (d *integrityDisk) block(i int) []byte {
	return d.data[i*int(d.config.BlockSize):][:d.config.BlockSize]
}

func (d *integrityDisk) tag(i int) []byte { return d.meta[4096+int(d.journal.size())+4*i:][:4] }

func (d *integrityDisk) sum(i int, block []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(i)*uint64(d.journal.sectorsPerBlock))
	b = append(b, block...)
	if d.config.Hash == "sha256" {
		sum := sha256.Sum256(b)
		return sum[:4]
	}
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
}

// commit writes a section of the journal with the given blocks, in a round.
func (d *integrityDisk) commit(section int64, round int, blocks map[int][]byte) {
	le, j := binary.LittleEndian, d.journal
	e := int64(0)
	entry := func(e int64) []byte {
		return d.meta[j.at(section, e%8)+e/8*j.entrySize:][:j.entrySize]
	}
	for i, block := range blocks {
		copy(d.meta[j.at(section, 8+e*j.sectorsPerBlock):], block)
		le.PutUint64(entry(e), uint64(i)*uint64(j.sectorsPerBlock))
		for k := range j.sectorsPerBlock {
			copy(entry(e)[8+8*k:], block[k*512+504:(k+1)*512])
		}
		copy(entry(e)[8+8*j.sectorsPerBlock:], d.sum(i, block))
		e++
	}
	for ; e < j.entries(); e++ {
		le.PutUint64(entry(e), 1<<64-1)
	}
	for sector := range j.sectionSectors() {
		le.PutUint64(d.meta[j.at(section, sector)+504:], commitIDs[round]^(uint64(section)<<32^uint64(sector)))
	}
}

func (d *integrityDisk) open(t *testing.T) mapping.Volume {
	t.Helper()
	v, err := Integrity(volumeOf(d.data), volumeOf(d.meta), d.config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// checkReads reads block by block and in longer reads. It wants the bytes of want, and a failure where want is nil.
func checkReads(t *testing.T, v mapping.Volume, want [][]byte) {
	t.Helper()
	size := int(v.Size()) / len(want)
	for i, block := range want {
		p := make([]byte, size)
		_, err := v.ReadAt(p, int64(i*size))
		if block == nil != (err != nil) || err == nil && !bytes.Equal(p, block) {
			t.Fatalf("block %d: %v", i, err)
		}
		if err != nil && !errors.Is(err, ErrIntegrity) {
			t.Fatal(err)
		}
	}
	for range 100 {
		off := rand.IntN(int(v.Size()))
		p := make([]byte, rand.IntN(int(v.Size())-off)+1)
		n, err := v.ReadAt(p, int64(off))
		if err == nil && n != len(p) {
			t.Fatalf("%d bytes of %d and no error", n, len(p))
		}
		for i := range n {
			at := off + i
			if want[at/size] == nil || want[at/size][at%size] != p[i] {
				t.Fatalf("byte %d is wrong", at)
			}
		}
		if n < len(p) && want[(off+n)/size] != nil {
			t.Fatalf("%d bytes at %d: failed at %d, which is good: %v", len(p), off, off+n, err)
		}
	}
}

func (d *integrityDisk) blocks() [][]byte {
	var want [][]byte
	for i := range len(d.data) / int(d.config.BlockSize) {
		want = append(want, bytes.Clone(d.block(i)))
	}
	return want
}

func TestDataThatDoNotMatchTheirTagFail(t *testing.T) {
	for _, size := range []int{512, 1024, 4096} {
		d := newIntegrityDisk(50, size, 1)
		want := d.blocks()
		for _, i := range []int{0, 7, 8, 49} {
			if i%2 == 0 {
				d.block(i)[rand.IntN(size)] ^= 1 << rand.IntN(8)
			} else {
				d.tag(i)[rand.IntN(4)] ^= 1 << rand.IntN(8)
			}
			want[i] = nil
		}
		checkReads(t, d.open(t), want)
	}
}

// Reads are long enough to be checked by several goroutines, over pieces.
func TestOfALongReadTheBytesBeforeTheFirstBadBlockAreGood(t *testing.T) {
	for _, hash := range []string{"crc32c", "sha256"} {
		t.Run(hash, func(t *testing.T) { testALongRead(t, hash) })
	}
}

func testALongRead(t *testing.T, hash string) {
	d := newIntegrityDisk(5000, 512, 1)
	d.config.Hash = hash
	for i := range 5000 {
		copy(d.tag(i), d.sum(i, d.block(i)))
	}
	d.meta[24] = integrityDirtyBitmap
	d.meta[29] = 1 // two blocks to a bit
	clear(d.meta[4096 : d.journal.at(0, 0)+d.journal.size()])
	for _, i := range []int{1200, 1201, 2500, 4999} {
		d.tag(i)[2] ^= 4
	}
	d.meta[4096+1200/16] |= 1 // the tags of 1200 and 1201
	want := d.blocks()
	want[2500], want[4999] = nil, nil
	v := d.open(t)
	checkReads(t, v, want)
	for _, from := range []int{0, 1, 1199, 1200, 2499, 2501} {
		p := make([]byte, int(v.Size())-from*512)
		bad := 2500
		if from > bad {
			bad = 4999
		}
		if n, err := v.ReadAt(p, int64(from*512)); n != (bad-from)*512 || !errors.Is(err, ErrIntegrity) {
			t.Errorf("from block %d: %d bytes, %v; block %d is bad", from, n, err, bad)
		}
	}
}

func TestWhatTheJournalHoldsIsNewerThanTheData(t *testing.T) {
	for _, size := range []int{512, 4096} {
		d := newIntegrityDisk(100, size, 3)
		want := d.blocks()
		newer := func(i int) []byte { want[i] = random(size); return want[i] }
		d.commit(2, 0, map[int][]byte{4: newer(4), 5: newer(5)})
		d.commit(0, 1, map[int][]byte{5: newer(5), 99: newer(99)})
		checkReads(t, d.open(t), want)
		t.Run("but not a section that was not completed", func(t *testing.T) {
			half := newIntegrityDisk(100, size, 3)
			want := half.blocks()
			half.commit(0, 1, map[int][]byte{5: random(size)})
			j := half.journal
			binary.LittleEndian.PutUint64(half.meta[j.at(0, 3)+504:], commitIDs[0]^3)
			checkReads(t, half.open(t), want)
		})
		t.Run("and is checked too", func(t *testing.T) {
			d.meta[d.journal.at(0, 8)+17] ^= 1
			d.meta[d.journal.at(0, 8+d.journal.sectorsPerBlock)+17] ^= 1
			want[5], want[99] = nil, nil
			checkReads(t, d.open(t), want)
		})
	}
}

func TestAJournalWithAForeignSectorIsRefused(t *testing.T) {
	d := newIntegrityDisk(10, 512, 2)
	d.meta[d.journal.at(1, 5)+505] ^= 1
	if _, err := d.open(t).ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrIntegrityMetadata) {
		t.Error(err)
	}
}

func TestTagsThatAreNotValidYetAreNotUsed(t *testing.T) {
	d := newIntegrityDisk(20, 512, 1)
	for i := range 20 {
		d.tag(i)[0] ^= 1
	}
	t.Run("above the recalculated sector", func(t *testing.T) {
		d.meta[24] = integrityRecalculate
		d.meta[32] = 12
		want := d.blocks()
		for i := range 12 {
			want[i] = nil
		}
		v := d.open(t)
		checkReads(t, v, want)
		if done, ok := Checksummed(v); done != 12*512 || !ok {
			t.Error(done, ok)
		}
	})
	t.Run("where the bitmap is dirty", func(t *testing.T) {
		d.meta[24] = integrityDirtyBitmap
		d.meta[29] = 2 // four blocks to a bit
		clear(d.meta[4096 : d.journal.at(0, 0)+d.journal.size()])
		d.meta[4096] = 0b10010
		want := d.blocks()
		for i := range want {
			if bit := i / 4; bit != 1 && bit != 4 {
				want[i] = nil
			}
		}
		checkReads(t, d.open(t), want)
	})
}

func TestASuperblockOfZerosIsThatOfALayerThatWasNeverActivated(t *testing.T) {
	d := newIntegrityDisk(20, 512, 1)
	want := d.blocks()
	d.tag(7)[0] ^= 1
	clear(d.meta[:4096])
	refused := func(why string) {
		t.Helper()
		if _, err := Integrity(volumeOf(d.data), volumeOf(d.meta), d.config); !errors.Is(err, ErrIntegrityMetadata) {
			t.Errorf("%s: %v", why, err)
		}
	}
	refused("it was, and has a journal")
	d.config.Recalculate = true
	refused("has a journal")
	for sector := range int64(7) {
		clear(d.meta[d.journal.at(0, sector):][:512])
	}
	refused("has the rest of a journal")
	copy(d.meta[4096:], random(int(d.journal.size()))) // whatever the device was used for before
	v := d.open(t)
	checkReads(t, v, want)
	if _, ok := Checksummed(v); ok {
		t.Error("has checksums")
	}
	d.config.Recalculate = false
	refused("it was")
}

func TestTagsBeyondTheSectorsThatTheSuperblockKnowsOfAreUsed(t *testing.T) {
	d := newIntegrityDisk(20, 512, 1)
	binary.LittleEndian.PutUint64(d.meta[16:], 3)
	want := d.blocks()
	d.tag(7)[0] ^= 1
	want[7] = nil
	checkReads(t, d.open(t), want)
}

func TestASuperblockThatMakesNoSenseIsRefused(t *testing.T) {
	for at, b := range map[int]byte{0: 'x', 8: 9, 9: 3, 10: 8, 12: 200, 24: 1, 28: 2, 29: 200} {
		d := newIntegrityDisk(10, 512, 1)
		d.meta[at] = b
		if _, err := Integrity(volumeOf(d.data), volumeOf(d.meta), d.config); !errors.Is(err, ErrIntegrityMetadata) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

func TestLostDataAreMissingUnlessTheJournalHasThem(t *testing.T) {
	d := newIntegrityDisk(20, 512, 1)
	newer := random(512)
	d.commit(0, 0, map[int][]byte{3: newer})
	v, err := Integrity(Missing(d.data.Size(), errLost), volumeOf(d.meta), d.config)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 512)
	if _, err := v.ReadAt(p, 3*512); err != nil || !bytes.Equal(p, newer) {
		t.Error(err)
	}
	if _, err := v.ReadAt(p, 4*512); !errors.Is(err, mapping.ErrMissing) {
		t.Error(err)
	}
}

func BenchmarkIntegrity(b *testing.B) {
	for _, block := range []int{512, 4096} {
		for _, mode := range []string{"journal", "bitmap"} {
			d := newIntegrityDisk(64<<20/block, block, 1)
			if mode == "bitmap" {
				d.meta[24], d.meta[29] = integrityDirtyBitmap, 10
				clear(d.meta[4096 : d.journal.at(0, 0)+d.journal.size()])
			}
			v, err := Integrity(volumeOf(d.data), volumeOf(d.meta), d.config)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d", mode, block), func(b *testing.B) {
				p := make([]byte, 1<<20)
				b.SetBytes(int64(len(p)))
				for i := range b.N {
					if _, err := v.ReadAt(p, int64(i%64)<<20); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func FuzzIntegrity(f *testing.F) {
	d := newIntegrityDisk(4, 512, 1)
	d.commit(0, 0, map[int][]byte{1: random(512)})
	f.Add([]byte(d.meta))
	f.Fuzz(func(t *testing.T, meta []byte) {
		m := memory(meta)
		v, err := Integrity(volumeOf(d.data), volumeOf(m), d.config)
		if err != nil {
			return
		}
		_, _ = v.ReadAt(make([]byte, v.Size()), 0)
	})
}
