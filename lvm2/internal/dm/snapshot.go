package dm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"lvm2fs/mapping"
)

// ErrInvalidSnapshot: the snapshot overflowed or was given up after an I/O error. Its
// contents are lost for ever.
var ErrInvalidSnapshot = errors.New("invalid snapshot")

// ErrExceptions: the exception store does not make sense.
var ErrExceptions = errors.New("damaged exception store")

// maxExceptions bounds the memory that a table takes, to 1 GiB.
const maxExceptions = 1 << 26

// ExceptionStore is what a snapshot keeps in its COW store: its header, and a table of
// exceptions, the chunks that differ from the origin. With chunks of C bytes an area of
// exceptions holds E = C/16:
//
//	chunk 0       1        2 … E+1     E+2      E+3 … 2E+2   2E+3
//	| header | area 0 | data chunks | area 1 | data chunks | area 2 | …
//
//	header: "SnAp"  u32 valid  u32 version  u32 chunk size in sectors
//	area:   E × { u64 old chunk, of the origin; u64 new chunk, of the store }
//
// The first exception whose new chunk is 0 ends the table. Entries are only ever added
// behind the others, or taken away from the end by a merge, each by the write of a
// whole area; so the table is complete after a crash too.
// (docs/format/05-snapshot.md, sections 2 and 3)
type ExceptionStore struct {
	cow       mapping.Volume
	chunkSize int64 // bytes
	fresh     bool  // never activated: no header yet, no exceptions
	valid     bool
}

const (
	storeMagic      = 0x70416e53
	storeVersion    = 1
	storeHeaderSize = 16
	exceptionSize   = 16
	maxChunkSectors = 1 << 22
)

// OpenExceptionStore reads the header of the COW store on cow. chunkSize, in bytes, is what
// the VG's metadata says; it counts only while there is no header.
func OpenExceptionStore(cow mapping.Volume, chunkSize int64) (*ExceptionStore, error) {
	var h [storeHeaderSize]byte
	if _, err := cow.ReadAt(h[:], 0); err != nil {
		return nil, fmt.Errorf("header of the exception store: %w", err)
	}
	le := binary.LittleEndian
	s := &ExceptionStore{cow: cow, valid: true}
	switch magic := le.Uint32(h[:]); magic {
	case 0:
		s.fresh, s.chunkSize = true, chunkSize
		return s, s.neverActivated(h[:])
	case storeMagic:
	default:
		return nil, fmt.Errorf("%w: byte 0: magic 0x%08x", ErrExceptions, magic)
	}
	if v := le.Uint32(h[8:]); v != storeVersion {
		return nil, fmt.Errorf("%w: byte 8: version %d", ErrExceptions, v)
	}
	sectors := le.Uint32(h[12:])
	s.chunkSize = int64(sectors) * 512
	if sectors == 0 || sectors&(sectors-1) != 0 || sectors >= maxChunkSectors || s.chunkSize > cow.Size()/3 {
		return nil, fmt.Errorf("%w: byte 12: chunks of %d sectors in a store of %d bytes", ErrExceptions, sectors, cow.Size())
	}
	switch v := le.Uint32(h[4:]); v {
	case 0:
		s.valid = false
	case 1:
	default:
		return nil, fmt.Errorf("%w: byte 4: valid = %d", ErrExceptions, v)
	}
	return s, nil
}

// neverActivated fails unless a store without a header was never activated: LVM2 has cleared its first bytes, and there
// is no table. A table may also be left from an earlier store in the same place, but nothing tells that from a store that
// has lost its header.
func (s *ExceptionStore) neverActivated(header []byte) error {
	if !allZero(header) {
		return fmt.Errorf("%w: byte 0: magic 0, but the rest of the header is not", ErrExceptions)
	}
	if s.chunkSize > s.cow.Size()/3 {
		return nil
	}
	table, err := s.readTable()
	switch {
	case errors.Is(err, ErrExceptions): // whatever the device was used for before
		return nil
	case err != nil:
		return err
	}
	if _, ok := sortRedirections(table); ok && len(table) > 0 {
		return fmt.Errorf("%w: byte 0: zeros, but there are %d exceptions at byte %d", ErrExceptions, len(table), s.chunkSize)
	}
	return nil
}

// Valid says whether the snapshot is one that can be read.
func (s *ExceptionStore) Valid() bool { return s.valid }

// Used is how many bytes of the store are taken, by exceptions and what they need; 0 without exceptions. It reads the
// table.
func (s *ExceptionStore) Used() (int64, error) {
	table, err := s.exceptions()
	if err != nil {
		return 0, err
	}
	return int64(table.used()) * s.chunkSize, nil
}

// exceptions reads the table.
func (s *ExceptionStore) exceptions() (*exceptions, error) {
	var table []redirection
	if !s.fresh {
		var err error
		if table, err = s.readTable(); err != nil {
			return nil, err
		}
	}
	return newExceptions(table, s.chunkSize, s.chunks())
}

// chunks is the number of whole chunks of the store.
func (s *ExceptionStore) chunks() uint64 { return uint64(s.cow.Size() / s.chunkSize) }

func (s *ExceptionStore) readTable() ([]redirection, error) {
	perArea := s.chunkSize / exceptionSize
	chunks := s.cow.Size() / s.chunkSize
	// An area with a large chunk is mostly empty, so it is read in pieces.
	piece := make([]byte, min(s.chunkSize, 64<<10))
	var table []redirection
	for chunk := int64(1); ; chunk += perArea + 1 {
		if chunk >= chunks {
			return nil, fmt.Errorf("%w: no end before chunk %d, the store has %d", ErrExceptions, chunk, chunks)
		}
		for at := int64(0); at < s.chunkSize; at += int64(len(piece)) {
			off := chunk*s.chunkSize + at
			if _, err := s.cow.ReadAt(piece, off); err != nil {
				return nil, fmt.Errorf("exceptions at byte %d of the store: %w", off, err)
			}
			for i := 0; i < len(piece); i += exceptionSize {
				e := redirection{binary.LittleEndian.Uint64(piece[i:]), binary.LittleEndian.Uint64(piece[i+8:])}
				switch {
				case e.store == 0:
					return table, nil
				case e.store >= uint64(chunks) || e.store%uint64(perArea+1) == 1:
					return nil, fmt.Errorf("%w: byte %d: new chunk %d, the store has %d", ErrExceptions, off+int64(i), e.store, chunks)
				case e.origin > math.MaxInt64/uint64(s.chunkSize):
					return nil, fmt.Errorf("%w: byte %d: old chunk %d", ErrExceptions, off+int64(i), e.origin)
				case len(table) == maxExceptions:
					return nil, fmt.Errorf("%w: more than %d exceptions", ErrExceptions, maxExceptions)
				}
				table = append(table, e)
			}
		}
	}
}

// Merging is what an origin shows while a snapshot is being merged into it: the bytes of store where it has an exception,
// and elsewhere those of origin, which is the origin's own mapping. A chunk that has been merged has no exception any
// more. It is read-only.
// (docs/format/05-snapshot.md, section 4)
func Merging(origin mapping.Volume, store *ExceptionStore) mapping.Volume {
	return &lazy{origin.Size(), once(func() (mapping.Volume, error) {
		table, err := store.exceptions()
		if err != nil {
			return nil, err
		}
		return redirected(origin, store.cow, store.chunkSize, origin.Size(), table), nil
	})}
}
