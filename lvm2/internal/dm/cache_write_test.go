package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// The disks of a cache.
const (
	cacheMeta = iota
	cacheData
	cacheOrigin
)

// testCache is a cache whose metadata we made.
type testCache struct {
	blockSize int
	mapped    map[int]int // block of the cache → of the origin
	dirty     map[int]bool
	version   uint32
	flags     uint32
	count     int
	origin    int // bytes
}

// metadata is the superblock in block 0, and the root of the array of mappings with its one block. With version 2 the
// bitset has the same.
func (c testCache) metadata() memory {
	le := binary.LittleEndian
	m := make(memory, 5*pdata.BlockSize)
	block := func(i int) []byte { return m[i*pdata.BlockSize:][:pdata.BlockSize] }
	super := block(0)
	le.PutUint32(super[4:], c.flags)
	le.PutUint64(super[32:], 1623043)
	le.PutUint32(super[40:], c.version)
	le.PutUint64(super[192:], 1)
	le.PutUint32(super[232:], uint32(c.blockSize/512))
	le.PutUint32(super[236:], 8)
	le.PutUint32(super[240:], uint32(c.count))
	le.PutUint64(super[284:], 3)
	pdata.CacheSuperblock.Seal(super)
	for i, root := range []int{1, 3} {
		node, array := block(root), block(root+1)
		le.PutUint32(node[4:], 2)
		le.PutUint64(node[8:], uint64(root))
		le.PutUint32(node[16:], 1)
		le.PutUint32(node[20:], 252)
		le.PutUint32(node[24:], 8)
		le.PutUint64(node[32+252*8:], uint64(root+1))
		pdata.Node.Seal(node)
		le.PutUint32(array[4:], 509)
		le.PutUint32(array[12:], 8)
		le.PutUint64(array[16:], uint64(root+1))
		if i == 0 {
			le.PutUint32(array[8:], uint32(c.count))
			for store, origin := range c.mapped {
				v := uint64(origin)<<16 | 1
				if c.dirty[store] && c.version == 1 {
					v |= 2
				}
				le.PutUint64(array[24+8*store:], v)
			}
		} else {
			le.PutUint32(array[8:], uint32(c.count+63)/64)
			for store := range c.dirty {
				array[24+store/8] |= 1 << (store % 8)
			}
		}
		pdata.Array.Seal(array)
	}
	return m
}

// disks are metadata, data and origin, of which a clean mapped block is in both, and what the LV shows.
func (c testCache) disks() (disks []memory, contents memory) {
	disks = []memory{c.metadata(), random(c.count * c.blockSize), random(c.origin)}
	contents = bytes.Clone(disks[cacheOrigin])
	for store, origin := range c.mapped {
		cached := disks[cacheData][store*c.blockSize:][:c.blockSize]
		if origin*c.blockSize >= c.origin {
			continue
		}
		if c.dirty[store] {
			copy(contents[origin*c.blockSize:], cached)
		} else {
			copy(cached, disks[cacheOrigin][origin*c.blockSize:])
		}
	}
	return disks, contents
}

