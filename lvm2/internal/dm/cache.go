package dm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// ErrCache: the metadata of a cache does not make sense, or cannot be read.
var ErrCache = errors.New("damaged cache")

// ErrCacheDirty: a cache that is not read holds blocks that are newer than the origin's.
var ErrCacheDirty = errors.New("dirty blocks in a cache in passthrough mode")

// Cache is the state of a cache: which blocks of the origin are in the cache, where, and which
// of them are dirty there. All three devices count in blocks of one size:
//
//	origin   | 0 | 1 | 2 | 3 | 4 | 5 |
//	mapping  cache block 0 → 4, 1 → nothing, 2 → 0        (an array, in the metadata)
//	cache    | 4'|   | 0'|
//
// A mapped block is never older in the cache than in the origin, dirty or not, so it is read
// from there. Mappings are transactional, so that holds after a crash too.
// (docs/format/07-cache.md, sections 1 to 4)
type Cache struct {
	needsCheck bool // the kernel gave up writing the metadata
	metadata   mapping.Volume
	superblock []byte // as it was read; as it was written, once it was
	refused    string // why the kernel would not write this cache, or may not

	blocks    *pdata.Blocks
	version   uint32
	clean     bool // shut down in an orderly way, so that the dirty bits count
	blockSize int64
	count     uint64 // of cache blocks
	mapping   uint64 // root of the array of mappings
	dirty     uint64 // root of the bitset of dirty blocks, of version 2
	usage     CacheUsage
}

// CacheUsage is how full a cache is, as the kernel would count it.
type CacheUsage struct {
	Total, Used, Dirty                           uint64 // blocks
	MetadataTotal, MetadataUsed                  uint64 // blocks of metadata; 0 before the first activation
	ReadHits, ReadMisses, WriteHits, WriteMisses uint64 // counted until the last orderly shutdown
}

const (
	cacheMagic         = 0o6142003
	cacheCleanShutdown = 1
	cacheNeedsCheck    = 2
	cacheFlagsAt       = 4
	cacheValid         = 1
	cacheDirty         = 2
	cacheFlagBits      = 16
	// maxCacheBlocks bounds the memory of a table of mappings, to 1 GiB.
	maxCacheBlocks = 1 << 26
)

// OpenCache reads the superblock of a cache. blockSize, in bytes, is what the VG's metadata
// says. A cache that was never activated, with a superblock of zeros and nothing behind it, has no blocks.
//
//	  4 u32 flags    32 u64 magic   40 u32 version   192 u64 root of the mappings
//	232 u32 block size, sectors    236 u32 metadata block size, sectors
//	 64 space map of the metadata: u64 blocks, u64 in use
//	240 u32 cache blocks           248 u32 flags incompatible for writing, 252 for all
//	256 u32 read hits, read misses, write hits, write misses     284 u64 root of the dirty bits
func OpenCache(metadata mapping.Volume, blockSize int64) (*Cache, error) {
	c := &Cache{metadata: metadata, blocks: pdata.NewBlocks(metadata, metadata.Size()), blockSize: blockSize, clean: true}
	b, err := c.blocks.Read(0, pdata.CacheSuperblock)
	c.superblock = b
	if errors.Is(err, pdata.ErrDamaged) && allZero(b) {
		if err := c.blocks.Unformatted(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCache, err)
		}
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	le := binary.LittleEndian
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: superblock, byte %d: %s", ErrCache, at, fmt.Sprintf(format, args...))
	}
	flags := le.Uint32(b[cacheFlagsAt:])
	c.clean, c.needsCheck = flags&cacheCleanShutdown != 0, flags&cacheNeedsCheck != 0
	switch {
	case c.needsCheck:
		c.refused = "the metadata of its cache need a check"
	case flags&^(cacheCleanShutdown|cacheNeedsCheck) != 0, le.Uint32(b[248:]) != 0:
		c.refused = fmt.Sprintf("the metadata of its cache have unknown flags 0x%x, 0x%x", flags, le.Uint32(b[248:]))
	}
	c.version = le.Uint32(b[40:])
	c.mapping, c.dirty = le.Uint64(b[192:]), le.Uint64(b[284:])
	c.count = uint64(le.Uint32(b[240:]))
	c.usage = CacheUsage{
		MetadataTotal: le.Uint64(b[64:]), MetadataUsed: le.Uint64(b[72:]),
		ReadHits: uint64(le.Uint32(b[256:])), ReadMisses: uint64(le.Uint32(b[260:])),
		WriteHits: uint64(le.Uint32(b[264:])), WriteMisses: uint64(le.Uint32(b[268:])),
	}
	switch size := int64(le.Uint32(b[232:])) * 512; {
	case le.Uint64(b[32:]) != cacheMagic:
		return nil, bad(32, "magic %d", le.Uint64(b[32:]))
	case c.version != 1 && c.version != 2:
		return nil, bad(40, "version %d", c.version)
	case le.Uint32(b[252:]) != 0:
		return nil, bad(252, "incompatible flags 0x%x", le.Uint32(b[252:]))
	case size != blockSize || size <= 0:
		return nil, bad(232, "blocks of %d bytes, the VG says %d", size, blockSize)
	case le.Uint32(b[236:]) != pdata.BlockSize/512:
		return nil, bad(236, "metadata blocks of %d sectors", le.Uint32(b[236:]))
	case c.count > maxCacheBlocks:
		return nil, bad(240, "%d cache blocks, more than %d", c.count, maxCacheBlocks)
	}
	return c, nil
}

