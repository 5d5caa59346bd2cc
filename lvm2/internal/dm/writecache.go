package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

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
	writecacheCleared    = 4096    // bytes that LVM2 clears when it makes a cache
	maxWritecacheBlocks  = 1 << 26 // bounds the memory of the table, to 1 GiB
)

// Writecached is an origin with its writecache. The table is read when it is first used.
//
// It is written without a change to the table: blocks in the cache there, others in the origin. Each byte has one
// place that counts, before and after a power cut.
type Writecached struct {
	*lazy
	origin, fast mapping.Volume
	blockSize    int64 // that the VG's metadata says
	header       writecacheHeader
	table        func() ([]redirection, error)
}

var _ mapping.Writable = (*Writecached)(nil)

// Writecache is origin, with the blocks that are in the cache taken from fast. blockSize, in bytes,
// is what the VG's metadata says.
func Writecache(origin, fast mapping.Volume, blockSize int64) (*Writecached, error) {
	h, err := readWritecacheHeader(fast, blockSize)
	if err == nil && h.fresh {
		err = unformattedWritecache(fast, blockSize, origin.Size())
	}
	if err != nil {
		return nil, err
	}
	w := &Writecached{origin: origin, fast: fast, blockSize: blockSize, header: h}
	w.table = once(func() ([]redirection, error) { return writecacheEntries(fast, h, origin.Size()) })
	w.lazy = &lazy{origin.Size(), once(func() (mapping.Volume, error) {
		table, err := w.table()
		if err != nil {
			return nil, err
		}
		return redirected(origin, Linear(fast, h.data, h.count*h.blockSize), h.blockSize, origin.Size(), sortedTable(table)), nil
	})}
	return w, nil
}

// Total is the number of blocks of the cache.
func (w *Writecached) Total() uint64 { return uint64(w.header.count) }

// Used is the number of blocks of the cache that count. It reads the table, WritecacheEntrySize bytes a block.
func (w *Writecached) Used() (uint64, error) {
	table, err := w.table()
	return uint64(len(table)), err
}

// ReadOnlyReason is why the volume cannot be written: nothing.
func (w *Writecached) ReadOnlyReason() string { return "" }

// StartWriting reads the table again. It fails with ErrCacheChanged if other blocks count than when it was
// first read.
func (w *Writecached) StartWriting() error {
	table, err := w.table()
	if err != nil {
		return err
	}
	h, err := readWritecacheHeader(w.fast, w.blockSize)
	if err != nil {
		return err
	}
	again, err := writecacheEntries(w.fast, h, w.origin.Size())
	if err != nil {
		return err
	}
	if h.data != w.header.data || !slices.Equal(again, table) {
		return fmt.Errorf("table of the writecache: %w", ErrCacheChanged)
	}
	return nil
}

// StopWriting has nothing to do: the table is as it was.
func (w *Writecached) StopWriting() error { return nil }

// WriteAt implements [mapping.Writable].
func (w *Writecached) WriteAt(p []byte, off int64) (int, error) {
	v, err := w.writable()
	if err != nil {
		return 0, err
	}
	return v.WriteAt(p, off)
}

// PunchHole implements [mapping.Writable].
func (w *Writecached) PunchHole(off, n int64) error {
	v, err := w.writable()
	if err != nil {
		return err
	}
	return v.PunchHole(off, n)
}

// Sync implements [mapping.Writable].
func (w *Writecached) Sync() error {
	v, err := w.writable()
	if err != nil {
		return err
	}
	return v.Sync()
}

func (w *Writecached) writable() (mapping.Writable, error) {
	v, err := w.make()
	if err != nil {
		return nil, err
	}
	return writable(v)
}

// writecacheHeader is what the superblock says.
type writecacheHeader struct {
	fresh     bool // there is none
	blockSize int64
	count     int64 // of blocks
	committed uint64
	data      int64 // byte at which the blocks begin
}

