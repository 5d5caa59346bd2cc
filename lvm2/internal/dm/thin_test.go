package dm

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// sealThin gives every block of a pool's metadata the checksum of what it is to be: the superblock, or a
// node.
func sealThin(m memory) {
	for at := 0; at+4096 <= len(m); at += 4096 {
		salt := uint32(121107)
		if at == 0 {
			salt = 160774
		}
		binary.LittleEndian.PutUint32(m[at:], ^crc32.Checksum(m[at+4:at+4096], castagnoli)^salt)
	}
}

// thinMetadata is a pool of chunks of 64 KiB with device 7, whose chunks 0 and 2 lie in chunks 1 and 0.
func thinMetadata() memory {
	m := make(memory, 4*4096)
	le := binary.LittleEndian
	le.PutUint64(m[32:], thinMagic)
	le.PutUint32(m[40:], 2)
	le.PutUint64(m[64:], 4)
	le.PutUint64(m[320:], 1)
	le.PutUint64(m[328:], 3)
	le.PutUint32(m[336:], 128)
	le.PutUint32(m[340:], 8)
	leaf := func(block int, pairs ...uint64) {
		b := m[block*4096:]
		le.PutUint32(b[4:], 2)
		le.PutUint64(b[8:], uint64(block))
		le.PutUint32(b[16:], uint32(len(pairs)/2))
		le.PutUint32(b[20:], 252)
		le.PutUint32(b[24:], 8)
		for i := 0; i < len(pairs); i += 2 {
			le.PutUint64(b[32+4*i:], pairs[i])
			le.PutUint64(b[32+8*252+4*i:], pairs[i+1])
		}
	}
	leaf(1, 7, 2)
	leaf(2, 0, 1<<mappingTimeBits, 2, 0)
	leaf(3)
	sealThin(m)
	return m
}

const thinTestChunk = 64 << 10

func TestAPoolWhoseSuperblockWasLostIsNotOneThatWasNeverActivated(t *testing.T) {
	m, data := thinMetadata(), random(4*thinTestChunk)
	clear(m[:4096])
	for block := 1; block < 4; block++ {
		if _, err := OpenThinPool(volumeOf(m), volumeOf(data), thinTestChunk); !errors.Is(err, pdata.ErrDamaged) {
			t.Errorf("before block %d: %v", block, err)
		}
		m[4096*block] ^= 1 // whatever the device was used for before
	}
	if p, err := OpenThinPool(volumeOf(m), volumeOf(data), thinTestChunk); p != nil || err != nil {
		t.Error(p, err)
	}
}

func TestAThinVolumeIsChunksOfThePoolOrItsExternalOriginOrZeros(t *testing.T) {
	data, external := random(4*thinTestChunk), random(thinTestChunk+5000)
	pool, err := OpenThinPool(volumeOf(thinMetadata()), volumeOf(data), thinTestChunk)
	if err != nil {
		t.Fatal(err)
	}
	const size = 3*thinTestChunk + 512
	for _, origin := range []memory{nil, external} {
		want := make([]byte, size)
		copy(want, origin)
		copy(want, data[thinTestChunk:2*thinTestChunk])
		copy(want[2*thinTestChunk:], data[:thinTestChunk])
		var beneath mapping.Volume
		if origin != nil {
			beneath = volumeOf(origin)
		}
		v, err := pool.Thin(7, size, beneath)
		if err != nil {
			t.Fatal(err)
		}
		checkVolume(t, v, want, never)
	}
	if _, err := pool.Thin(8, size, nil); err == nil {
		t.Error("a device that the pool has not opens")
	}
}

func TestAMappingBeyondThePoolIsMissing(t *testing.T) {
	m := thinMetadata()
	binary.LittleEndian.PutUint64(m[2*4096+32+8*252+8:], 4<<mappingTimeBits)
	sealThin(m)
	data := random(4 * thinTestChunk)
	pool, err := OpenThinPool(volumeOf(m), volumeOf(data), thinTestChunk)
	if err != nil {
		t.Fatal(err)
	}
	v, err := pool.Thin(7, 3*thinTestChunk, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3*thinTestChunk)
	copy(want, data[thinTestChunk:2*thinTestChunk])
	checkVolume(t, v, want, func(i int) bool { return i >= 2*thinTestChunk })
}

func FuzzThinPool(f *testing.F) {
	f.Add([]byte(thinMetadata()))
	f.Add([]byte(removedThin(nil)))
	data := random(4 * thinTestChunk)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := memory(b)
		sealThin(m)
		if pool, err := OpenThinPool(volumeOf(m), volumeOf(data), thinTestChunk); err == nil && pool != nil {
			if v, err := pool.Thin(7, 8*thinTestChunk, nil); err == nil {
				_, _ = v.ReadAt(make([]byte, v.Size()), 0)
			}
		}
		for _, root := range []uint64{0, 1} {
			if plan, err := RebuildThinPool(volumeOf(m), volumeOf(data), thinTestChunk, root, []uint64{7}); err == nil {
				pool := ThinPoolAt(volumeOf(m), volumeOf(data), thinTestChunk, 1)
				pool.Rebuilt(plan, true)
				if v, err := pool.Thin(7, 8*thinTestChunk, nil); err == nil {
					_, _ = v.ReadAt(make([]byte, v.Size()), 0)
				}
			}
		}
		_, _ = FindThinRoots(volumeOf(m), volumeOf(data), thinTestChunk, []uint64{7})
		removed := FindRemovedThins(volumeOf(m), volumeOf(data), thinTestChunk, []uint64{7})[7]
		if pool, err := RemovedThinPool(volumeOf(m), volumeOf(data), thinTestChunk, removed, false); err == nil {
			if v, err := pool.Thin(7, 8*thinTestChunk, nil); err == nil {
				_, _ = v.ReadAt(make([]byte, v.Size()), 0)
			}
		}
	})
}
