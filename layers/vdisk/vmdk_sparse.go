package vdisk

import (
	"encoding/binary"

	"lvm2fs/mapping"
)

// A sparse extent. Integers are little-endian; places and lengths are in sectors of 512
// bytes. A directory of u32 leads to tables of u32, whose entries lead to grains: 0 for none,
// 1 for zeros. A compressed grain has a header of its own: u64 first sector, u32 length in
// bytes.
const (
	sparseVersion      = 4   // u32
	sparseFlags        = 8   // u32
	sparseCapacity     = 12  // u64
	sparseGrain        = 20  // u64
	sparseDescriptor   = 28  // u64
	sparseDescriptorN  = 36  // u64
	sparseEntries      = 44  // u32, of a table
	sparseDirectory    = 56  // u64
	sparseNewlines     = 73  // 4: what a transfer as text would have changed
	sparseCompression  = 77  // u16
	sparseHeaderSize   = 512 // padded
	sparseAtEnd        = 1<<64 - 1
	sparseFooter       = 1024 // bytes from the end of the file to the second header
	sparseMaxGrain     = 1 << 16
	sparseMaxEntries   = 1 << 16
	sparseGrainHeader  = 12
	sparseTheNewlines  = "\n \r\n"
	sparseChecksText   = 1 << 0
	sparseZeroGrains   = 1 << 2
	sparseIsCompressed = 1 << 16
)

type sparse struct {
	tables    *table
	bytes     int64
	grain     int64 // bytes
	entries   int64 // of a table
	directory int64 // bytes from the start of the file
	zeroGrain bool
	inflated  *inflated // nil if grains lie there as they are

	textPlace, textLength int64 // bytes

	header  []byte // when it was opened
	wasOpen bool   // by the header, before it was claimed

	// beneath is the disk that this one is an overlay of, nil for none, in which the
	// extent begins at from.
	beneath mapping.Volume
	from    int64
}

func openSparse(dev mapping.Device) (*sparse, error) {
	b := make([]byte, sparseHeaderSize)
	if _, err := mapping.ReadFull(dev, b, 0); err != nil {
		return nil, err
	}
	if string(b[:4]) != "KDMV" {
		return nil, damaged("no sparse extent")
	}
	// The descriptor is told of by the header at the start alone.
	first := b
	if binary.LittleEndian.Uint64(b[sparseDirectory:]) == sparseAtEnd {
		b = make([]byte, sparseHeaderSize)
		if dev.Size() < 2*sparseFooter {
			return nil, damaged("it ends before its footer")
		}
		if _, err := mapping.ReadFull(dev, b, dev.Size()-sparseFooter); err != nil {
			return nil, err
		}
		if string(b[:4]) != "KDMV" {
			return nil, damaged("no footer: the image is cut short")
		}
	}
	s, err := decodeSparse(b)
	if err != nil {
		return nil, err
	}
	text, length := binary.LittleEndian.Uint64(first[sparseDescriptor:]), binary.LittleEndian.Uint64(first[sparseDescriptorN:])
	if text > vmdkMaxSectors || length > vmdkMaxDescriptor/512 {
		return nil, damaged("a descriptor of %d sectors at sector %d", length, text)
	}
	s.header = first
	s.textPlace, s.textLength = int64(text)*512, int64(length)*512
	s.tables = newTable(dev, binary.LittleEndian)
	return s, nil
}

