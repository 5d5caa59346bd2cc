package dm

import (
	"encoding/binary"
	"testing"
)

// thinBlocks is the metadata of a pool. Only the superblock and what it leads to is in use; the other blocks are left
// from before.
type thinBlocks struct{ m memory }

func newThinBlocks(blocks int) thinBlocks {
	m := make(memory, blocks*4096)
	copy(m, thinMetadata()[:4096])
	binary.LittleEndian.PutUint64(m[64:], 4)
	return thinBlocks{m}
}

// leaf makes a block a leaf of keys and values.
func (b thinBlocks) leaf(block int, valueSize int, keys []uint64, values ...[]uint64) {
	le := binary.LittleEndian
	node := b.m[block*4096:]
	limit := (4096 - 32) / (8 + valueSize) / 3 * 3
	le.PutUint32(node[4:], 2)
	le.PutUint64(node[8:], uint64(block))
	le.PutUint32(node[16:], uint32(len(keys)))
	le.PutUint32(node[20:], uint32(limit))
	le.PutUint32(node[24:], uint32(valueSize))
	for i, key := range keys {
		le.PutUint64(node[32+8*i:], key)
		for j, word := range values[i] {
			le.PutUint64(node[32+8*limit+valueSize*i+8*j:], word)
		}
	}
}

// mappings makes a block the level 2 of a device, from pairs of a chunk of the device and one of the pool, made at a time.
func (b thinBlocks) mappings(block int, time uint64, pairs ...uint64) {
	var keys []uint64
	var values [][]uint64
	for i := 0; i < len(pairs); i += 2 {
		keys = append(keys, pairs[i])
		values = append(values, []uint64{pairs[i+1]<<mappingTimeBits | time})
	}
	b.leaf(block, 8, keys, values...)
}

// details makes a block the details of device 7, which has so many mappings, made in a transaction.
func (b thinBlocks) details(block int, mapped, transaction uint64) {
	b.leaf(block, detailsSize, []uint64{7}, []uint64{mapped, transaction, 0})
}

// The pool has only device 8 now, in chunk 0. Device 7 was removed; block 5 is the level 1 that leads to its mappings
// in block 6.
func removedThin(change func(b thinBlocks)) memory {
	b := newThinBlocks(16)
	b.leaf(1, 8, []uint64{8}, []uint64{2})
	b.mappings(2, 0, 0, 0)
	b.leaf(3, detailsSize, []uint64{8}, []uint64{1, 0, 0})
	b.leaf(5, 8, []uint64{7, 8}, []uint64{6}, []uint64{2})
	b.mappings(6, 1, 0, 1, 1, 2)
	b.details(7, 2, 3)
	if change != nil {
		change(b)
	}
	sealThin(b.m)
	return b.m
}

func TestOfARemovedThinDeviceOnlyWhatIsCertainIsRead(t *testing.T) {
	data := random(4 * thinTestChunk)
	for what, c := range map[string]struct {
		change func(b thinBlocks)
		lost   string // for each of three chunks: "x" for what cannot be read; "" for nothing at all
	}{
		"all of it is left":                        {nil, "..."},
		"a chunk is another's now":                 {func(b thinBlocks) { b.mappings(2, 0, 0, 0, 5, 2) }, ".x."},
		"a chunk was another's since":              {func(b thinBlocks) { b.leaf(8, 8, []uint64{9}, []uint64{9}); b.mappings(9, 1, 0, 1) }, "x.."},
		"older mappings are left too":              {func(b thinBlocks) { b.leaf(8, 8, []uint64{7}, []uint64{9}); b.mappings(9, 1, 1, 2) }, "..."},
		"mappings of before a snapshot are left":   {func(b thinBlocks) { b.leaf(8, 8, []uint64{7}, []uint64{9}); b.mappings(9, 0, 1, 3) }, "..."},
		"others are left, and no order":            {func(b thinBlocks) { b.leaf(8, 8, []uint64{7}, []uint64{9}); b.mappings(9, 1, 1, 3) }, ""},
		"others are left that have more elsewhere": {func(b thinBlocks) { b.leaf(8, 8, []uint64{7}, []uint64{9}); b.mappings(9, 1, 2, 3) }, ""},
		"details count more":                       {func(b thinBlocks) { b.details(8, 3, 3) }, ""},
		"details count less, of earlier":           {func(b thinBlocks) { b.details(8, 1, 3) }, "..."},
		"no details are left":                      {func(b thinBlocks) { clear(b.m[7*4096 : 8*4096]) }, "..x"},
		"two devices had the ID":                   {func(b thinBlocks) { b.details(8, 2, 4) }, ""},
		"the mappings are gone":                    {func(b thinBlocks) { clear(b.m[6*4096 : 7*4096]) }, ""},
		"the level 1 is gone":                      {func(b thinBlocks) { clear(b.m[5*4096 : 6*4096]) }, ""},
	} {
		t.Run(what, func(t *testing.T) {
			m := volumeOf(removedThin(c.change))
			found := FindRemovedThins(m, volumeOf(data), thinTestChunk, []uint64{7})[7]
			pool, err := RemovedThinPool(m, volumeOf(data), thinTestChunk, found, false)
			if (err != nil) != (c.lost == "") {
				t.Fatalf("%v", err)
			}
			if err != nil {
				return
			}
			v, err := pool.Thin(7, 3*thinTestChunk, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, 3*thinTestChunk)
			copy(want, data[thinTestChunk:3*thinTestChunk])
			checkVolume(t, v, want, func(i int) bool { return c.lost[i/thinTestChunk] == 'x' })
		})
	}
}

// The memory for chunks does not grow with the number of devices that were removed.
func TestOfAThousandRemovedThinDevicesEachIsFound(t *testing.T) {
	const (
		devices = 1000
		chunks  = 3 << 20
		first   = 20 // block of mappings
		perLeaf = 200
	)
	b := newThinBlocks(first + devices)
	var ids []uint64
	for leaf := range devices / perLeaf {
		var keys []uint64
		var roots [][]uint64
		for i := range perLeaf {
			n := leaf*perLeaf + i
			id := uint64(100 + n)
			b.mappings(first+n, 1, 0, uint64(n), 1, uint64(devices+n/2)) // chunk 1 is one that two devices had
			keys, roots, ids = append(keys, id), append(roots, []uint64{uint64(first + n)}), append(ids, id)
		}
		b.leaf(5+leaf, 8, keys, roots...)
	}
	sealThin(b.m)
	found := FindRemovedThins(volumeOf(b.m), Zero(chunks*thinTestChunk), thinTestChunk, ids)
	for n, id := range ids {
		f := found[id]
		if f.Err != nil {
			t.Fatalf("device %d: %v", id, f.Err)
		}
		own, both, next := f.had.otherThan(id, uint64(n)), f.had.otherThan(id, uint64(devices+n/2)), f.had.otherThan(id, uint64((n+1)%devices))
		if own || !both || !next {
			t.Fatalf("device %d: another had its chunk: %v, that of two: %v, and that of the next: %v", id, own, both, next)
		}
	}
}
