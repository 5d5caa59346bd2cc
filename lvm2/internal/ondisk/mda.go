package ondisk

import (
	"fmt"
	"io"
	"math"

	"lvm2fs/mapping"
)

// maxTextSize bounds what is allocated for a text. LVM2's own limit is 4 GiB, which
// nothing comes near.
const maxTextSize = 64 << 20

// Slot says where in a metadata area a text is (raw_locn).
type Slot struct {
	Offset   int64 // bytes from the start of the area; 0 for no text
	Size     int64 // bytes, with the NUL at the end
	Checksum uint32
	Flags    uint32
}

// MetadataArea is the header of a metadata area.
type MetadataArea struct {
	Area
	Committed    Slot // the text that counts
	Precommitted Slot // the text of an update that has not ended
	Ignored      bool // kept out of use; a text in it is stale

	deviceSize int64
}

// ReadMetadataArea reads the header of the metadata area that the PV header says is at
// a, on a device of deviceSize bytes. It fails with ErrChecksum, ErrFormat or the error
// of r.
// (docs/format/01-label-and-metadata-area.md, section 6)
func ReadMetadataArea(r io.ReaderAt, a Area, deviceSize int64) (*MetadataArea, error) {
	m, err := readMetadataArea(r, a, deviceSize)
	if err != nil {
		return nil, fmt.Errorf("metadata area at byte %d: %w", a.Offset, err)
	}
	return m, nil
}

func readMetadataArea(r io.ReaderAt, a Area, deviceSize int64) (*MetadataArea, error) {
	switch {
	case a.Offset < labelSectors*SectorSize || a.Offset%SectorSize != 0:
		return nil, fmt.Errorf("%w: that is no place for one", ErrFormat)
	case a.Size < mdaHeaderSize:
		return nil, fmt.Errorf("%w: %d bytes do not hold its header", ErrFormat, a.Size)
	case a.Offset > deviceSize-mdaHeaderSize:
		return nil, fmt.Errorf("%w: beyond the end of the device at %d", ErrFormat, deviceSize)
	}
	b := make(structure, mdaHeaderSize)
	if _, err := mapping.ReadFull(r, b, a.Offset); err != nil {
		return nil, err
	}
	m, err := decodeMetadataArea(b)
	if err != nil {
		return nil, err
	}
	if m.Offset != a.Offset {
		return nil, fmt.Errorf("%w: it says it is at byte %d", ErrFormat, m.Offset)
	}
	m.deviceSize = deviceSize
	return m, nil
}

func decodeMetadataArea(b structure) (m *MetadataArea, err error) {
	if err := checkCRC(b.u32(mdaCRC), b[mdaCRCStart:]); err != nil {
		return nil, err
	}
	if magic := string(b[mdaMagic : mdaMagic+len(mdaMagicText)]); magic != mdaMagicText {
		return nil, fmt.Errorf("%w: magic %q", ErrFormat, magic)
	}
	if version := b.u32(mdaVersion); version != knownVersion {
		return nil, fmt.Errorf("%w: version %d, not %d", ErrFormat, version, knownVersion)
	}
	m = new(MetadataArea)
	if m.Offset, err = b.size(mdaStart); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if m.Size, err = b.size(mdaSize); err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	if m.Size < mdaHeaderSize || m.Size > math.MaxInt64-m.Offset {
		return nil, fmt.Errorf("%w: size %d", ErrFormat, m.Size)
	}
	if m.Committed, err = decodeSlot(b[mdaSlots:]); err != nil {
		return nil, fmt.Errorf("committed slot: %w", err)
	}
	if m.Precommitted, err = decodeSlot(b[mdaSlots+slotSize:]); err != nil {
		return nil, fmt.Errorf("precommitted slot: %w", err)
	}
	m.Ignored = m.Committed.Flags&flagIgnored != 0
	if m.Empty() {
		return m, nil
	}
	if s := m.Committed; s.Offset < mdaHeaderSize || s.Offset >= m.Size || s.Size == 0 || s.Size > m.Size-mdaHeaderSize {
		return nil, fmt.Errorf("%w: text of %d bytes at byte %d of an area of %d bytes", ErrFormat, s.Size, s.Offset, m.Size)
	}
	return m, nil
}

func decodeSlot(b structure) (s Slot, err error) {
	if s.Offset, err = b.size(slotOffset); err != nil {
		return s, err
	}
	if s.Size, err = b.size(slotTextSize); err != nil {
		return s, err
	}
	s.Checksum, s.Flags = b.u32(slotCRC), b.u32(slotFlags)
	return s, nil
}

// Empty says whether the area holds no VG's metadata.
func (m *MetadataArea) Empty() bool { return m.Committed.Offset == 0 }

// ReadText reads the committed text, with the NUL at its end; nil if the area is empty.
// It fails with ErrChecksum, ErrFormat or the error of r.
// (docs/format/01-label-and-metadata-area.md, section 6, "Ring buffer")
func (m *MetadataArea) ReadText(r io.ReaderAt) ([]byte, error) {
	if m.Empty() {
		return nil, nil
	}
	text, err := m.readRing(r, m.Committed)
	if err == nil {
		err = checkCRC(m.Committed.Checksum, text)
	}
	if err != nil {
		return nil, fmt.Errorf("metadata text at byte %d: %w", m.Offset+m.Committed.Offset, err)
	}
	return text, nil
}

// readRing reads the bytes of a slot, which go on behind the header where they reach the
// end of the area.
func (m *MetadataArea) readRing(r io.ReaderAt, s Slot) ([]byte, error) {
	if s.Size > maxTextSize {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrFormat, s.Size, maxTextSize)
	}
	toEnd := min(s.Size, m.Size-s.Offset)
	for _, part := range []Area{
		{m.Offset + s.Offset, toEnd},
		{m.Offset + mdaHeaderSize, s.Size - toEnd},
	} {
		if part.Size > m.deviceSize-part.Offset {
			return nil, fmt.Errorf("%w: %d bytes at byte %d end beyond the device at %d", ErrFormat, part.Size, part.Offset, m.deviceSize)
		}
	}
	text := make([]byte, s.Size)
	if _, err := mapping.ReadFull(r, text[:toEnd], m.Offset+s.Offset); err != nil {
		return nil, err
	}
	if _, err := mapping.ReadFull(r, text[toEnd:], m.Offset+mdaHeaderSize); err != nil {
		return nil, err
	}
	return text, nil
}