// cacheEntry is a block of the origin that is in the cache.
type cacheEntry struct {
	redirection
	dirty bool // newer than the origin's
}

// load reads which block of the origin each block of the cache holds. capacity is how many blocks the cache data can
// hold.
func (c *Cache) load(capacity uint64) ([]cacheEntry, error) {
	if c.count == 0 {
		return nil, nil
	}
	var entries []cacheEntry
	at := map[uint64]int{} // cache block → entry
	err := pdata.ReadArray(c.blocks, c.mapping, 8, c.count, func(block uint64, value []byte) error {
		v := binary.LittleEndian.Uint64(value)
		if v&cacheValid == 0 {
			return nil
		}
		if block >= capacity {
			return fmt.Errorf("cache block %d is in use, the cache has %d", block, capacity)
		}
		at[block] = len(entries)
		entries = append(entries, cacheEntry{redirection{v >> cacheFlagBits, block}, !c.clean || c.version == 1 && v&cacheDirty != 0})
		return nil
	})
	if err == nil && c.clean && c.version == 2 && len(entries) > 0 {
		err = pdata.ReadBitset(c.blocks, c.dirty, c.count, func(block uint64, set bool) error {
			if i, inUse := at[block]; inUse {
				entries[i].dirty = set
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	return entries, nil
}

// Cached is origin, with the blocks that are in the cache taken from data. A block whose bytes in data are
// lost is taken from the origin, unless it is dirty. In passthrough mode the cache is not read; then none of
// it may be dirty.
func (c *Cache) Cached(origin, data mapping.Volume, mode CacheMode) (*Cached, error) {
	entries, err := c.load(uint64(data.Size() / c.blockSize))
	if err != nil {
		return nil, err
	}
	v := &Cached{cache: c, mode: mode, origin: origin, data: data, refused: c.refused}
	var table []redirection
	for _, e := range entries {
		v.inUse++
		if e.dirty {
			v.dirty++
		}
		if mode == CachePassthrough && e.dirty {
			return nil, fmt.Errorf("%w: block %d of the origin", ErrCacheDirty, e.origin)
		}
		// A block that begins beyond the origin is never read.
		if e.origin > math.MaxInt64/uint64(c.blockSize) || int64(e.origin)*c.blockSize >= origin.Size() {
			v.refused = "blocks beyond its end are in the cache"
			continue
		}
		if !e.dirty {
			lost, err := missingWithin(data, int64(e.store)*c.blockSize, c.blockSize)
			if err != nil {
				return nil, err
			}
			if lost {
				v.refused = "parts of its cache are missing"
				continue
			}
		}
		table = append(table, e.redirection)
	}
	if block, ok := sortRedirections(table); !ok {
		return nil, fmt.Errorf("%w: block %d of the origin is in the cache twice", ErrCache, block)
	}
	if mode == CachePassthrough {
		table = nil
	}
	v.remapped = redirected(origin, data, c.blockSize, origin.Size(), sortedTable(table))
	return v, nil
}

// missingWithin says whether any of n bytes of v from off is missing.
func missingWithin(v mapping.Volume, off, n int64) (bool, error) {
	lost := false
	err := mapping.Walk(v, off, n, func(_ int64, e mapping.Extent) error {
		lost = lost || e.Kind == mapping.Missing
		return nil
	})
	return lost, err
}