func openTestCache(t *testing.T, c testCache, mode CacheMode, metadata, data, origin mapping.Volume) *Cached {
	t.Helper()
	opened, err := OpenCache(metadata, int64(c.blockSize))
	if err != nil {
		t.Fatal(err)
	}
	v, err := opened.Cached(origin, data, mode)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func openUnplugged(t *testing.T, c testCache, mode CacheMode, u *unplugged) *Cached {
	t.Helper()
	return openTestCache(t, c, mode, u.volume(cacheMeta), u.volume(cacheData), u.volume(cacheOrigin))
}

// someCache has runs of blocks, single ones and unmapped ones. Half of its last block is beyond the origin.
func someCache(version, flags uint32) testCache {
	return testCache{blockSize: 4096, mapped: map[int]int{0: 3, 1: 4, 2: 5, 5: 0, 6: 9, 7: 15, 8: 7}, version: version, flags: flags, count: 10, origin: 15*4096 + 1536}
}

// writableCaches are the states of a cache that can be written.
var writableCaches = map[string]struct {
	cache testCache
	mode  CacheMode
}{
	"writethrough":         {someCache(1, cacheCleanShutdown), CacheWritethrough},
	"writethrough, 2":      {someCache(2, cacheCleanShutdown), CacheWritethrough},
	"writethrough, crash":  {someCache(2, 0), CacheWritethrough},
	"writeback, all clean": {someCache(2, cacheCleanShutdown), CacheWriteback},
	"passthrough, empty":   {testCache{blockSize: 4096, version: 2, flags: cacheCleanShutdown, count: 10, origin: 10 * 4096}, CachePassthrough},
	"never filled":         {testCache{blockSize: 4096, version: 2, flags: cacheCleanShutdown, origin: 10 * 4096}, CacheWriteback},
}

func TestACacheThatIsWrittenIsAFlatRunOfBytesInBothCopies(t *testing.T) {
	for name, w := range writableCaches {
		t.Run(name, func(t *testing.T) {
			disks, contents := w.cache.disks()
			u := newUnplugged(disks...)
			v := openUnplugged(t, w.cache, w.mode, u)
			if reason := v.ReadOnlyReason(); reason != "" {
				t.Fatal(reason)
			}
			for range 300 {
				change(t, v, contents)
			}
			checkVolume(t, v, contents, never)
			if err := v.StartWriting(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(u.disks[cacheOrigin], contents) {
				t.Error("the origin alone has not all that was written")
			}
			again := openUnplugged(t, w.cache, w.mode, u)
			checkVolume(t, again, contents, never)
			if again.cache.clean {
				t.Error("the cache still says that it was shut down in order")
			}
			want := w.cache.metadata()
			copy(want, u.disks[cacheMeta][:8])
			if !bytes.Equal(u.disks[cacheMeta], want) {
				t.Error("more of the metadata has changed than the flags")
			}
		})
	}
}

// TestAPowerCutWhileACacheIsWritten cuts the power behind every step of a number of writes and flushes. The kernel
// then finds a cache of which nothing has changed, or one that it writes back before anything else. In both cases each
// byte is what it was at the last flush, or what was written later.
func TestAPowerCutWhileACacheIsWritten(t *testing.T) {
	for name, w := range writableCaches {
		t.Run(name, func(t *testing.T) {
			disks, contents := w.cache.disks()
			u := newUnplugged(disks...)
			open := func(after []memory) mapping.Volume {
				return openTestCache(t, w.cache, w.mode, volumeOf(after[cacheMeta]), volumeOf(after[cacheData]), volumeOf(after[cacheOrigin]))
			}
			u.cutEverywhere(t, openUnplugged(t, w.cache, w.mode, u), contents, open, func(n int, after []memory, got []byte) {
				clean := binary.LittleEndian.Uint32(after[cacheMeta][4:])&cacheCleanShutdown != 0
				if clean && !(bytes.Equal(after[cacheData], u.before[cacheData]) && bytes.Equal(after[cacheOrigin], u.before[cacheOrigin])) {
					t.Fatalf("cut at %d: there are writes, and the flag for an orderly shutdown is set", n)
				}
				// The kernel writes back what it takes for dirty. What it does not take for dirty was not written.
				origin := after[cacheOrigin]
				for store, block := range w.cache.mapped {
					if !clean {
						copy(origin[block*w.cache.blockSize:], after[cacheData][store*w.cache.blockSize:][:w.cache.blockSize])
					}
				}
				if w.cache.flags&cacheCleanShutdown != 0 && !bytes.Equal(origin, got) {
					t.Fatalf("cut at %d: without the cache the LV has changed", n)
				}
			})
		})
	}
}

func TestACacheWhoseMetadataCannotBeWrittenIsNotWritten(t *testing.T) {
	c := someCache(2, cacheCleanShutdown)
	for allowed := range 2 { // neither the superblock, nor its flush
		disks, contents := c.disks()
		u := newUnplugged(disks...)
		v := openUnplugged(t, c, CacheWriteback, u)
		u.fail = allowed
		for range 3 {
			if n, err := v.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, errUnplugged) {
				t.Fatal(n, err)
			}
		}
		if !bytes.Equal(u.disks[cacheData], u.before[cacheData]) || !bytes.Equal(u.disks[cacheOrigin], u.before[cacheOrigin]) {
			t.Fatal("the data have changed")
		}
		u.fail = -1
		change(t, v, contents)
		checkVolume(t, v, contents, never)
		// After a flush that failed, the system takes for written what it could not write.
		again := u.steps[allowed:]
		if len(again) < 2 || again[0].disk != cacheMeta || again[0].data == nil || again[1].disk != cacheMeta || again[1].data != nil {
			t.Errorf("with %d steps done before, the superblock was not written and flushed again", allowed)
		}
	}
}

func TestAWriteThatFailsInTheOriginDoesNotShow(t *testing.T) {
	c := someCache(2, cacheCleanShutdown)
	disks, contents := c.disks()
	u := newUnplugged(disks...)
	v := openUnplugged(t, c, CacheWritethrough, u)
	change(t, v, contents)
	u.fail = 0
	if n, err := v.WriteAt([]byte("xyz"), 3*4096); n != 0 || !errors.Is(err, errUnplugged) {
		t.Fatal(n, err)
	}
	checkVolume(t, v, contents, never)
}

func TestACacheThatTheKernelUsedSinceIsNotWritten(t *testing.T) {
	c := someCache(2, cacheCleanShutdown)
	disks, _ := c.disks()
	u := newUnplugged(disks...)
	v := openUnplugged(t, c, CacheWriteback, u)
	super := u.disks[cacheMeta]
	binary.LittleEndian.PutUint32(super[256:], 1) // a read hit
	pdata.CacheSuperblock.Seal(super[:pdata.BlockSize])
	if err := v.StartWriting(); !errors.Is(err, ErrCacheChanged) {
		t.Error(err)
	}
	if n, err := v.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, ErrCacheChanged) {
		t.Error(n, err)
	}
	if len(u.steps) > 0 {
		t.Error("something was written")
	}
}

