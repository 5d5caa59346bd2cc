package ondisk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"lvm2fs/mapping"
)

// Header is what a PV says of itself.
type Header struct {
	LabelSector   int    // the sector that the label was found in
	UUID          string // 32 characters, without dashes
	DeviceSize    int64  // bytes, when the PV was made or resized
	DataAreas     []Area
	MetadataAreas []Area
	BootAreas     []Area
	Version       uint32 // of the header's extension; 0 for none
	Flags         uint32 // of the extension
}

// InUse says whether the PV belongs to a VG, as far as its header knows.
func (h *Header) InUse() bool { return h.Flags&flagInUse != 0 }

// ReadHeader finds the label in the first four sectors of a device of size bytes and
// reads the PV header behind it. The first valid label counts. Without one it fails with
// ErrNoLabel, with what is wrong with the first damaged one (ErrChecksum, ErrFormat), or
// with the error of r.
// (docs/format/01-label-and-metadata-area.md, sections 2 and 4)
func ReadHeader(r io.ReaderAt, size int64) (*Header, error) {
	var wrong error
	for i := range labelSectors {
		off := int64(i) * SectorSize
		if off+SectorSize > size {
			break
		}
		sector := make(structure, SectorSize)
		_, err := mapping.ReadFull(r, sector, off)
		if err != nil {
			wrong = cmp.Or(wrong, fmt.Errorf("sector at byte %d: %w", off, err))
			continue
		}
		if string(sector[labelMagic:labelMagic+len(labelMagicText)]) != labelMagicText {
			continue
		}
		start, err := decodeLabel(sector, i)
		if err != nil {
			wrong = cmp.Or(wrong, fmt.Errorf("PV label at byte %d: %w", off, err))
			continue
		}
		h, err := decodeHeader(sector[start:])
		if err != nil {
			return nil, fmt.Errorf("PV header at byte %d: %w", off+int64(start), err)
		}
		h.LabelSector = i
		return h, nil
	}
	return nil, cmp.Or(wrong, ErrNoLabel)
}

// decodeLabel gives the offset in the sector of the PV header.
func decodeLabel(sector structure, number int) (int, error) {
	if err := checkCRC(sector.u32(labelCRC), sector[labelCRCStart:]); err != nil {
		return 0, err
	}
	if n := binary.LittleEndian.Uint64(sector[labelSector:]); n != uint64(number) {
		return 0, fmt.Errorf("%w: it says it is in sector %d, and is in sector %d", ErrFormat, n, number)
	}
	if typ := string(sector[labelType:labelTypeEnd]); typ != labelTypeText {
		return 0, fmt.Errorf("%w: type %q, not %q", ErrFormat, typ, labelTypeText)
	}
	start := sector.u32(labelPVHeader)
	if start < labelTypeEnd || start > SectorSize-pvLists {
		return 0, fmt.Errorf("%w: PV header at byte %d of the sector", ErrFormat, start)
	}
	return int(start), nil
}

// decodeHeader reads the PV header at the start of b, which ends with the sector.
func decodeHeader(b structure) (h *Header, err error) {
	h = &Header{UUID: string(b[pvUUID : pvUUID+uuidSize])}
	if err := checkUUID(h.UUID); err != nil {
		return nil, err
	}
	if h.DeviceSize, err = b.size(pvDeviceSize); err != nil {
		return nil, fmt.Errorf("device size: %w", err)
	}
	rest := b[pvLists:]
	if h.DataAreas, rest, err = decodeAreas(rest); err != nil {
		return nil, fmt.Errorf("data areas: %w", err)
	}
	if h.MetadataAreas, rest, err = decodeAreas(rest); err != nil {
		return nil, fmt.Errorf("metadata areas: %w", err)
	}
	if len(rest) < extLists || rest.u32(extVersion) == 0 {
		return h, nil
	}
	h.Version, h.Flags = rest.u32(extVersion), rest.u32(extFlags)
	if h.BootAreas, _, err = decodeAreas(rest[extLists:]); err != nil {
		return nil, fmt.Errorf("bootloader areas: %w", err)
	}
	return h, nil
}

func checkUUID(uuid string) error {
	for i := range len(uuid) {
		c := uuid[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '!' || c == '#') {
			return fmt.Errorf("%w: UUID %q", ErrFormat, uuid)
		}
	}
	return nil
}

// decodeAreas reads a list up to its terminator, an offset of 0, and gives what follows.
func decodeAreas(b structure) ([]Area, structure, error) {
	var areas []Area
	for ; len(b) >= locnSize; b = b[locnSize:] {
		offset, err := b.size(locnOffset)
		if err != nil {
			return nil, nil, err
		}
		if offset == 0 {
			return areas, b[locnSize:], nil
		}
		size, err := b.size(locnAreaSize)
		if err != nil {
			return nil, nil, err
		}
		if size > math.MaxInt64-offset {
			return nil, nil, fmt.Errorf("%w: %d bytes at byte %d end beyond 63 bits", ErrFormat, size, offset)
		}
		areas = append(areas, Area{offset, size})
	}
	return nil, nil, fmt.Errorf("%w: the list does not end within the sector", ErrFormat)
}
