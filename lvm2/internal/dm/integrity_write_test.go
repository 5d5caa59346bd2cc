package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

const (
	integrityData = iota
	integrityMeta
)

func init() { tagsQuiet = time.Hour }

// integrityKind is a kind of integrity layers that tests write.
type integrityKind struct {
	mode      string
	blockSize int
	sections  int64
	hash      string
}

func (k integrityKind) String() string {
	return fmt.Sprintf("%s/%d/%d/%s", k.mode, k.blockSize, k.sections, k.hash)
}

var integrityKinds = []integrityKind{
	{IntegrityJournal, 512, 1, "crc32c"},
	{IntegrityJournal, 1024, 3, "crc32c"},
	{IntegrityJournal, 4096, 2, "sha256"},
	{IntegrityBitmap, 512, 1, "crc32c"},
	{IntegrityBitmap, 2048, 1, "sha256"},
	{IntegrityBitmap, 4096, 2, "crc32c"},
}

// disk is one of so many blocks, with a region of its bitmap for each 4 blocks.
func (k integrityKind) disk(blocks int) *integrityDisk {
	d := newIntegrityDisk(blocks, k.blockSize, k.sections)
	d.config.Mode, d.config.Hash = k.mode, k.hash
	d.meta[29] = 2
	for i := range blocks {
		copy(d.tag(i), d.sum(i, d.block(i)))
	}
	return d
}

// checkedOn is the layer on two volumes, ready to be written.
func (d *integrityDisk) checkedOn(t *testing.T, data, meta mapping.Volume) *Checked {
	t.Helper()
	v, err := Integrity(data, meta, d.config)
	if err != nil {
		t.Fatal(err)
	}
	c := v.(*Checked)
	if reason := c.ReadOnlyReason(); reason != "" {
		t.Fatal(reason)
	}
	if err := c.StartWriting(); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkBytes reads v as a whole and in parts, and wants the bytes of want.
func checkBytes(t *testing.T, v mapping.Volume, want memory) {
	t.Helper()
	for i := range 20 {
		off, end := 0, len(want)
		if i > 0 {
			off = rand.IntN(len(want))
			end = off + 1 + rand.IntN(len(want)-off)
		}
		got := make([]byte, end-off)
		if _, err := v.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, want[off:end]) {
			t.Fatalf("%d bytes at %d are not what they should be: %v", len(got), off, err)
		}
	}
}

// checkInPlace wants contents to be in place, with tags that fit, and nothing in the journal.
func (d *integrityDisk) checkInPlace(t *testing.T, data, meta, contents memory) {
	t.Helper()
	if !bytes.Equal(data, contents) {
		t.Error("not all is in place")
	}
	after := &integrityDisk{config: d.config, journal: d.journal, data: data, meta: meta}
	for i := range len(data) / int(d.config.BlockSize) {
		if !bytes.Equal(after.tag(i), d.sum(i, after.block(i))) {
			t.Fatalf("block %d does not match its tag", i)
		}
	}
}