func readWritecacheHeader(fast mapping.Volume, blockSize int64) (h writecacheHeader, err error) {
	var b [writecacheHeaderSize]byte
	if _, err := fast.ReadAt(b[:], 0); err != nil {
		return h, fmt.Errorf("superblock of the writecache: %w", err)
	}
	le := binary.LittleEndian
	magic, version, size, count := le.Uint32(b[:]), le.Uint32(b[4:]), int64(le.Uint32(b[8:])), le.Uint64(b[16:])
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: superblock, byte %d: %s", ErrWritecache, at, fmt.Sprintf(format, args...))
	}
	switch {
	case magic == 0 && version == 0: // never activated
		return writecacheHeader{fresh: true, blockSize: 512}, nil
	case magic != writecacheMagic:
		return h, bad(0, "magic 0x%08x", magic)
	case version != writecacheVersion:
		return h, bad(4, "version %d", version)
	case size != blockSize || size < 512 || size&(size-1) != 0:
		return h, bad(8, "blocks of %d bytes, the VG says %d", size, blockSize)
	case count > maxWritecacheBlocks:
		return h, bad(16, "%d blocks, more than %d", count, maxWritecacheBlocks)
	}
	h = writecacheHeader{blockSize: size, count: int64(count), committed: le.Uint64(b[24:])}
	table := writecacheHeaderSize + h.count*WritecacheEntrySize
	h.data = (table + size - 1) / size * size
	if h.data+h.count*size > fast.Size() {
		return h, bad(16, "%d blocks of %d bytes, in %d", count, size, fast.Size())
	}
	return h, nil
}

// unformattedWritecache fails unless a cache without a superblock was never activated: LVM2 has cleared its first bytes,
// and what follows is no table. A table may also be left from an earlier use of the place, but nothing tells that from a
// cache that has lost its superblock.
func unformattedWritecache(fast mapping.Volume, blockSize, originSize int64) error {
	blocks := fast.Size() / (WritecacheEntrySize + max(blockSize, 512))
	b := make([]byte, min(fast.Size(), writecacheHeaderSize+blocks*WritecacheEntrySize, 64<<10))
	if _, err := fast.ReadAt(b, 0); err != nil {
		return fmt.Errorf("superblock of the writecache: %w", err)
	}
	at := len(b) - len(bytes.TrimLeft(b, "\x00"))
	if at == len(b) || at >= writecacheCleared && !looksLikeEntries(b[writecacheCleared:], originSize) {
		return nil
	}
	return fmt.Errorf("%w: the superblock is zeros, but byte %d is not", ErrWritecache, at)
}

// looksLikeEntries says whether all entries are free, or of a block of the origin.
func looksLikeEntries(b []byte, originSize int64) bool {
	for ; len(b) >= WritecacheEntrySize; b = b[WritecacheEntrySize:] {
		sector, sequence := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		if sequence != math.MaxUint64 && sector >= uint64(originSize)/512 {
			return false
		}
	}
	return true
}

// writecacheEntries are the blocks that count, in the order of the origin.
func writecacheEntries(fast mapping.Volume, h writecacheHeader, originSize int64) ([]redirection, error) {
	size := h.blockSize
	var table []redirection
	newest := map[uint64]struct {
		sequence uint64
		at       int
	}{}
	piece := make([]byte, 4096*WritecacheEntrySize)
	for first := int64(0); first < h.count; first += 4096 {
		p := piece[:min(4096, h.count-first)*WritecacheEntrySize]
		at := writecacheHeaderSize + first*WritecacheEntrySize
		if _, err := fast.ReadAt(p, at); err != nil {
			return nil, fmt.Errorf("entries at byte %d of the writecache: %w", at, err)
		}
		for i := 0; i < len(p); i += WritecacheEntrySize {
			sector, sequence := binary.LittleEndian.Uint64(p[i:]), binary.LittleEndian.Uint64(p[i+8:])
			if sequence >= h.committed {
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
