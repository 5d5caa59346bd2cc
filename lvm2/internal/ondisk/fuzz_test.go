package ondisk

import (
	"bytes"
	"io"
	"testing"
)

// boundedReader fails the test for reads that no decoder should ask for.
type boundedReader struct {
	t testing.TB
	disk
}

func (r boundedReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || len(p) > len(r.disk) {
		r.t.Errorf("asked for %d bytes at %d of a device of %d", len(p), off, len(r.disk))
		return 0, io.ErrUnexpectedEOF
	}
	return r.disk.ReadAt(p, off)
}

// FuzzReadHeader holds that what comes of any sector with a valid checksum is within the
// bounds of its types, and that the same is read again when nothing else has changed.
func FuzzReadHeader(f *testing.F) {
	seed := func(d disk) { f.Add([]byte(d[512:1024]), uint8(1), uint16(8)) }
	seed(example())
	seed(textDisk(f, sample, 512))
	two := make(disk, 8192)
	two.label(1, 1<<30, 1<<20, 4096, 2<<20, 0, 0, 0, 4096, 126976, 100597760, 65536, 0, 0, 1<<32|2, 131072, 131072)
	seed(two)
	f.Fuzz(func(t *testing.T, sector []byte, number uint8, sectors uint16) {
		d := make(disk, 512*int(sectors%16)+int(sectors%7))
		at := 512 * int(number%5)
		if len(d) < at+512 {
			ReadHeader(boundedReader{t, d}, d.size())
			return
		}
		copy(d[at:at+512], sector)
		d.sealLabel(at / 512)
		h, err := ReadHeader(boundedReader{t, d}, d.size())
		if err != nil {
			if h != nil || err.Error() == "" {
				t.Fatalf("%+v with error %v", h, err)
			}
			return
		}
		if h.LabelSector != at/512 || len(h.UUID) != 32 || h.DeviceSize < 0 {
			t.Fatalf("%+v", h)
		}
		for _, areas := range [][]Area{h.DataAreas, h.MetadataAreas, h.BootAreas} {
			for _, a := range areas {
				if a.Offset <= 0 || a.Size < 0 || a.Offset+a.Size < 0 {
					t.Fatalf("area %+v", a)
				}
			}
		}
		for _, a := range h.MetadataAreas {
			if m, err := ReadMetadataArea(boundedReader{t, d}, a, d.size()); err == nil {
				m.ReadText(boundedReader{t, d})
			}
		}
	})
}

// FuzzReadMetadataArea holds that a text comes only from where the slot says, whole and with
// its checksum.
func FuzzReadMetadataArea(f *testing.F) {
	seed := func(d disk) {
		f.Add([]byte(d[areaAt:areaAt+512]), []byte(d[areaAt+512:areaAt+areaSize]), int64(areaAt), int64(areaSize), true)
	}
	seed(textDisk(f, sample, 512))
	seed(textDisk(f, sample, areaSize-20))
	none := make(disk, 32<<10)
	none.mda(areaAt, areaSize)
	seed(none)
	ignored := textDisk(f, sample, 512)
	ignored.mda(areaAt, areaSize, slot(512, len(sample), CRC([]byte(sample)), 1), slot(1024, 10, 0, 0))
	seed(ignored)
	f.Fuzz(func(t *testing.T, header, ring []byte, at, size int64, sealText bool) {
		if len(ring) > 64<<10 {
			return
		}
		d := make(disk, areaAt+512+len(ring))
		copy(d[areaAt:areaAt+512], header)
		copy(d[areaAt+512:], ring)
		if sealText {
			sealCommitted(d)
		}
		d.sealMDA(areaAt)
		r := boundedReader{t, d}
		m, err := ReadMetadataArea(r, Area{at, size}, d.size())
		if err != nil {
			return
		}
		text, err := m.ReadText(r)
		switch {
		case err != nil:
			if text != nil {
				t.Fatalf("%d bytes with error %v", len(text), err)
			}
		case m.Empty():
			if text != nil {
				t.Fatalf("%d bytes of an empty area", len(text))
			}
		default:
			var want []byte
			for i := range m.Committed.Size {
				at := m.Committed.Offset + i
				if at >= m.Size {
					at = 512 + at - m.Size
				}
				want = append(want, d[m.Offset+at])
			}
			if !bytes.Equal(text, want) || CRC(text) != m.Committed.Checksum {
				t.Fatalf("got %q, want %q", text, want)
			}
		}
	})
}

// sealCommitted gives slot 0 the checksum of its text, where there is one, so that the
// fuzzer gets past it.
func sealCommitted(d disk) {
	b := structure(d[areaAt : areaAt+512])
	size, err1 := b.size(32)
	s, err2 := decodeSlot(b[40:])
	if err1 != nil || err2 != nil || s.Size <= 0 || s.Size > int64(len(d)) || s.Offset < 0 || s.Offset >= size {
		return
	}
	text := make([]byte, s.Size)
	for i := range text {
		at := s.Offset + int64(i)
		if at >= size {
			at = 512 + at - size
		}
		if at = at + areaAt; at < 0 || at >= d.size() {
			return
		}
		text[i] = d[at]
	}
	d.put32(areaAt+56, CRC(text))
}