func TestWhatIsWrittenToAnIntegrityLayerIsThereWithItsTags(t *testing.T) {
	for _, k := range integrityKinds {
		t.Run(k.String(), func(t *testing.T) {
			d := k.disk(64 << 10 / k.blockSize)
			u := newUnplugged(d.data, d.meta)
			contents := bytes.Clone(d.data)
			v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
			for round := range 3 {
				for i := range 100 {
					change(t, v, contents)
					if i%10 == 0 {
						checkBytes(t, v, contents)
					}
					if i%30 == 29 {
						if err := v.Sync(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := v.StopWriting(); err != nil {
					t.Fatal(err)
				}
				checkBytes(t, v, contents)
				d.checkInPlace(t, u.disks[integrityData], u.disks[integrityMeta], contents)
				if k.mode == IntegrityBitmap && !allZero(u.disks[integrityMeta][integritySuperblock:][:d.journal.size()]) {
					t.Error("bits are left")
				}
				if round == 1 {
					v = d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
				} else if err := v.StartWriting(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAPowerCutWhileAnIntegrityLayerIsWritten(t *testing.T) {
	testenv.Long(t)
	for _, k := range integrityKinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			d := k.disk(48 << 10 / k.blockSize)
			u := newUnplugged(d.data, d.meta)
			v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
			open := func(after []memory) mapping.Volume {
				v, err := Integrity(volumeOf(after[integrityData]), volumeOf(after[integrityMeta]), d.config)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			u.cutEverywhere(t, v, bytes.Clone(d.data), open, func(n int, after []memory, got []byte) {
				if rand.IntN(8) == 0 {
					d.goesOnAfterACut(t, after, got)
				}
			})
		})
	}
}

// A power cut has left sectors of a section that are of the round that comes next. If that round wrote the section
// over, another cut could leave a mixture of both.
func TestAPowerCutAfterOneThatLeftAPartOfASection(t *testing.T) {
	testenv.Long(t)
	for _, sections := range []int64{1, 3} {
		d := integrityKind{IntegrityJournal, 512, sections, "crc32c"}.disk(30)
		contents := bytes.Clone(d.data)
		replayed := random(512)
		before := bytes.Clone(d.meta)
		d.commit(0, 1, map[int][]byte{3: random(512), 4: random(512)})
		copy(d.meta[d.journal.at(0, 0):d.journal.at(0, 9)], before[d.journal.at(0, 0):]) // behind the first block
		if sections > 1 {                                                                // and the sections before have what is to be replayed
			d.commit(1, 0, map[int][]byte{7: random(512)})
			d.commit(2, 0, map[int][]byte{7: replayed})
			copy(contents[7*512:], replayed)
		}
		u := newUnplugged(d.data, d.meta)
		v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
		p := random(512)
		for _, block := range []int64{3, 9} {
			if _, err := v.WriteAt(p, block*512); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Sync(); err != nil {
			t.Fatal(err)
		}
		for n := range len(u.steps) + 1 {
			for range 3 {
				after := u.cut(n)
				v := d.checkedOn(t, volumeOf(after[integrityData]), volumeOf(after[integrityMeta]))
				got := make([]byte, len(contents))
				if _, err := v.ReadAt(got, 0); err != nil {
					t.Fatalf("cut at %d of %d: %v", n, len(u.steps), err)
				}
				for _, block := range []int{3, 9} {
					if at := block * 512; bytes.Equal(got[at:at+512], p) {
						copy(got[at:], contents[at:at+512])
					} else if n == len(u.steps) {
						t.Errorf("block %d is not there", block)
					}
				}
				if !bytes.Equal(got, contents) {
					t.Fatalf("cut at %d of %d: other blocks have changed", n, len(u.steps))
				}
			}
		}
	}
}

// goesOnAfterACut writes to what a power cut has left, and cuts the power again somewhere.
func (d *integrityDisk) goesOnAfterACut(t *testing.T, after []memory, contents memory) {
	t.Helper()
	u := newUnplugged(after...)
	v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
	before := bytes.Clone(contents)
	off, n := change(t, v, contents)
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{rand.IntN(len(u.steps) + 1), len(u.steps)} {
		cut := u.cut(at)
		v, err := Integrity(volumeOf(cut[integrityData]), volumeOf(cut[integrityMeta]), d.config)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(contents))
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Fatalf("cut again at %d of %d: %v", at, len(u.steps), err)
		}
		for i := range got {
			if got[i] != contents[i] && (at == len(u.steps) || got[i] != before[i]) {
				t.Fatalf("cut again at %d of %d: byte %d; %d were written at %d", at, len(u.steps), i, n, off)
			}
		}
	}
	if err := v.StopWriting(); err != nil {
		t.Fatal(err)
	}
	checkBytes(t, v, contents)
	if !bytes.Equal(u.disks[integrityData], contents) {
		t.Error("not all is in place")
	}
}

func TestWhatIsLeftOfAFailedWriteIsThereAfterAnIntegrityLayerFailed(t *testing.T) {
	testenv.Long(t)
	for _, k := range integrityKinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			for fail := range 40 {
				d := k.disk(32 << 10 / k.blockSize)
				u := newUnplugged(d.data, d.meta)
				v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
				synced, contents := bytes.Clone(d.data), bytes.Clone(d.data)
				u.fail = fail
				var err error
				for err == nil {
					off, n := rand.IntN(len(contents)-3000), 1+rand.IntN(3000)
					p := random(n)
					if _, err = v.WriteAt(p, int64(off)); err != nil {
						break
					}
					copy(contents[off:], p)
					if err = v.Sync(); err == nil {
						synced = bytes.Clone(contents)
					}
				}
				if !errors.Is(err, errUnplugged) {
					t.Fatal(err)
				}
				if _, err := v.WriteAt(make([]byte, k.blockSize), 0); err == nil {
					t.Fatal("written after a failure")
				}
				if v.StopWriting() == nil {
					t.Fatal("stopped after a failure")
				}
				after, openErr := Integrity(volumeOf(u.disks[integrityData]), volumeOf(u.disks[integrityMeta]), d.config)
				if openErr != nil {
					t.Fatal(openErr)
				}
				got := make([]byte, len(contents))
				if _, err := after.ReadAt(got, 0); err != nil {
					t.Fatal(err)
				}
				different := 0
				for i := range got {
					if got[i] != synced[i] {
						different++
					}
				}
				if different > 3000 {
					t.Fatalf("%d bytes are not what was synced", different)
				}
			}
		})
	}
}

func TestABlockThatDoesNotMatchItsTagIsOnlyWrittenAsAWhole(t *testing.T) {
	for _, k := range integrityKinds {
		t.Run(k.String(), func(t *testing.T) {
			d := k.disk(20)
			d.block(7)[3] ^= 1
			u := newUnplugged(d.data, d.meta)
			v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
			at := int64(7 * k.blockSize)
			if _, err := v.WriteAt(random(10), at+20); !errors.Is(err, ErrIntegrity) {
				t.Fatal(err)
			}
			if !bytes.Equal(u.disks[integrityData], d.data) {
				t.Error("it was written")
			}
			p := random(k.blockSize)
			for _, off := range []int64{at, at - int64(k.blockSize)} { // others are written as before
				if _, err := v.WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.StopWriting(); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, k.blockSize)
			if _, err := v.ReadAt(got, at); err != nil || !bytes.Equal(got, p) {
				t.Error(err)
			}
		})
	}
}

func TestWhatTheJournalHoldsIsInPlaceOnceTheLayerIsWritten(t *testing.T) {
	d := newIntegrityDisk(100, 512, 3)
	d.config.Mode = IntegrityJournal
	want := d.blocks()
	newer := func(i int) []byte { want[i] = random(512); return want[i] }
	d.commit(2, 0, map[int][]byte{4: newer(4), 5: newer(5)})
	d.commit(0, 1, map[int][]byte{5: newer(5), 99: newer(99)})
	u := newUnplugged(d.data, d.meta)
	v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
	if len(u.steps) > 0 {
		t.Error("written before there was anything to write")
	}
	want[50] = random(512)
	if _, err := v.WriteAt(want[50], 50*512); err != nil {
		t.Fatal(err)
	}
	if err := v.StopWriting(); err != nil {
		t.Fatal(err)
	}
	d.checkInPlace(t, u.disks[integrityData], u.disks[integrityMeta], bytes.Join(want, nil))
	checkReads(t, d.open(t), d.blocks()) // the disk of before is as it was
}

func TestAnIntegrityLayerThatTheKernelWouldNotTakeIsNotWritten(t *testing.T) {
	for name, damage := range map[string]func(d *integrityDisk){
		"a block in the journal that does not match": func(d *integrityDisk) {
			d.commit(0, 1, map[int][]byte{5: random(512)})
			d.meta[d.journal.at(0, 8)+17] ^= 1
		},
		"a foreign sector": func(d *integrityDisk) { d.meta[d.journal.at(1, 5)+505] ^= 1 },
		"all four rounds": func(d *integrityDisk) {
			for k := range 4 {
				binary.LittleEndian.PutUint64(d.meta[d.journal.at(1, int64(k))+504:], commitID(k, 1, int64(k)))
			}
		},
	} {
		d := newIntegrityDisk(100, 512, 3)
		d.config.Mode = IntegrityJournal
		damage(d)
		v, err := Integrity(volumeOf(d.data), volumeOf(d.meta), d.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.(*Checked).StartWriting(); !errors.Is(err, ErrIntegrityMetadata) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALayerThatOthersUsedSinceIsNotWritten(t *testing.T) {
	for _, k := range integrityKinds {
		d := k.disk(10)
		v := d.open(t).(*Checked)
		d.meta[integrityFlagsAt] ^= integrityRecalculate
		if err := v.StartWriting(); !errors.Is(err, ErrIntegrityChanged) {
			t.Error(k, err)
		}
	}
}

func TestALayerWhoseWayOfWritingIsNotKnownIsReadOnly(t *testing.T) {
	for name, make := range map[string]func(d *integrityDisk){
		"another mode":                func(d *integrityDisk) { d.config.Mode = "D" },
		"a bitmap where a journal is": func(d *integrityDisk) { d.meta[24] = integrityDirtyBitmap },
		"no room for the bitmap":      func(d *integrityDisk) { d.config.Mode, d.meta[29] = IntegrityBitmap, 0 },
		"a part of a block":           func(d *integrityDisk) { d.config.Size-- },
	} {
		d := newIntegrityDisk(200, 512, 1)
		d.config.Mode = IntegrityJournal
		make(d)
		if name == "no room for the bitmap" {
			d.config.Size *= 10000
		}
		v := &Checked{config: d.config, meta: volumeOf(d.meta), data: volumeOf(d.data), journal: d.journal}
		v.bitmap, v.bytesPerBit = d.meta[24]&integrityDirtyBitmap != 0, d.config.BlockSize<<d.meta[29]
		if v.ReadOnlyReason() == "" {
			t.Errorf("%s: written", name)
		}
		if _, err := v.WriteAt([]byte{1}, 0); !errors.Is(err, mapping.ErrNotWritable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bits that a crash has left stay for the kernel. It computes the tags there from the data as they are.
func TestBitsThatACrashHasLeftStay(t *testing.T) {
	d := integrityKind{IntegrityBitmap, 512, 1, "crc32c"}.disk(40)
	d.meta[24] = integrityDirtyBitmap
	clear(d.meta[4096 : d.journal.at(0, 0)+d.journal.size()])
	d.meta[4096] = 0b100010 // blocks 4 to 7 and 20 to 23
	for _, i := range []int{5, 21} {
		d.tag(i)[1] ^= 1
	}
	u := newUnplugged(d.data, d.meta)
	contents := bytes.Clone(d.data)
	v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
	for _, at := range []int{0, 5*512 + 100, 10 * 512} {
		p := random(700)
		if _, err := v.WriteAt(p, int64(at)); err != nil {
			t.Fatal(err)
		}
		copy(contents[at:], p)
	}
	checkBytes(t, v, contents)
	if err := v.StopWriting(); err != nil {
		t.Fatal(err)
	}
	checkBytes(t, v, contents)
	if bits := u.disks[integrityMeta][4096]; bits != 0b100010 {
		t.Errorf("bits %b", bits)
	}
}

func TestTagsThatAreStillToBeComputedStayThatWhileTheLayerIsWritten(t *testing.T) {
	for _, k := range integrityKinds {
		d := k.disk(40)
		d.meta[24] |= integrityRecalculate
		d.meta[32] = byte(12 * k.blockSize / 512)
		for i := 12; i < 40; i++ {
			d.tag(i)[0] ^= 1
		}
		u := newUnplugged(d.data, d.meta)
		contents := bytes.Clone(d.data)
		v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
		for range 50 {
			change(t, v, contents)
		}
		checkBytes(t, v, contents)
		if err := v.StopWriting(); err != nil {
			t.Fatal(err)
		}
		checkBytes(t, v, contents)
		if done, _ := Checksummed(v); done != int64(12*k.blockSize) || u.disks[integrityMeta][32] != d.meta[32] {
			t.Errorf("%s: %d bytes have tags", k, done)
		}
	}
}

// lockedMemory is a disk for several at a time.
type lockedMemory struct {
	memory
	mu sync.RWMutex
}

func (m *lockedMemory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.memory.ReadAt(p, off)
}

func (m *lockedMemory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(m.memory[off:], p), nil
}

func (m *lockedMemory) PunchHole(off, n int64) error {
	_, err := m.WriteAt(make([]byte, n), off)
	return err
}

func (m *lockedMemory) Claim() error   { return nil }
func (m *lockedMemory) Release() error { return nil }
func (m *lockedMemory) Sync() error    { return nil }

func TestReadersOfAnIntegrityLayerSeeEachBlockWithItsTag(t *testing.T) {
	tagsQuiet = time.Millisecond // so that bits come and go
	defer func() { tagsQuiet = time.Hour }()
	for _, k := range integrityKinds {
		t.Run(k.String(), func(t *testing.T) {
			const writers = 4
			share := 40 * 512
			d := k.disk(writers * share / 512 * 512 / k.blockSize)
			data, meta := &lockedMemory{memory: d.data}, &lockedMemory{memory: d.meta}
			v := d.checkedOn(t, Device(data, 0, data.Size()), Device(meta, 0, meta.Size()))
			var working sync.WaitGroup
			for w := range writers {
				working.Go(func() { // each in its own part, whose ends are parts of blocks
					mine := bytes.Clone(d.data[w*share:][:share])
					for i := range 100 {
						at, n := rand.IntN(share-600), 1+rand.IntN(600)
						p := random(n)
						if _, err := v.WriteAt(p, int64(w*share+at)); err != nil {
							t.Error(err)
						}
						copy(mine[at:], p)
						got := make([]byte, share)
						if _, err := v.ReadAt(got, int64(w*share)); err != nil || !bytes.Equal(got, mine) {
							t.Error("not what was written", err)
						}
						if i%20 == 0 {
							if err := v.Sync(); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			working.Wait()
			if err := v.StopWriting(); err != nil {
				t.Error(err)
			}
			d.checkInPlace(t, data.memory, meta.memory, data.memory)
		})
	}
}

func BenchmarkWritingIntegrity(b *testing.B) {
	for _, k := range integrityKinds {
		b.Run(k.String(), func(b *testing.B) {
			d := k.disk(16 << 20 / k.blockSize)
			data, meta := &lockedMemory{memory: d.data}, &lockedMemory{memory: d.meta}
			v, err := Integrity(Device(data, 0, data.Size()), Device(meta, 0, meta.Size()), d.config)
			if err != nil {
				b.Fatal(err)
			}
			p := random(1 << 20)
			b.SetBytes(int64(len(p)))
			for i := range b.N {
				if _, err := v.(*Checked).WriteAt(p, int64(i%16)<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
