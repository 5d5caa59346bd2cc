package target

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"

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

	load  sync.Once
	table []exception // sorted by old chunk
	err   error       // of loading
}

type exception struct{ oldChunk, newChunk uint64 }

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
		return s, nil
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

// Valid says whether the snapshot is one that can be read.
func (s *ExceptionStore) Valid() bool { return s.valid }

// exceptions reads the table, once.
func (s *ExceptionStore) exceptions() ([]exception, error) {
	s.load.Do(func() {
		if !s.fresh {
			s.table, s.err = s.readTable()
		}
	})
	return s.table, s.err
}

func (s *ExceptionStore) readTable() ([]exception, error) {
	perArea := s.chunkSize / exceptionSize
	chunks := s.cow.Size() / s.chunkSize
	// Areas are read in pieces, because one of a large chunk is mostly empty.
	piece := make([]byte, min(s.chunkSize, 64<<10))
	var table []exception
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
				e := exception{binary.LittleEndian.Uint64(piece[i:]), binary.LittleEndian.Uint64(piece[i+8:])}
				switch {
				case e.newChunk == 0:
					return sortExceptions(table)
				case e.newChunk >= uint64(chunks) || e.newChunk%uint64(perArea+1) == 1:
					return nil, fmt.Errorf("%w: byte %d: new chunk %d, the store has %d", ErrExceptions, off+int64(i), e.newChunk, chunks)
				case e.oldChunk > math.MaxInt64/uint64(s.chunkSize):
					return nil, fmt.Errorf("%w: byte %d: old chunk %d", ErrExceptions, off+int64(i), e.oldChunk)
				case len(table) == maxExceptions:
					return nil, fmt.Errorf("%w: more than %d exceptions", ErrExceptions, maxExceptions)
				}
				table = append(table, e)
			}
		}
	}
}

func sortExceptions(table []exception) ([]exception, error) {
	slices.SortFunc(table, func(a, b exception) int { return cmp.Compare(a.oldChunk, b.oldChunk) })
	for i := 1; i < len(table); i++ {
		if table[i].oldChunk == table[i-1].oldChunk {
			return nil, fmt.Errorf("%w: two exceptions for chunk %d", ErrExceptions, table[i].oldChunk)
		}
	}
	return slices.Clip(table), nil
}

// Snapshot is size bytes: those of store where it has an exception, and elsewhere those of
// origin, which is the origin's own mapping. An origin into which a snapshot is being
// merged has the same bytes: what has been merged has no exception any more.
//
//	origin  | 0 | 1 | 2 | 3 | 4 |      exceptions  1 → 2, 3 → 4
//	store   | h | a | 1'| … | 3'|
//	view    | 0 | 1'| 2 | 3'| 4 |
//
// (docs/format/05-snapshot.md, section 4)
func Snapshot(origin mapping.Volume, store *ExceptionStore, size int64) mapping.Volume {
	return &snapshot{origin: origin, store: store, size: size}
}

type snapshot struct {
	origin mapping.Volume
	store  *ExceptionStore
	size   int64

	load sync.Once
	view *remapped
	err  error
}

func (s *snapshot) Size() int64 { return s.size }

func (s *snapshot) Map(off, max int64) (mapping.Extent, error) {
	s.load.Do(s.open)
	if s.err != nil {
		return mapping.Extent{}, s.err
	}
	return s.view.Map(off, max)
}

func (s *snapshot) ReadAt(p []byte, off int64) (int, error) {
	s.load.Do(s.open)
	if s.err != nil {
		return 0, s.err
	}
	return s.view.ReadAt(p, off)
}

func (s *snapshot) open() {
	table, err := s.store.exceptions()
	if err != nil {
		s.err = err
		return
	}
	c := s.store.chunkSize
	beyond := &missing{s.size, fmt.Errorf("beyond the end of the origin at %d: %w", s.origin.Size(), mapping.ErrMissing)}
	s.view = &remapped{
		size: s.size,
		locate: func(off int64) (mapping.Volume, int64, int64) {
			chunk, end := uint64(off/c), s.size
			i := sort.Search(len(table), func(i int) bool { return table[i].oldChunk >= chunk })
			if i < len(table) && table[i].oldChunk == chunk {
				// Chunks that follow each other in both places are one run.
				n := 1
				for i+n < len(table) && n < 1024 && table[i+n].oldChunk == chunk+uint64(n) && table[i+n].newChunk == table[i].newChunk+uint64(n) {
					n++
				}
				return s.store.cow, int64(table[i].newChunk)*c + off%c, min(int64(n)*c-off%c, end-off)
			}
			if i < len(table) {
				end = min(end, int64(table[i].oldChunk)*c)
			}
			if off >= s.origin.Size() {
				return beyond, off, end - off
			}
			return s.origin, off, min(end, s.origin.Size()) - off
		},
	}
}
