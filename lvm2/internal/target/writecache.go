package target

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"lvm2fs/mapping"
)

// ErrWritecache: the metadata of a writecache does not make sense.
var ErrWritecache = errors.New("damaged writecache")

// A writecache holds blocks that were written and not yet copied to the origin:
//
//	| superblock | entry 0 | entry 1 | … |        | block 0 | block 1 | …
//	0            64        80                     D, a multiple of the block size
//
//	superblock: 0 u32 magic  4 u32 version  8 u32 block size  16 u64 blocks  24 u64 sequence count
//	entry:      0 u64 sector of the origin  8 u64 sequence count, all ones if free
//
// An entry counts if its sequence count is below the superblock's: then it was committed. Of
// two for one block of the origin the later counts.
// (docs/format/07-cache.md, section 9)
const (
	writecacheMagic      = 0x23489321
	writecacheVersion    = 1
	writecacheHeaderSize = 64
	WritecacheEntrySize  = 16
	maxWritecacheBlocks  = 1 << 26 // bounds the memory of the table, to 1 GiB
)

// Writecached is an origin with its writecache. Its table is read when it is first used.
type Writecached struct {
	*lazy
	// Total is the number of blocks of the cache.
	Total uint64
	used  func() (uint64, error)
}

// Used is the number of blocks of the cache that count. It reads the table, 16 bytes a block.
func (w *Writecached) Used() (uint64, error) { return w.used() }

// Writecache is origin, with the blocks that are in the cache taken from fast. blockSize, in bytes,
// is what the VG's metadata says.
func Writecache(origin, fast mapping.Volume, blockSize int64) (*Writecached, error) {
	var h [writecacheHeaderSize]byte
	if _, err := fast.ReadAt(h[:], 0); err != nil {
		return nil, fmt.Errorf("superblock of the writecache: %w", err)
	}
	le := binary.LittleEndian
	magic, version, size, count, committed := le.Uint32(h[:]), le.Uint32(h[4:]), int64(le.Uint32(h[8:])), le.Uint64(h[16:]), le.Uint64(h[24:])
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: superblock, byte %d: %s", ErrWritecache, at, fmt.Sprintf(format, args...))
	}
	switch {
	case magic == 0 && version == 0: // never activated
		size, count = 512, 0
	case magic != writecacheMagic:
		return nil, bad(0, "magic 0x%08x", magic)
	case version != writecacheVersion:
		return nil, bad(4, "version %d", version)
	case size != blockSize || size < 512 || size&(size-1) != 0:
		return nil, bad(8, "blocks of %d bytes, the VG says %d", size, blockSize)
	case count > maxWritecacheBlocks:
		return nil, bad(16, "%d blocks, more than %d", count, maxWritecacheBlocks)
	}
	table := writecacheHeaderSize + int64(count)*WritecacheEntrySize
	data := (table + size - 1) / size * size
	if data+int64(count)*size > fast.Size() {
		return nil, bad(16, "%d blocks of %d bytes, in %d", count, size, fast.Size())
	}
	entries := sync.OnceValues(func() ([]redirection, error) {
		return writecacheEntries(fast, int64(count), committed, size, origin.Size())
	})
	return &Writecached{
		lazy: &lazy{origin.Size(), sync.OnceValues(func() (mapping.Volume, error) {
			table, err := entries()
			if err != nil {
				return nil, err
			}
			return redirected(origin, Linear(fast, data, int64(count)*size), size, origin.Size(), table), nil
		})},
		Total: count,
		used: func() (uint64, error) {
			table, err := entries()
			return uint64(len(table)), err
		},
	}, nil
}

func writecacheEntries(fast mapping.Volume, count int64, committed uint64, size, originSize int64) ([]redirection, error) {
	var table []redirection
	newest := map[uint64]struct {
		sequence uint64
		at       int
	}{}
	piece := make([]byte, 4096*WritecacheEntrySize)
	for first := int64(0); first < count; first += 4096 {
		p := piece[:min(4096, count-first)*WritecacheEntrySize]
		at := writecacheHeaderSize + first*WritecacheEntrySize
		if _, err := fast.ReadAt(p, at); err != nil {
			return nil, fmt.Errorf("entries at byte %d of the writecache: %w", at, err)
		}
		for i := 0; i < len(p); i += WritecacheEntrySize {
			sector, sequence := binary.LittleEndian.Uint64(p[i:]), binary.LittleEndian.Uint64(p[i+8:])
			if sequence >= committed {
				continue
			}
			bad := func(format string, args ...any) error {
				return fmt.Errorf("%w: entry at byte %d: %s", ErrWritecache, at+int64(i), fmt.Sprintf(format, args...))
			}
			if sector >= math.MaxInt64/512 || int64(sector)*512%size != 0 || int64(sector)*512 >= originSize {
				return nil, bad("sector %d of the origin", sector)
			}
			block, store := sector*512/uint64(size), uint64(first)+uint64(i/WritecacheEntrySize)
			other, twice := newest[block]
			switch {
			case !twice:
				newest[block] = struct {
					sequence uint64
					at       int
				}{sequence, len(table)}
				table = append(table, redirection{block, store})
			case other.sequence == sequence:
				return nil, bad("block %d of the origin twice, with sequence count %d", block, sequence)
			case other.sequence < sequence:
				table[other.at].store, other.sequence = store, sequence
				newest[block] = other
			}
		}
	}
	sortRedirections(table)
	return table, nil
}
