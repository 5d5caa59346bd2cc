package ondisk

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const sample = "vg0 {\nid = \"yI4fVH-3sBt-Mqm7-ZgD5-eNRm-uW2L-ivfRkx\"\nseqno = 7\n}\nversion = 1\n\x00"

func readText(d disk) (string, error) {
	m, err := ReadMetadataArea(d, area, d.size())
	if err != nil {
		return "", err
	}
	text, err := m.ReadText(d)
	return string(text), err
}

func TestAMetadataAreaIsReadByteForByte(t *testing.T) {
	d := make(disk, 32<<10)
	d.mda(areaAt, areaSize,
		[]byte{0, 6, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5},
		[]byte{8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 1, 2, 3, 4, 5, 6, 7, 8})
	m, err := ReadMetadataArea(d, area, d.size())
	if err != nil {
		t.Fatal(err)
	}
	want := &MetadataArea{
		Area:         area,
		Committed:    Slot{0x600, 0x110, 0x01020304, 0x05060708},
		Precommitted: Slot{0x0102030405060708, 0x1112131415161718, 0x04030201, 0x08070605},
	}
	if diff := cmp.Diff(want, m, cmpopts.IgnoreUnexported(MetadataArea{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheTextIsReadWhereverTheRingWraps(t *testing.T) {
	// The last byte at the end of the area, the first one there, and all between: within
	// every token.
	for offset := areaSize - len(sample); offset < areaSize; offset++ {
		text, err := readText(textDisk(t, sample, offset))
		if err != nil || text != sample {
			t.Fatalf("at %d: %q, %v", offset, text, err)
		}
	}
	for _, offset := range []int{512, 1024, 5000} {
		text, err := readText(textDisk(t, sample, offset))
		if err != nil || text != sample {
			t.Fatalf("at %d: %q, %v", offset, text, err)
		}
	}
}

func TestATextMayFillTheWholeRing(t *testing.T) {
	full := strings.Repeat("# full\n", 1100)[:areaSize-512]
	for _, offset := range []int{512, 513, 4096, areaSize - 1} {
		text, err := readText(textDisk(t, full, offset))
		if err != nil || text != full {
			t.Errorf("at %d: %d bytes, %v", offset, len(text), err)
		}
	}
}

func TestAnEmptyAreaHoldsNoVG(t *testing.T) {
	d := make(disk, 32<<10)
	d.mda(areaAt, areaSize)
	m, err := ReadMetadataArea(d, area, d.size())
	if err != nil || !m.Empty() || m.Ignored {
		t.Fatalf("%+v, %v", m, err)
	}
	if text, err := m.ReadText(d); text != nil || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAnIgnoredAreaSaysSo(t *testing.T) {
	d := textDisk(t, sample, 512)
	d.mda(areaAt, areaSize, slot(512, len(sample), CRC([]byte(sample)), 1))
	m, err := ReadMetadataArea(d, area, d.size())
	if err != nil || !m.Ignored || m.Empty() {
		t.Fatalf("%+v, %v", m, err)
	}
	if text, err := m.ReadText(d); string(text) != sample || err != nil {
		t.Errorf("its stale text: %q, %v", text, err)
	}
	d.mda(areaAt, areaSize, slot(0, 0, 0, 1))
	if m, err := ReadMetadataArea(d, area, d.size()); err != nil || !m.Ignored || !m.Empty() {
		t.Errorf("without a text: %+v, %v", m, err)
	}
}

func TestThePrecommittedTextDoesNotCount(t *testing.T) {
	const next = "vg0 {\nseqno = 8\n}\n\x00"
	d := textDisk(t, sample, 512)
	copy(d[areaAt+1024:], next)
	d.mda(areaAt, areaSize, slot(512, len(sample), CRC([]byte(sample)), 0), slot(1024, len(next), CRC([]byte(next)), 0))
	if text, err := readText(d); text != sample || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	d.mda(areaAt, areaSize, slot(0, 0, 0, 0), slot(1024, len(next), CRC([]byte(next)), 0))
	m, err := ReadMetadataArea(d, area, d.size())
	if err != nil || !m.Empty() || m.Precommitted.Offset != 1024 {
		t.Errorf("of a VG that is just being made: %+v, %v", m, err)
	}
}

func TestADamagedMetadataAreaSaysWhatIsWrongAndWhere(t *testing.T) {
	crc := CRC([]byte(sample))
	seal := func(change func(d disk)) func(d disk) {
		return func(d disk) { change(d); d.sealMDA(areaAt) }
	}
	slot0 := func(offset, size int) func(d disk) {
		return func(d disk) { d.mda(areaAt, areaSize, slot(offset, size, crc, 0)) }
	}
	const header = "metadata area at byte 4096: "
	for _, test := range []struct {
		name   string
		damage func(d disk)
		is     error
		want   string
	}{
		{"contents", func(d disk) { d[areaAt+300] = 1 }, ErrChecksum, header + "checksum mismatch: 0x"},
		{"magic", seal(func(d disk) { d[areaAt+4] = 'x' }), ErrFormat, header + "invalid format: magic"},
		{"version", seal(func(d disk) { d[areaAt+20] = 2 }), ErrFormat, header + "invalid format: version 2"},
		{"start", seal(func(d disk) { d.put64(areaAt+24, 8192) }), ErrFormat, header + "invalid format: it says it is at byte 8192"},
		{"start beyond 63 bits", seal(func(d disk) { d.put64(areaAt+24, math.MaxUint64) }), ErrFormat, header + "start: invalid format"},
		{"size below the header's", seal(func(d disk) { d.put64(areaAt+32, 511) }), ErrFormat, header + "invalid format: size 511"},
		{"size that overflows", seal(func(d disk) { d.put64(areaAt+32, math.MaxInt64) }), ErrFormat, header + "invalid format: size"},
		{"size beyond 63 bits", seal(func(d disk) { d.put64(areaAt+32, 1<<63) }), ErrFormat, header + "size: invalid format"},
		{"text in the header", slot0(511, 10), ErrFormat, header + "invalid format: text of 10 bytes at byte 511"},
		{"text behind the area", slot0(areaSize, 10), ErrFormat, header + "invalid format: text of 10 bytes at byte 8192"},
		{"text larger than the ring", slot0(512, areaSize-511), ErrFormat, header + "invalid format: text of 7681 bytes"},
		{"text of no bytes", slot0(512, 0), ErrFormat, header + "invalid format: text of 0 bytes"},
		{"text beyond 63 bits", slot0(-1, 10), ErrFormat, header + "committed slot: invalid format"},
		{"size of text beyond 63 bits", slot0(512, -1), ErrFormat, header + "committed slot: invalid format"},
		{"precommitted slot beyond 63 bits", seal(func(d disk) { d.put64(areaAt+64, 1<<63) }), ErrFormat, header + "precommitted slot: invalid format"},
		{"text", func(d disk) { d[areaAt+1024+7]++ }, ErrChecksum, "metadata text at byte 5120: checksum mismatch: 0x"},
		{"text without its NUL", slot0(1024, len(sample)-1), ErrChecksum, "metadata text at byte 5120: checksum mismatch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := textDisk(t, sample, 1024)
			test.damage(d)
			text, err := readText(d)
			if err == nil {
				t.Fatalf("read as %q", text)
			}
			if !errors.Is(err, test.is) || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestEveryFlippedBitInTheHeaderAndTheTextIsAnError(t *testing.T) {
	d := textDisk(t, sample, areaSize-20)
	flip := func(from, to int) {
		for bit := from * 8; bit < to*8; bit++ {
			d[bit/8] ^= 1 << (bit % 8)
			if text, err := readText(d); err == nil {
				t.Fatalf("bit %d of byte %d: read as %q", bit%8, bit/8, text)
			}
			d[bit/8] ^= 1 << (bit % 8)
		}
	}
	flip(areaAt, areaAt+512)
	flip(areaAt+areaSize-20, areaAt+areaSize)
	flip(areaAt+512, areaAt+512+len(sample)-20)
}

func TestAnAreaWhereNoneCanBeIsRefused(t *testing.T) {
	d := textDisk(t, sample, 512)
	for _, a := range []Area{
		{0, areaSize},
		{1536, areaSize},
		{areaAt + 1, areaSize},
		{areaAt, 0},
		{areaAt, 511},
		{d.size(), areaSize},
		{d.size() - 511, areaSize},
		{math.MaxInt64 - 511, 512},
		{-512, 512},
	} {
		if m, err := ReadMetadataArea(d, a, d.size()); !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: %+v, %v", a, m, err)
		}
	}
}

func TestADeviceThatEndsWithinTheAreaIsAnErrorWhereItMatters(t *testing.T) {
	whole := textDisk(t, sample, areaSize-20)
	end := areaAt + areaSize
	if text, err := readText(whole[:end]); text != sample || err != nil {
		t.Errorf("that ends with the area: %q, %v", text, err)
	}
	for _, length := range []int{areaAt, areaAt + 511, areaAt + 512, end - 20, end - 1} {
		if text, err := readText(whole[:length]); !errors.Is(err, ErrFormat) {
			t.Errorf("that ends at %d: %q, %v", length, text, err)
		}
	}
	early := textDisk(t, sample, 512)
	if text, err := readText(early[:areaAt+1024]); text != sample || err != nil {
		t.Errorf("that ends behind the text: %q, %v", text, err)
	}
}

func TestAnUnreadableMetadataAreaGivesTheErrorOfTheDevice(t *testing.T) {
	broken := errors.New("medium error")
	d := textDisk(t, sample, areaSize-20)
	if _, err := ReadMetadataArea(failing{d, areaAt, areaAt + 1, broken}, area, d.size()); !errors.Is(err, broken) {
		t.Errorf("header: %v", err)
	}
	m, err := ReadMetadataArea(d, area, d.size())
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{areaAt + 512, areaAt + areaSize - 1} {
		text, err := m.ReadText(failing{d, at, at + 1, broken})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "metadata text at byte 12268") {
			t.Errorf("text at %d: %q, %v", at, text, err)
		}
	}
}

func TestATextThatIsTooLargeIsNotRead(t *testing.T) {
	const size = 1 << 40
	d := make(disk, 8192)
	d.mda(areaAt, size, slot(512, maxTextSize+1, 0, 0))
	m, err := ReadMetadataArea(d, Area{areaAt, size}, size*2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadText(d); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func TestReadingStaysWithinTheArea(t *testing.T) {
	d := textDisk(t, sample, areaSize-20)
	r := &recording{disk: d}
	m, err := ReadMetadataArea(r, area, d.size())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := m.ReadText(r); err != nil || !bytes.Equal(text, []byte(sample)) {
		t.Fatalf("%q, %v", text, err)
	}
	if r.from < areaAt || r.to > areaAt+areaSize {
		t.Errorf("read %d to %d, the area is %d to %d", r.from, r.to, areaAt, areaAt+areaSize)
	}
}

// recording remembers the range of what was read.
type recording struct {
	disk
	from, to int64
}

func (r *recording) ReadAt(p []byte, off int64) (int, error) {
	if r.to == 0 {
		r.from = off
	}
	r.from, r.to = min(r.from, off), max(r.to, off+int64(len(p)))
	return r.disk.ReadAt(p, off)
}
