package pdata

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
)

const (
	nodeHeaderSize = 32
	keySize        = 8
	flagInternal   = 1
	flagLeaf       = 2
	// maxDepth is far beyond the deepest tree that fits a metadata device, and ends
	// the way down through a node that lies beneath itself.
	maxDepth = 16
)

// node is one node of a b-tree:
//
//	 0 u32 checksum   4 u32 flags: 1 internal, 2 leaf   8 u64 own block number
//	16 u32 entries   20 u32 room for entries           24 u32 bytes of a value
//	32 keys: u64, ascending, one for each entry there is room for
//	   values: behind the last key there is room for
type node struct {
	number    uint64
	leaf      bool
	entries   int
	room      int
	valueSize int
	b         []byte
}

func decodeNode(b []byte, number uint64) (*node, error) {
	le := binary.LittleEndian
	flags := le.Uint32(b[4:])
	entries, room, valueSize := le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	n := &node{number: number, leaf: flags == flagLeaf, entries: int(entries), room: int(room), valueSize: int(valueSize), b: b}
	switch {
	case flags != flagInternal && flags != flagLeaf:
		return nil, n.damaged("flags %d", flags)
	case valueSize > BlockSize || room > BlockSize/keySize || nodeHeaderSize+int(room)*(keySize+int(valueSize)) > BlockSize:
		return nil, n.damaged("room for %d values of %d bytes", room, valueSize)
	case entries > room:
		return nil, n.damaged("%d entries, room for %d", entries, room)
	case flags == flagInternal && (valueSize != 8 || entries == 0):
		return nil, n.damaged("internal, with %d values of %d bytes", entries, valueSize)
	}
	for i := 1; i < n.entries; i++ {
		if n.key(i) <= n.key(i-1) {
			return nil, n.damaged("key %d is not above the one before", i)
		}
	}
	return n, nil
}

func (n *node) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: b-tree node %d at byte %d: %s", ErrDamaged, n.number, n.number*BlockSize, fmt.Sprintf(format, args...))
}

func (n *node) key(i int) uint64 { return binary.LittleEndian.Uint64(n.b[nodeHeaderSize+i*keySize:]) }

func (n *node) value(i int) []byte {
	at := nodeHeaderSize + n.room*keySize + i*n.valueSize
	return n.b[at : at+n.valueSize]
}

// search is the first entry with a key of at least key.
func (n *node) search(key uint64) int {
	return sort.Search(n.entries, func(i int) bool { return n.key(i) >= key })
}

// Tree is a b-tree with keys of 64 bits.
type Tree struct {
	Blocks    *Blocks
	Root      uint64 // block number
	ValueSize int    // bytes
}

// Leaf is a leaf of a tree, as far as it is known where its keys begin and end.
type Leaf struct {
	node *node
	// From and To bound the keys that can be in this leaf: From <= key <= To. All
	// such keys of the tree are in it.
	From, To uint64
}

// Damage is the error for a part of a tree that cannot be read.
type Damage struct {
	From, To uint64 // the keys that are lost: From <= key <= To
	Err      error
}

func (d *Damage) Error() string { return d.Err.Error() }
func (d *Damage) Unwrap() error { return d.Err }

// Leaf finds the leaf where key is, if it is in the tree. It fails with *Damage.
func (t Tree) Leaf(key uint64) (Leaf, error) {
	from, to, number := uint64(0), uint64(math.MaxUint64), t.Root
	for range maxDepth {
		n, err := t.Blocks.node(number)
		if err == nil {
			err = t.fits(n, from, to)
		}
		if err != nil {
			return Leaf{}, &Damage{from, to, err}
		}
		if n.leaf {
			return Leaf{n, from, to}, nil
		}
		// The child is the last whose first key is not above key. Below the
		// first key of all there is nothing.
		i := n.search(key)
		if i == n.entries || n.key(i) > key {
			i--
		}
		if i < 0 {
			return Leaf{&node{leaf: true, valueSize: t.ValueSize}, from, n.key(0) - 1}, nil
		}
		from = n.key(i)
		if i+1 < n.entries {
			to = n.key(i+1) - 1
		}
		number = binary.LittleEndian.Uint64(n.value(i))
	}
	return Leaf{}, &Damage{from, to, fmt.Errorf("%w: b-tree node %d: more than %d levels deep", ErrDamaged, number, maxDepth)}
}

// fits checks a node against its place in the tree.
func (t Tree) fits(n *node, from, to uint64) error {
	if n.leaf && n.valueSize != t.ValueSize {
		return n.damaged("values of %d bytes, not %d", n.valueSize, t.ValueSize)
	}
	if n.entries > 0 && (n.key(0) < from || n.key(n.entries-1) > to) {
		return n.damaged("keys %d to %d, in the place of %d to %d", n.key(0), n.key(n.entries-1), from, to)
	}
	return nil
}

// Block is the block number of the leaf. Trees that share nodes have leaves of one number.
func (l Leaf) Block() uint64 { return l.node.number }

// Search is the first entry of the leaf whose key is at least key; Len if there is none.
func (l Leaf) Search(key uint64) int { return l.node.search(key) }

// Len is the number of entries.
func (l Leaf) Len() int { return l.node.entries }

// Key is the key of entry i.
func (l Leaf) Key(i int) uint64 { return l.node.key(i) }

// Value is the value of entry i. It is not to be changed.
func (l Leaf) Value(i int) []byte { return l.node.value(i) }

// Find is the value of key, and whether it is in the tree.
func (t Tree) Find(key uint64) ([]byte, bool, error) {
	l, err := t.Leaf(key)
	if err != nil {
		return nil, false, err
	}
	if i := l.Search(key); i < l.Len() && l.Key(i) == key {
		return l.Value(i), true, nil
	}
	return nil, false, nil
}

// RawNode is a node of a tree as it is found on disk, outside of any tree.
type RawNode struct{ n *node }

// ReadNode reads a block as a node. It fails with ErrDamaged if it is none.
func (s *Blocks) ReadNode(number uint64) (RawNode, error) {
	n, err := s.node(number)
	return RawNode{n}, err
}

// Leaf says whether the node is a leaf, and not one with children.
func (n RawNode) Leaf() bool { return n.n.leaf }

// Keys are the keys of the node, in order.
func (n RawNode) Keys() []uint64 {
	keys := make([]uint64, n.n.entries)
	for i := range keys {
		keys[i] = n.n.key(i)
	}
	return keys
}

// ValueSize is the size of the node's values in bytes.
func (n RawNode) ValueSize() int { return n.n.valueSize }

// Value is the value of entry i. It is not to be changed.
func (n RawNode) Value(i int) []byte { return n.n.value(i) }
