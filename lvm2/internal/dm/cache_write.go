package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// CacheMode says where what is written goes, as the VG's metadata call it.
type CacheMode string

// The modes of a cache.
const (
	CacheWritethrough CacheMode = "writethrough" // to the cache and the origin
	CacheWriteback    CacheMode = "writeback"    // to the cache, and later to the origin
	CachePassthrough  CacheMode = "passthrough"  // to the origin; the cache is not read
)

// ErrCacheChanged: the metadata of a cache are not what they were when it was opened.
var ErrCacheChanged = errors.New("the metadata of the cache have changed")

// Cached is an origin with its cache. Unless ReadOnlyReason says why not it can be written:
//
//  1. Before the first write the flag for an orderly shutdown is cleared, which is flushed. From then on the
//     kernel takes every block in the cache for newer than the origin's, and forgets which blocks of
//     the origin had been discarded. The flag is never set again: to do that is the kernel's.
//  2. A block in the cache is written in both places, the origin first. Others are written in the origin.
//     No mapping is ever changed.
//
// Whatever of the two copies survives a power cut, what counts is the copy in the cache, for us and for the
// kernel alike, which then writes it back.
// (docs/format/07-cache.md, section 8)
type Cached struct {
	*remapped
	cache        *Cache
	mode         CacheMode
	origin, data mapping.Volume
	inUse, dirty uint64 // blocks, when it was opened
	refused      string

	// copies keeps two writes of the same bytes from leaving one in each place.
	copies sync.Mutex
	mu     sync.Mutex
	begun  bool // the superblock on disk, flushed, tells the kernel that there may have been writes
}

var _ mapping.Writable = (*Cached)(nil)

// Usage is how full the cache is. Once the cache has been written, all of it counts as dirty.
func (c *Cached) Usage() CacheUsage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.cache.usage
	u.Total, u.Used, u.Dirty = uint64(c.data.Size()/c.cache.blockSize), c.inUse, c.dirty
	if c.begun {
		u.Dirty = u.Used
	}
	return u
}

// NeedsCheck says whether the kernel gave up writing the metadata of the cache.
func (c *Cached) NeedsCheck() bool { return c.cache.needsCheck }

// ReadOnlyReason is why the volume cannot be written, as a phrase; "" if it can be.
func (c *Cached) ReadOnlyReason() string {
	switch {
	case c.refused != "":
		return c.refused
	case c.mode == CacheWritethrough:
		return ""
	case c.mode == CachePassthrough && c.inUse > 0:
		// A block that was written in the origin alone would have to leave the cache; and with the flag cleared the
		// kernel would not activate the cache.
		return "blocks are in its cache, which is in passthrough mode"
	case c.mode == CacheWriteback && c.dirty > 0 && !c.cache.clean:
		return "its cache is in writeback mode and was not shut down in order, so the kernel has to write it back first"
	case c.mode == CacheWriteback && c.dirty > 0:
		return "blocks in its cache are newer than those of its origin"
	case c.mode != CachePassthrough && c.mode != CacheWriteback:
		return fmt.Sprintf("its cache is in mode %q", string(c.mode))
	}
	return ""
}

// Written says whether the flag for an orderly shutdown has been cleared here, or was found so to be written.
func (c *Cached) Written() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

// Inherit is for a cache that was opened anew, after old. What was clean before old was written is the same in both
// places still, although the kernel would take it for dirty. Nobody may use either meanwhile.
func (c *Cached) Inherit(old *Cached) {
	if old.begun && bytes.Equal(c.cache.superblock, old.cache.superblock) {
		c.begun, c.cache.clean, c.dirty = true, old.cache.clean, old.dirty
	}
}

// StartWriting reads the superblock of the cache again. It fails with ErrCacheChanged if it is not what it
// was, or what was written since.
func (c *Cached) StartWriting() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.recheck()
}

// StopWriting has nothing to do: Sync leaves all in order.
func (c *Cached) StopWriting() error { return nil }

func (c *Cache) recheck() error {
	b := make([]byte, pdata.BlockSize)
	if _, err := c.metadata.ReadAt(b, 0); err != nil {
		return fmt.Errorf("cache superblock: %w", err)
	}
	if !bytes.Equal(b, c.superblock) {
		return fmt.Errorf("cache superblock: %w", ErrCacheChanged)
	}
	return nil
}

// begin makes known on disk, once, that blocks are about to be written.
func (c *Cached) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		return nil
	}
	if reason := c.ReadOnlyReason(); reason != "" {
		return fmt.Errorf("%w: %s", mapping.ErrNotWritable, reason)
	}
	if err := c.cache.recheck(); err != nil {
		return err
	}
	if err := c.cache.clearCleanShutdown(); err != nil {
		return fmt.Errorf("cache superblock: %w", err)
	}
	c.begun = true
	return nil
}

// clearCleanShutdown returns once the superblock is on stable storage without the flag. The bytes that change
// lie in one sector, so a power cut leaves the old or the new.
func (c *Cache) clearCleanShutdown() error {
	w, err := writable(c.metadata)
	if err != nil {
		return err
	}
	b := bytes.Clone(c.superblock)
	if !allZero(b) { // as before the first activation
		flags := binary.LittleEndian.Uint32(b[cacheFlagsAt:])
		binary.LittleEndian.PutUint32(b[cacheFlagsAt:], flags&^cacheCleanShutdown)
		pdata.CacheSuperblock.Seal(b)
		// Write it even if the flag is clear by now: after a flush that failed, what is read need not be on the disk.
		if _, err := w.WriteAt(b[:cacheFlagsAt+4], 0); err != nil {
			return err
		}
		c.superblock = b
	}
	return w.Sync()
}

// WriteAt implements [mapping.Writable].
func (c *Cached) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), c.size); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := c.begin(); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		beneath, at, length := c.locate(off + int64(done))
		n := int(min(length, int64(len(p)-done)))
		if err := c.writeRun(p[done:done+n], off+int64(done), beneath, at); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// writeRun writes p, which lies at byte at of beneath.
func (c *Cached) writeRun(p []byte, off int64, beneath mapping.Volume, at int64) error {
	w, err := writable(beneath)
	if err != nil {
		return err
	}
	if beneath == c.data {
		origin, err := writable(c.origin)
		if err != nil {
			return err
		}
		c.copies.Lock()
		defer c.copies.Unlock()
		if _, err := origin.WriteAt(p, off); err != nil {
			return err
		}
	}
	_, err = w.WriteAt(p, at)
	return err
}

// PunchHole implements [mapping.Writable]. Blocks in the cache get zeros, so that both copies are equal whether or not
// the devices can punch holes.
func (c *Cached) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, c.size); err != nil || n == 0 {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		beneath, _, length := c.locate(off)
		length = min(length, n)
		if beneath == c.data {
			length = min(length, int64(len(zeros)))
			if _, err := c.WriteAt(zeros[:length], off); err != nil {
				return err
			}
		} else if err := c.remapped.PunchHole(off, length); err != nil {
			return err
		}
		off, n = off+length, n-length
	}
	return nil
}
