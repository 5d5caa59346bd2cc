package vdisk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// logChange is a descriptor: a page of data, or so many zeros.
type logChange struct {
	place int64
	data  []byte // a page; nil for zeros
	zeros int64
}

// logEntry writes an entry; tail is the place of the one where replaying is to begin.
type logEntry struct {
	sequence uint64
	tail     int
	changes  []logChange
}

const testLogGUID = "0123456789abcdef"

func (e logEntry) bytes(fileSize int64) []byte {
	le := binary.LittleEndian
	b := make([]byte, (64+32*len(e.changes)+4095)/4096*4096)
	copy(b, "loge")
	le.PutUint32(b[12:], uint32(e.tail))
	le.PutUint64(b[16:], e.sequence)
	le.PutUint32(b[24:], uint32(len(e.changes)))
	copy(b[32:], testLogGUID)
	le.PutUint64(b[48:], uint64(fileSize))
	le.PutUint64(b[56:], uint64(fileSize))
	for i, c := range e.changes {
		d := b[64+32*i:]
		le.PutUint64(d[16:], uint64(c.place))
		le.PutUint64(d[24:], e.sequence)
		if c.data == nil {
			copy(d, "zero")
			le.PutUint64(d[8:], uint64(c.zeros))
			continue
		}
		copy(d, "desc")
		copy(d[4:8], c.data[4092:])
		copy(d[8:16], c.data)
		page := slices.Clone(c.data)
		copy(page, "data")
		le.PutUint32(page[4:], uint32(e.sequence>>32))
		le.PutUint32(page[4092:], uint32(e.sequence))
		b = append(b, page...)
	}
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// withLog is an image whose log has entries from a place on, round its end to its start. The log has 1 MiB at byte 1
// MiB, as QEMU makes it.
func withLog(t *testing.T, image []byte, place int, entries ...logEntry) []byte {
	t.Helper()
	const mib = 1 << 20
	b := slices.Clone(image)
	for _, off := range vhdxHeaderPlaces {
		if h := b[off:]; binary.LittleEndian.Uint32(h[vhdxLogLength:]) != mib || binary.LittleEndian.Uint64(h[vhdxLogPlace:]) != mib {
			t.Fatal("the log is elsewhere")
		}
		copy(b[off+vhdxLogGUID:], testLogGUID)
	}
	ring := b[mib : 2*mib]
	clear(ring)
	for _, e := range entries {
		for page := range slices.Chunk(e.bytes(int64(len(b))), 4096) {
			copy(ring[place%mib:], page)
			place += 4096
		}
	}
	return resumVHDX(b)
}

func page(c byte) []byte { return bytes.Repeat([]byte{c}, 4096) }

// Some bytes are only in the log. They are read as QEMU reads them after it has replayed the log.
func TestALogIsReplayedAsQEMUReplaysIt(t *testing.T) {
	testenv.Long(t)
	const mib = 1 << 20
	w := newWorkshop(t)
	w.img("create", "-q", "-f", "vhdx", "-o", "block_size=1M", "image", "40M")
	w.io("image", "write -P 7 3M 2M", "write -P 8 20M 1M")
	image, err := os.ReadFile(w.path("image"))
	if err != nil {
		t.Fatal(err)
	}
	regions, err := vhdxRegions(w.device("image"))
	if err != nil {
		t.Fatal(err)
	}
	bat := regions[vhdxBATRegion].place
	payload := int64(binary.LittleEndian.Uint64(image[bat+3*8:]) >> 20 << 20)
	// A block that only the log knows of, behind all others.
	fresh := int64(len(image))
	image = append(image, bytes.Repeat([]byte{9}, mib)...)
	table := slices.Clone(image[bat : bat+4096])
	binary.LittleEndian.PutUint64(table[10*8:], uint64(fresh|vhdxPresent))
	binary.LittleEndian.PutUint64(table[20*8:], vhdxZero)
	newTable := logChange{place: bat, data: table}
	many := []logChange{}
	for i := range int64(200) {
		many = append(many, logChange{place: payload + i*4096, data: page(byte(i + 100))})
	}
	for name, c := range map[string]struct {
		place   int
		entries []logEntry
	}{
		"one entry":             {0, []logEntry{{5, 0, []logChange{newTable}}}},
		"zeros, then the table": {8192, []logEntry{{5, 8192, []logChange{{place: bat, zeros: 4096}}}, {6, 8192, []logChange{newTable}}}},
		"into data":             {0, []logEntry{{5, 0, []logChange{{place: payload + 8192, data: page(1)}, {place: payload + 65536, zeros: 40960}, newTable}}}},
		"round the end":         {mib - 4096, []logEntry{{5, mib - 4096, []logChange{newTable}}}},
		"nothing to change":     {0, []logEntry{{5, 0, nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := withLog(t, image, c.place, c.entries...)
			w.write("ours", b)
			m := w.open("ours")
			got := make([]byte, m.Size())
			if _, err := m.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(w.path("ours")); err != nil || !bytes.Equal(now, b) {
				t.Error("the image was written to")
			}
			run(t, "qemu-img", "check", "-q", "-r", "all", w.path("ours"))
			if !bytes.Equal(got, w.truth("ours")) {
				t.Error("read something else than QEMU")
			}
		})
	}
	// QEMU takes all entries in a row, whatever their numbers and tails, and no more than 126 descriptors.
	for name, c := range map[string]struct {
		place   int
		entries []logEntry
		first   byte // of the payload
	}{
		"what is older is stale":                {0, []logEntry{{50, 0, []logChange{newTable}}, {7, 8192, []logChange{{place: payload, data: page(1)}}}}, 7},
		"more than one page of descriptors":     {0, []logEntry{{5, 0, append(many, newTable)}}, 100},
		"the sequence begins at its tail":       {0, []logEntry{{5, 0, []logChange{{place: payload, data: page(1)}}}, {6, 8192, []logChange{newTable}}}, 7},
		"a sequence that goes on round the end": {mib - 4096, []logEntry{{5, mib - 4096, []logChange{newTable}}, {6, mib - 4096, []logChange{{place: payload, data: page(3)}}}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Open(&memory{data: withLog(t, image, c.place, c.entries...)}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for off, want := range map[int64]byte{3 * mib: c.first, 10 * mib: 9, 20 * mib: 0} {
				p := make([]byte, 1)
				if _, err := m.ReadAt(p, off); err != nil || p[0] != want {
					t.Errorf("byte %d is %d, %v", off, p[0], err)
				}
			}
		})
	}
}

func TestALogThatIsNotWholeIsNoneAndTheImageRefused(t *testing.T) {
	testenv.Long(t)
	const mib = 1 << 20
	w := newWorkshop(t)
	w.img("create", "-q", "-f", "vhdx", "image", "40M")
	image, err := os.ReadFile(w.path("image"))
	if err != nil {
		t.Fatal(err)
	}
	good := logEntry{5, 0, []logChange{{place: 3 * mib, data: page(1)}, {place: 2 * mib, zeros: 4096}}}
	size := len(good.bytes(0))
	for off := range size {
		if off > 128 && off < size-16 && off%97 != 0 { // descriptors and data are under the same checksum
			continue
		}
		b := withLog(t, image, 0, good)
		b[mib+off] ^= 0x10
		if _, err := Open(&memory{data: b}, Options{}); err == nil || !strings.Contains(err.Error(), "no entry that is whole") {
			t.Fatalf("byte %d changed: %v", off, err)
		}
	}
	for name, entries := range map[string][]logEntry{
		"a tail that is nowhere":                    {{5, 4096, nil}},
		"an entry after one with a good tail":       {{5, 0, nil}, {6, 8192, nil}},
		"an entry whose predecessors are not there": {{5, 0, nil}, {7, 0, nil}},
	} {
		if _, err := Open(&memory{data: withLog(t, image, 0, entries...)}, Options{}); err == nil || !strings.Contains(err.Error(), "which are not all there") {
			t.Errorf("%s: %v", name, err)
		}
	}
	short := withLog(t, append(image, make([]byte, mib)...), 0, good)
	if _, err := Open(&memory{data: short[:len(image)]}, Options{}); err == nil || !strings.Contains(err.Error(), "when its log was written") {
		t.Errorf("a file that was cut: %v", err)
	}
	far := logEntry{5, 0, []logChange{{place: 0, zeros: 1 << 50}}}
	if _, err := Open(&memory{data: withLog(t, image, 0, far)}, Options{}); err == nil || !strings.Contains(err.Error(), "more than 65536 pages") {
		t.Errorf("zeros without end: %v", err)
	}
}

func FuzzVHDXLog(f *testing.F) {
	const mib = 1 << 20
	b := sampleVHDX()
	for _, off := range vhdxHeaderPlaces {
		copy(b[off+vhdxLogGUID:], testLogGUID)
	}
	entry := logEntry{5, 0, []logChange{{place: 2 * mib, data: slices.Clone(b[2*mib:][:4096])}, {place: 3*mib + 4096, zeros: 8192}}}
	copy(b[4*mib:], entry.bytes(int64(len(b))))
	resum := func(b []byte) []byte {
		ring := b[4*mib:]
		if n := int(binary.LittleEndian.Uint32(ring[vhdxEntryLength:])); n <= len(ring) && n >= vhdxEntryHeader {
			clear(ring[vhdxSum:][:4])
			binary.LittleEndian.PutUint32(ring[vhdxSum:], crc32.Checksum(ring[:n], crc32.MakeTable(crc32.Castagnoli)))
		}
		return resumVHDX(b)
	}
	places := []int{int(vhdxHeaderPlaces[1]) + vhdxLogLength, int(vhdxHeaderPlaces[1]) + vhdxLogPlace}
	for off := vhdxEntryLength; off < vhdxEntryHeader+2*vhdxDescriptor; off += 8 {
		places = append(places, 4*mib+off)
	}
	fuzz(f, resum(b), resum, append(places, 4*mib+4096, 4*mib+8188)...)
}
