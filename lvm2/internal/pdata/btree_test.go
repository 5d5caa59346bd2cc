package pdata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// disk is a metadata device that tests build trees on.
type disk struct{ bytes.Buffer }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.Bytes()).ReadAt(p, off)
}

func (d *disk) blocks() *Blocks { return NewBlocks(d, int64(d.Len())) }

func (d *disk) block(n uint64) []byte { return d.Bytes()[n*BlockSize:][:BlockSize] }

// seal gives a block the checksum of a node.
func seal(b []byte) {
	binary.LittleEndian.PutUint32(b, ^crc32.Checksum(b[4:], castagnoli)^Node.salt)
}

const testRoom = 6 // entries in a node, to have deep trees of few keys

// add appends a node and returns its number.
func (d *disk) add(flags uint32, keys, values []uint64) uint64 {
	number := uint64(d.Len() / BlockSize)
	le := binary.LittleEndian
	b := make([]byte, BlockSize)
	le.PutUint32(b[4:], flags)
	le.PutUint64(b[8:], number)
	le.PutUint32(b[16:], uint32(len(keys)))
	le.PutUint32(b[20:], testRoom)
	le.PutUint32(b[24:], 8)
	for i := range keys {
		le.PutUint64(b[nodeHeaderSize+8*i:], keys[i])
		le.PutUint64(b[nodeHeaderSize+8*testRoom+8*i:], values[i])
	}
	seal(b)
	d.Write(b)
	return number
}

// tree builds a tree of the keys, each with three times itself as value.
func (d *disk) tree(keys []uint64) Tree {
	flags := uint32(flagLeaf)
	values := make([]uint64, len(keys))
	for i, k := range keys {
		values[i] = 3 * k
	}
	for {
		var firsts, numbers []uint64
		for i := 0; i < len(keys) || i == 0; i += testRoom {
			end := min(len(keys), i+testRoom)
			numbers = append(numbers, d.add(flags, keys[i:end], values[i:end]))
			if end > i {
				firsts = append(firsts, keys[i])
			}
		}
		if len(numbers) == 1 {
			return Tree{Blocks: d.blocks(), Root: numbers[0], ValueSize: 8}
		}
		flags, keys, values = flagInternal, firsts, numbers
	}
}

