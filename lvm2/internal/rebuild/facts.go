package rebuild

import (
	"lvm2fs/lvm2/internal/pdata"
)

// fact is what a block says of itself and, of an inner node, what is beneath it. A block does not change until it is
// free and used anew. So a fact is the same in every age of the pool in which the block is in use.
type fact struct {
	first, last uint64 // keys: all that can be read beneath are from first to last
	entries     uint64 // in the leaves beneath
	height      int8   // 0 for a leaf, unknown if no way down is whole
	traits      traits
}

type traits uint8

const (
	isNode    traits = 1 << iota
	isInner          // with children
	isSettled        // what is beneath an inner node was looked at
	isWhole          // nothing beneath is damaged or out of its place
	hasPlaces        // leaves with values of 8 bytes: mappings or a level 1
	mayMap           // what is in the leaves may be mappings
	mayLevel1        // a leaf that may be of a level 1
	isOther          // a good block that is no node
)

const unknown = -1

func (f *fact) is(t traits) bool { return f.traits&t == t }

const (
	mappingSize     = 8
	mappingTimeBits = 24
	maxDevice       = 1<<24 - 1
	maxDepth        = 16
)

// facts are those of all blocks. Memory: 32 bytes a block, of at most [pdata.MaxMetadataBlocks].
type facts struct {
	blocks *pdata.Blocks
	chunks uint64 // of the pool
	of     []fact
	index  []uint64 // index blocks of metadata space maps, of all ages
	bitmap []uint64 // bitmaps of both space maps, of all ages
	held   []uint64 // superblocks other than that in block 0, of all ages
}

func survey(blocks *pdata.Blocks, chunks uint64) (*facts, error) {
	f := &facts{blocks: blocks, chunks: chunks, of: make([]fact, min(blocks.Count(), pdata.MaxMetadataBlocks))}
	err := blocks.Survey(func(number uint64, seen pdata.Sight, n pdata.RawNode) error {
		if number >= uint64(len(f.of)) {
			return nil
		}
		switch seen {
		case pdata.SeenNode:
			f.of[number] = f.look(n)
		case pdata.SeenIndexBlock:
			f.index = append(f.index, number)
			f.of[number].traits = isOther
		case pdata.SeenBitmap:
			f.bitmap = append(f.bitmap, number)
			f.of[number].traits = isOther
		case pdata.SeenSuperblock:
			if number != 0 {
				f.held = append(f.held, number)
			}
			f.of[number].traits = isOther
		}
		return nil
	})
	return f, err
}

// look is what a node says by itself.
func (f *facts) look(n pdata.RawNode) fact {
	x := fact{traits: isNode, height: unknown}
	if !n.Leaf() {
		x.traits |= isInner
		return x
	}
	x.height, x.entries = 0, uint64(n.Len())
	x.traits |= isWhole | isSettled
	if n.Len() > 0 {
		x.first, x.last = n.Key(0), n.Key(n.Len()-1)
	}
	if n.ValueSize() != mappingSize {
		return x
	}
	x.traits |= hasPlaces | mayMap | mayLevel1
	for i := range n.Len() {
		value := n.Uint64(i)
		// No leaf has a chunk of the pool twice. In a level 1 these bits are those of chunk 0, again and again.
		if at := value >> mappingTimeBits; at >= f.chunks || i > 0 && at == n.Uint64(i-1)>>mappingTimeBits {
			x.traits &^= mayMap
		}
		if key := n.Key(i); key == 0 || key > maxDevice || value == 0 || value >= f.blocks.Count() {
			x.traits &^= mayLevel1
		}
	}
	return x
}

// get is what is known of a block; nil for one that the device has not.
func (f *facts) get(number uint64) *fact {
	if number >= uint64(len(f.of)) {
		return nil
	}
	return &f.of[number]
}

// settle finds out what is beneath a node.
func (f *facts) settle(number uint64, depth int) *fact {
	x := f.get(number)
	if x == nil || !x.is(isInner) || x.is(isSettled) {
		return x
	}
	n, err := f.blocks.ReadNode(number)
	if err != nil || depth == maxDepth {
		x.traits = 0
		return x
	}
	x.traits |= isSettled // ends circles: a node beneath itself has nothing beneath it
	sum, good := fact{height: unknown, traits: isWhole | hasPlaces | mayMap}, false
	for i := range n.Len() {
		child := f.settle(n.Uint64(i), depth+1)
		switch {
		case child == nil || !child.is(isNode|isSettled) || child.height == unknown,
			child.entries > 0 && (child.first < n.Key(i) || i+1 < n.Len() && child.last >= n.Key(i+1)),
			good && child.height+1 != sum.height:
			sum.traits &^= isWhole
			continue
		}
		good = true
		sum.last, sum.height, sum.entries = child.last, child.height+1, sum.entries+child.entries
		sum.traits &= child.traits | isNode
	}
	if !good {
		sum.traits &^= mayMap | hasPlaces
	}
	sum.first, sum.last = n.Key(0), max(sum.last, n.Key(n.Len()-1))
	sum.traits |= isNode | isInner | isSettled
	*x = sum
	return x
}

// fits says whether a node can be where the keys from <= key <= to are.
func (x *fact) fits(from, to uint64) bool {
	return x.entries == 0 || x.first >= from && x.last <= to
}

// children calls visit with the children of a node that can be read, and where their keys begin and end within from and to.
func (f *facts) children(number, from, to uint64, visit func(child, from, to uint64)) {
	n, err := f.blocks.ReadNode(number)
	if err != nil || n.Leaf() {
		return
	}
	for i := range n.Len() {
		last := to
		if i+1 < n.Len() {
			last = min(to, n.Key(i+1)-1)
		}
		visit(n.Uint64(i), max(from, n.Key(i)), last)
	}
}

// tree is the tree of mappings that begins at a node.
func (f *facts) tree(root uint64) pdata.Tree {
	return pdata.Tree{Blocks: f.blocks, Root: root, ValueSize: mappingSize}
}