func decodeSparse(b []byte) (*sparse, error) {
	u64 := func(off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
	flags := binary.LittleEndian.Uint32(b[sparseFlags:])
	version, compression := binary.LittleEndian.Uint32(b[sparseVersion:]), binary.LittleEndian.Uint16(b[sparseCompression:])
	entries := int64(binary.LittleEndian.Uint32(b[sparseEntries:]))
	grain, capacity, directory := u64(sparseGrain), u64(sparseCapacity), u64(sparseDirectory)
	switch {
	case version < 1 || version > 3:
		return nil, unsupported("version %d", version)
	case flags&sparseChecksText != 0 && string(b[sparseNewlines:][:4]) != sparseTheNewlines:
		return nil, damaged("its line ends were changed: it was transferred as if it were text")
	case grain < 1 || grain > sparseMaxGrain || grain&(grain-1) != 0:
		return nil, damaged("grains of %d sectors", grain)
	case entries < 1 || entries > sparseMaxEntries:
		return nil, damaged("grain tables of %d entries", entries)
	case capacity < 1 || capacity > vmdkMaxSectors || directory > vmdkMaxSectors:
		return nil, damaged("a disk of %d sectors with a directory at sector %d", capacity, directory)
	case compression > 1 || (compression == 1) != (flags&sparseIsCompressed != 0):
		return nil, unsupported("compression %d with flags %#x", compression, flags)
	}
	s := &sparse{
		bytes:     int64(capacity) * 512,
		grain:     int64(grain) * 512,
		entries:   entries,
		directory: int64(directory) * 512,
		zeroGrain: flags&sparseZeroGrains != 0,
	}
	if compression == 1 {
		s.inflated = newInflated(s.grain, inflateZlib)
	}
	return s, nil
}

// descriptor returns the text in the extent, nil if there is none.
func (s *sparse) descriptor() ([]byte, error) {
	if s.textPlace == 0 || s.textLength == 0 {
		return nil, nil
	}
	b := make([]byte, s.textLength)
	_, err := mapping.ReadFull(s.tables.dev, b, s.textPlace)
	if b[0] == 0 {
		b = nil // room for one
	}
	return b, err
}

func (s *sparse) size() int64   { return s.bytes }
func (s *sparse) sector() int64 { return 512 }

// at returns where in the file the grain at off is: 0 for nowhere, 1 for zeros. rest is for
// how many bytes from off that holds.
func (s *sparse) at(off int64) (place, rest int64, err error) {
	span := s.entries * s.grain
	table, err := s.tables.u32(s.directory + off/span*4)
	if err != nil {
		return 0, 0, err
	}
	if table == 0 {
		return 0, span - off%span, nil
	}
	sector, err := s.tables.u32(int64(table)*512 + off%span/s.grain*4)
	if err != nil {
		return 0, 0, err
	}
	rest = s.grain - off%s.grain
	if sector == 1 && s.zeroGrain {
		return 1, rest, nil
	}
	return int64(sector) * 512, rest, nil
}

func (s *sparse) Map(off, max int64) (mapping.Extent, error) {
	place, rest, err := s.at(off)
	if err != nil {
		return mapping.Extent{}, err
	}
	n := min(max, s.bytes-off, rest)
	switch {
	case place == 0:
		return mapBeneath(s.beneath, s.from+off, n)
	case place == 1:
		return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
	case s.inflated != nil:
		return mapping.Extent{Kind: mapping.Computed, Length: n}, nil
	}
	return mapping.Extent{Kind: mapping.Data, Length: n, Device: s.tables.dev, Offset: place + off%s.grain}, nil
}

func (s *sparse) compute(p []byte, off int64) error {
	for len(p) > 0 {
		place, rest, err := s.at(off)
		if err != nil {
			return err
		}
		n := min(int64(len(p)), rest)
		if place == 0 {
			// What is beneath is computed, for all that Map was asked about.
			x, err := s.Map(off, n)
			if err != nil {
				return err
			}
			n = x.Length
			if _, err := mapping.ReadFull(s.beneath, p[:n], s.from+off); err != nil {
				return err
			}
		} else {
			i := off / s.grain
			grain, err := s.inflated.get(i, func() ([]byte, error) { return s.packed(place, i) })
			if err != nil {
				return err
			}
			// The last grain of a disk may be short.
			if off%s.grain+n > int64(len(grain)) {
				return damaged("the grain at byte %d has only %d bytes", place, len(grain))
			}
			copy(p[:n], grain[off%s.grain:])
		}
		p, off = p[n:], off+n
	}
	return nil
}

// packed returns the bytes of a compressed grain, which names itself in its header.
func (s *sparse) packed(place, i int64) ([]byte, error) {
	head, err := s.tables.at(place, sparseGrainHeader)
	if err != nil {
		return nil, err
	}
	sector, length := binary.LittleEndian.Uint64(head), int64(binary.LittleEndian.Uint32(head[8:]))
	if sector != uint64(i*s.grain/512) || length > 2*s.grain+512 {
		return nil, damaged("the grain at byte %d says that it is sector %d in %d bytes, and is to be sector %d", place, sector, length, i*s.grain/512)
	}
	b := make([]byte, length)
	_, err = mapping.ReadFull(s.tables.dev, b, place+sparseGrainHeader)
	return b, err
}