func someKeys(n int) []uint64 {
	set := map[uint64]bool{}
	for len(set) < n {
		set[rand.Uint64N(uint64(4*n))] = true
	}
	var keys []uint64
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestATreeFindsItsKeysAndNoOthers(t *testing.T) {
	for _, n := range []int{0, 1, 6, 7, 300} {
		keys := someKeys(n)
		tree := new(disk).tree(keys)
		for k := range uint64(4*n + 2) {
			v, found, err := tree.Find(k)
			if err != nil {
				t.Fatal(err)
			}
			if found != slices.Contains(keys, k) || found && binary.LittleEndian.Uint64(v) != 3*k {
				t.Fatalf("%d keys: key %d: %v %v", n, k, found, v)
			}
		}
	}
}

func TestLeavesTellWhereTheNextKeyIs(t *testing.T) {
	keys := someKeys(300)
	tree := new(disk).tree(keys)
	var got []uint64
	for key := uint64(0); ; {
		l, err := tree.Leaf(key)
		if err != nil {
			t.Fatal(err)
		}
		if l.From > key || l.To < key {
			t.Fatalf("leaf of key %d has keys %d to %d", key, l.From, l.To)
		}
		for i := l.Search(key); i < l.Len(); i++ {
			got = append(got, l.Key(i))
		}
		if l.To == math.MaxUint64 {
			break
		}
		key = l.To + 1
	}
	if !slices.Equal(got, keys) {
		t.Errorf("%d keys, want %d", len(got), len(keys))
	}
}

func TestADamagedNodeLosesTheKeysBeneathItAndNoOthers(t *testing.T) {
	keys := someKeys(300)
	d := new(disk)
	whole := d.tree(keys)
	for n := range uint64(d.Len() / BlockSize) {
		damaged := new(disk)
		damaged.Write(d.Bytes())
		damaged.block(n)[rand.IntN(BlockSize)] ^= 1 << rand.IntN(8)
		tree := Tree{Blocks: damaged.blocks(), Root: whole.Root, ValueSize: 8}
		lost := 0
		for _, k := range keys {
			v, found, err := tree.Find(k)
			var damage *Damage
			switch {
			case errors.As(err, &damage) && errors.Is(err, ErrDamaged):
				lost++
				if k < damage.From || k > damage.To {
					t.Fatalf("key %d is said to be lost with %d to %d", k, damage.From, damage.To)
				}
			case err != nil || !found || binary.LittleEndian.Uint64(v) != 3*k:
				t.Fatalf("key %d: %v %v %v", k, v, found, err)
			}
		}
		if lost == 0 || lost == len(keys) && n != whole.Root {
			t.Errorf("block %d damaged: %d keys of %d lost", n, lost, len(keys))
		}
	}
}

func TestANodeThatMakesNoSenseIsDamaged(t *testing.T) {
	le := binary.LittleEndian
	for name, change := range map[string]func(b []byte){
		"flags":               func(b []byte) { le.PutUint32(b[4:], 3) },
		"number":              func(b []byte) { le.PutUint64(b[8:], 9) },
		"entries beyond room": func(b []byte) { le.PutUint32(b[16:], testRoom+1) },
		"room beyond block":   func(b []byte) { le.PutUint32(b[20:], 300) },
		"huge room":           func(b []byte) { le.PutUint32(b[20:], math.MaxUint32) },
		"value size":          func(b []byte) { le.PutUint32(b[24:], 16) },
		"keys in disorder":    func(b []byte) { le.PutUint64(b[nodeHeaderSize+8:], 0) },
		"internal and empty":  func(b []byte) { le.PutUint32(b[4:], flagInternal); le.PutUint32(b[16:], 0) },
		"its own child":       func(b []byte) { le.PutUint32(b[4:], flagInternal); clear(b[nodeHeaderSize+8*testRoom:]) },
	} {
		d := new(disk)
		d.add(flagLeaf, []uint64{5, 6}, []uint64{15, 18})
		change(d.block(0))
		seal(d.block(0))
		_, _, err := Tree{Blocks: d.blocks(), ValueSize: 8}.Find(6)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAChildOutOfItsPlaceIsDamaged(t *testing.T) {
	d := new(disk)
	a := d.add(flagLeaf, []uint64{1, 2}, []uint64{3, 6})
	root := d.add(flagInternal, []uint64{1, 10}, []uint64{a, a})
	_, _, err := Tree{Blocks: d.blocks(), Root: root, ValueSize: 8}.Find(11)
	if !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestTheCacheStaysBounded(t *testing.T) {
	d := new(disk)
	tree := d.tree(someKeys(10 * cachedBlocks))
	for k := range uint64(40 * cachedBlocks) {
		if _, _, err := tree.Find(k); err != nil {
			t.Fatal(err)
		}
	}
	if n := tree.Blocks.nodes.Len(); n > cachedBlocks {
		t.Errorf("%d nodes cached", n)
	}
}

func FuzzTree(f *testing.F) {
	d := new(disk)
	tree := d.tree([]uint64{1, 2, 3, 5, 8, 13, 21, 34, 55})
	f.Add(d.Bytes(), tree.Root, uint64(13))
	f.Fuzz(func(t *testing.T, b []byte, root, key uint64) {
		d := new(disk)
		d.Write(b)
		for n := range uint64(len(b) / BlockSize) {
			seal(d.block(n))
		}
		tree := Tree{Blocks: d.blocks(), Root: root, ValueSize: 8}
		l, err := tree.Leaf(key)
		if err != nil {
			return
		}
		if l.From > key || l.To < key {
			t.Fatalf("leaf of key %d has keys %d to %d", key, l.From, l.To)
		}
		for i := range l.Len() {
			_, _ = l.Key(i), l.Value(i)
		}
	})
}
