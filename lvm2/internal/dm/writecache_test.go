package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"lvm2fs/mapping"
)

// The disks of a writecache.
const (
	writecacheFast = iota
	writecacheOrigin
)

const writecacheTestBlock = 1024

// writecacheEntry is an entry of a table.
type writecacheEntry struct{ block, sequence uint64 }

// writecacheTable has free blocks, one that is older than another, and what was not yet committed.
var writecacheTable = []writecacheEntry{{3, 5}, {4, 5}, {0, ^uint64(0)}, {9, 2}, {4, 3}, {6, 10}, {9, 7}, {0, 9}, {14, 4}, {7, 11}}

// writecacheDisks are the cache, of which the superblock says that what is below sequence count 10 was committed, the
// origin, and what the LV shows.
func writecacheDisks() (disks []memory, contents memory) {
	le := binary.LittleEndian
	fast, origin := random(1024+len(writecacheTable)*writecacheTestBlock), random(15*writecacheTestBlock-512)
	clear(fast[:writecacheHeaderSize])
	le.PutUint32(fast, writecacheMagic)
	le.PutUint32(fast[4:], 1)
	le.PutUint32(fast[8:], writecacheTestBlock)
	le.PutUint64(fast[16:], uint64(len(writecacheTable)))
	le.PutUint64(fast[24:], 10)
	contents = bytes.Clone(origin)
	for i, e := range writecacheTable {
		at := fast[writecacheHeaderSize+i*WritecacheEntrySize:]
		le.PutUint64(at, e.block*writecacheTestBlock/512)
		le.PutUint64(at[8:], e.sequence)
	}
	for _, i := range []int{0, 1, 6, 7, 8} {
		copy(contents[writecacheTable[i].block*writecacheTestBlock:], fast[1024+i*writecacheTestBlock:][:writecacheTestBlock])
	}
	return []memory{fast, origin}, contents
}