func TestACacheThatIsNotSafeToWriteSaysWhy(t *testing.T) {
	dirty := func(version uint32) testCache {
		c := someCache(version, cacheCleanShutdown)
		c.dirty = map[int]bool{6: true}
		return c
	}
	beyond := someCache(1, cacheCleanShutdown)
	beyond.mapped[9] = 16
	for name, r := range map[string]struct {
		cache testCache
		mode  CacheMode
		want  string
	}{
		"dirty, 1":           {dirty(1), CacheWriteback, "newer"},
		"dirty, 2":           {dirty(2), CacheWriteback, "newer"},
		"crash":              {someCache(2, 0), CacheWriteback, "not shut down in order"},
		"passthrough":        {someCache(2, cacheCleanShutdown), CachePassthrough, "passthrough"},
		"needs check":        {someCache(2, cacheCleanShutdown|cacheNeedsCheck), CacheWritethrough, "check"},
		"unknown flag":       {someCache(2, cacheCleanShutdown|4), CacheWritethrough, "unknown flags"},
		"unknown mode":       {someCache(2, cacheCleanShutdown), "writearound", "writearound"},
		"beyond the origin":  {beyond, CacheWritethrough, "beyond its end"},
		"cache data missing": {someCache(2, cacheCleanShutdown), CacheWritethrough, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			disks, contents := r.cache.disks()
			u := newUnplugged(disks...)
			data := u.volume(cacheData)
			if name == "cache data missing" {
				data = Concat([]mapping.Volume{Linear(data, 0, 4096), Missing(data.Size()-4096, errLost)})
			}
			v := openTestCache(t, r.cache, r.mode, u.volume(cacheMeta), data, u.volume(cacheOrigin))
			checkVolume(t, v, contents, never)
			if reason := v.ReadOnlyReason(); !strings.Contains(reason, r.want) {
				t.Errorf("it says %q", reason)
			}
			if n, err := v.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, mapping.ErrNotWritable) {
				t.Error(n, err)
			}
			if err := v.PunchHole(0, 1); !errors.Is(err, mapping.ErrNotWritable) {
				t.Error(err)
			}
			if len(u.steps) > 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestACacheThatWasNeverActivatedIsWrittenInItsOrigin(t *testing.T) {
	u := newUnplugged(make(memory, 4*pdata.BlockSize), random(8*4096), random(10*4096))
	c := testCache{blockSize: 4096}
	contents := bytes.Clone(u.disks[cacheOrigin])
	v := openUnplugged(t, c, CacheWritethrough, u)
	for range 50 {
		change(t, v, contents)
	}
	checkVolume(t, v, contents, never)
	if !bytes.Equal(u.disks[cacheMeta], u.before[cacheMeta]) || !bytes.Equal(u.disks[cacheOrigin], contents) {
		t.Error("written elsewhere")
	}
}

func TestACacheWhoseSuperblockWasLostIsNotOneThatWasNeverActivated(t *testing.T) {
	m := someCache(2, cacheCleanShutdown).metadata()
	clear(m[:pdata.BlockSize])
	for block := 1; block < 5; block++ {
		if _, err := OpenCache(volumeOf(m), 4096); !errors.Is(err, ErrCache) {
			t.Errorf("before block %d: %v", block, err)
		}
		m[pdata.BlockSize*block] ^= 1 // whatever the device was used for before
	}
	if _, err := OpenCache(volumeOf(m), 4096); err != nil {
		t.Error(err)
	}
}

func TestWhatIsKnownOfAWrittenCacheIsInheritedUnlessItHasChanged(t *testing.T) {
	c := someCache(2, cacheCleanShutdown)
	for _, changed := range []bool{false, true} {
		disks, contents := c.disks()
		u := newUnplugged(disks...)
		old := openUnplugged(t, c, CacheWriteback, u)
		change(t, old, contents)
		if changed { // the kernel did, and stopped without a shutdown
			super := u.disks[cacheMeta][:pdata.BlockSize]
			binary.LittleEndian.PutUint32(super[256:], 1)
			pdata.CacheSuperblock.Seal(super)
		}
		now := openUnplugged(t, c, CacheWriteback, u)
		if now.ReadOnlyReason() == "" {
			t.Fatal("it can be written without knowing more")
		}
		now.Inherit(old)
		if reason := now.ReadOnlyReason(); (reason == "") == changed {
			t.Errorf("changed: %v; %q", changed, reason)
		}
		if !changed {
			change(t, now, contents)
			checkVolume(t, now, contents, never)
			if u := now.Usage(); u.Dirty != u.Used {
				t.Errorf("%+v: to the kernel all of it is dirty", u)
			}
		}
	}
}

// slow is a disk that others may be faster than.
type slow struct {
	*memory
	mu *sync.Mutex
}

func (d slow) Claim() error                 { return nil }
func (d slow) Release() error               { return nil }
func (d slow) Sync() error                  { return nil }
func (d slow) PunchHole(off, n int64) error { return errors.ErrUnsupported }

func (d slow) WriteAt(p []byte, off int64) (int, error) {
	time.Sleep(rand.N(100 * time.Microsecond))
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy((*d.memory)[off:], p), nil
}

func TestWritersOfTheSameBytesLeaveEqualCopies(t *testing.T) {
	c := someCache(2, cacheCleanShutdown)
	disks, _ := c.disks()
	var mu sync.Mutex
	volume := func(i int) mapping.Volume { return Device(slow{&disks[i], &mu}, 0, disks[i].Size()) }
	v := openTestCache(t, c, CacheWritethrough, volume(cacheMeta), volume(cacheData), volume(cacheOrigin))
	for range 50 {
		var all sync.WaitGroup
		for range 4 {
			p := random(512)
			all.Go(func() {
				if _, err := v.WriteAt(p, 4*4096); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		got := make([]byte, 512)
		if _, err := v.ReadAt(got, 4*4096); err != nil || !bytes.Equal(got, disks[cacheOrigin][4*4096:][:512]) {
			t.Fatalf("%v, or the origin has other bytes", err)
		}
	}
}