func openTestWritecache(t *testing.T, fast, origin mapping.Volume) *Writecached {
	t.Helper()
	w, err := Writecache(origin, fast, writecacheTestBlock)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAWritecacheIsWrittenInPlace(t *testing.T) {
	disks, contents := writecacheDisks()
	u := newUnplugged(disks...)
	w := openTestWritecache(t, u.volume(writecacheFast), u.volume(writecacheOrigin))
	checkVolume(t, w, contents, never)
	if used, err := w.Used(); used != 5 || w.Total() != 10 || err != nil {
		t.Error(used, w.Total(), err)
	}
	for range 300 {
		change(t, w, contents)
	}
	checkVolume(t, w, contents, never)
	if err := w.StartWriting(); err != nil {
		t.Error(err)
	}
	if head := writecacheHeaderSize + len(writecacheTable)*WritecacheEntrySize; !bytes.Equal(u.disks[writecacheFast][:head], u.before[writecacheFast][:head]) {
		t.Error("the table has changed")
	}
	for _, i := range []int{2, 3, 4, 5, 9} {
		if at := 1024 + i*writecacheTestBlock; !bytes.Equal(u.disks[writecacheFast][at:][:writecacheTestBlock], u.before[writecacheFast][at:][:writecacheTestBlock]) {
			t.Errorf("block %d, which does not count, was written", i)
		}
	}
	checkVolume(t, openTestWritecache(t, u.volume(writecacheFast), u.volume(writecacheOrigin)), contents, never)
}

func TestAPowerCutWhileAWritecacheIsWritten(t *testing.T) {
	disks, contents := writecacheDisks()
	u := newUnplugged(disks...)
	open := func(after []memory) mapping.Volume {
		return openTestWritecache(t, volumeOf(after[writecacheFast]), volumeOf(after[writecacheOrigin]))
	}
	w := openTestWritecache(t, u.volume(writecacheFast), u.volume(writecacheOrigin))
	u.cutEverywhere(t, w, contents, open, func(int, []memory, []byte) {})
}

func TestAWritecacheThatTheKernelUsedSinceIsNotWritten(t *testing.T) {
	entry := func(i int) int { return writecacheHeaderSize + i*WritecacheEntrySize }
	for name, change := range map[string]func(fast memory){
		"written back": func(fast memory) { binary.LittleEndian.PutUint64(fast[entry(1)+8:], ^uint64(0)) },
		"committed":    func(fast memory) { binary.LittleEndian.PutUint64(fast[24:], 12) },
		"reused":       func(fast memory) { binary.LittleEndian.PutUint64(fast[entry(8):], 2) },
		"formatted":    func(fast memory) { clear(fast[:writecacheHeaderSize]) },
	} {
		disks, _ := writecacheDisks()
		u := newUnplugged(disks...)
		w := openTestWritecache(t, u.volume(writecacheFast), u.volume(writecacheOrigin))
		if _, err := w.Used(); err != nil {
			t.Fatal(err)
		}
		change(u.disks[writecacheFast])
		if err := w.StartWriting(); !errors.Is(err, ErrCacheChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAWritecacheThatWasNeverActivatedIsItsOrigin(t *testing.T) {
	u := newUnplugged(make(memory, 8192), random(8192))
	w := openTestWritecache(t, u.volume(writecacheFast), u.volume(writecacheOrigin))
	contents := bytes.Clone(u.disks[writecacheOrigin])
	for range 20 {
		change(t, w, contents)
	}
	checkVolume(t, w, contents, never)
	if !bytes.Equal(u.disks[writecacheOrigin], contents) {
		t.Error("written elsewhere")
	}
}

func TestAWritecacheWhoseSuperblockWasLostIsNotOneThatWasNeverActivated(t *testing.T) {
	const blocks = 600
	origin, le := random(1<<20), binary.LittleEndian
	for name, c := range map[string]struct {
		change func(fast memory)
		ok     bool
	}{
		"free blocks": {func(memory) {}, false},
		"blocks of the origin": {func(fast memory) {
			for i := writecacheHeaderSize; i < len(fast[:writecacheHeaderSize+blocks*WritecacheEntrySize]); i += WritecacheEntrySize {
				le.PutUint64(fast[i:], uint64(i/WritecacheEntrySize))
				le.PutUint64(fast[i+8:], 1)
			}
			clear(fast[:writecacheCleared])
		}, false},
		"only a few bytes are zeros":          {func(fast memory) { fast[200] = 1; clear(fast[4096:]) }, false},
		"what the device was used for before": {func(fast memory) { copy(fast[4096:], random(len(fast)-4096)) }, true},
		"cleared all over":                    {func(fast memory) { clear(fast) }, true},
	} {
		fast := bytes.Repeat(memory{0xff}, blocks*(writecacheTestBlock+WritecacheEntrySize))
		clear(fast[:writecacheCleared])
		c.change(fast)
		if _, err := Writecache(volumeOf(origin), volumeOf(fast), writecacheTestBlock); c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrWritecache) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A writecache has no checksum. A flipped bit of the superblock gives an error or does not show, with two exceptions:
// the number of blocks says where they begin, and the sequence count says what counts. A flipped bit of an entry may
// show in the block that the entry is about, and in the one that it then seems to be about.
func TestAFlippedBitInAWritecacheDoesNotShowOutsideOfWhatItIsAbout(t *testing.T) {
	failed := 0
	for at := range writecacheHeaderSize + len(writecacheTable)*WritecacheEntrySize {
		if at >= 16 && at < 32 {
			continue
		}
		for bit := range 8 {
			disks, contents := writecacheDisks()
			fast := disks[writecacheFast]
			about := map[uint64]bool{}
			entry := fast[max(0, at-writecacheHeaderSize)/WritecacheEntrySize*WritecacheEntrySize+writecacheHeaderSize:]
			blockOf := func() uint64 { return binary.LittleEndian.Uint64(entry) * 512 / writecacheTestBlock }
			if at >= writecacheHeaderSize {
				about[blockOf()] = true
			}
			fast[at] ^= 1 << bit
			if at >= writecacheHeaderSize {
				about[blockOf()] = true
			}
			w, err := Writecache(volumeOf(disks[writecacheOrigin]), volumeOf(fast), writecacheTestBlock)
			got := make([]byte, len(contents))
			if err == nil {
				_, err = w.ReadAt(got, 0)
			}
			if err != nil {
				failed++
				if !errors.Is(err, ErrWritecache) {
					t.Fatalf("bit %d of byte %d: %v", bit, at, err)
				}
				continue
			}
			for i := range got {
				if got[i] != contents[i] && !about[uint64(i/writecacheTestBlock)] {
					t.Fatalf("bit %d of byte %d: byte %d is wrong", bit, at, i)
				}
			}
			if at < 12 {
				t.Errorf("bit %d of byte %d of the superblock is not missed", bit, at)
			}
		}
	}
	if failed == 0 {
		t.Error("no damage had any effect")
	}
}
