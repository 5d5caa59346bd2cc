package dm

import (
	"cmp"
	"encoding/binary"
	"slices"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// ThinRoot is a block of a pool's metadata where its mappings may have begun at some time: the root
// of a level 1 whose devices have trees.
type ThinRoot struct {
	Block    uint64
	Devices  []uint64 // IDs, in order
	Known    int      // how many of them the caller knows of
	Mappings uint64   // of all devices, as far as they can be read
	Damaged  int      // nodes that should be there and cannot be read
	Newest   uint64   // the highest time of a mapping
}

const (
	// maxThinRoots bounds the candidates, and with them the time that ranking takes.
	maxThinRoots = 4096
	// maxRootNodes bounds the nodes that are read to judge the candidates.
	maxRootNodes = 1 << 22
)

// FindThinRoots looks through all of a pool's metadata for what may be a level 1, whatever the
// superblock says, and returns it with the most plausible first: those that know the most of the
// given devices and the fewest others, with the least damage, with the newest and then the most mappings. Nodes that
// are no longer in use are found too, so a root may be one of the past. chunkSize is in bytes.
func FindThinRoots(metadata, data mapping.Volume, chunkSize int64, devices []uint64) ([]ThinRoot, error) {
	r := newRootFinder(metadata, data, chunkSize, devices)
	var roots []ThinRoot
	inner := map[uint64]bool{} // nodes of a level 1 that are not its root
	for number := uint64(1); number < r.blocks.Count() && len(roots) < maxThinRoots; number++ {
		if root, _, ok := r.judge(number, inner); ok && root.Known > 0 {
			roots = append(roots, root)
		}
	}
	roots = slices.DeleteFunc(roots, func(root ThinRoot) bool { return inner[root.Block] })
	slices.SortStableFunc(roots, func(a, b ThinRoot) int {
		return cmp.Or(cmp.Compare(b.Known, a.Known), cmp.Compare(a.others(), b.others()), cmp.Compare(a.Damaged, b.Damaged), cmp.Compare(b.Newest, a.Newest), cmp.Compare(b.Mappings, a.Mappings))
	})
	return roots, nil
}

// others is the number of devices that the caller does not know of: removed since, or made by something else.
func (r ThinRoot) others() int { return len(r.Devices) - r.Known }

type rootFinder struct {
	blocks  *pdata.Blocks
	chunks  uint64
	known   map[uint64]bool
	level2s map[uint64]*level2 // by root; devices share them
	budget  int
}

func newRootFinder(metadata, data mapping.Volume, chunkSize int64, devices []uint64) *rootFinder {
	r := &rootFinder{
		blocks:  pdata.NewBlocks(metadata, metadata.Size()),
		chunks:  uint64(data.Size() / chunkSize),
		known:   map[uint64]bool{},
		level2s: map[uint64]*level2{},
		budget:  maxRootNodes,
	}
	for _, d := range devices {
		r.known[d] = true
	}
	return r
}

// thinTree is where the mappings of a device begin.
type thinTree struct{ device, root uint64 }

// level2 is what the mappings of one device look like.
type level2 struct {
	plausible bool
	mappings  uint64
	damaged   int
	newest    uint64
}

// judge says whether the block may be the root of a level 1, and to what it leads.
func (r *rootFinder) judge(number uint64, inner map[uint64]bool) (root ThinRoot, trees []thinTree, ok bool) {
	root = ThinRoot{Block: number}
	var children []uint64
	ok = r.walk(number, 0, func(n pdata.RawNode, at uint64) bool {
		if at != number {
			children = append(children, at)
		}
		if !n.Leaf() {
			return true
		}
		if n.ValueSize() != mappingSize {
			return false
		}
		for i, device := range n.Keys() {
			if device == 0 || device > maxThinDevice {
				return false
			}
			tree := thinTree{device, binary.LittleEndian.Uint64(n.Value(i))}
			l := r.level2(tree.root)
			if !l.plausible {
				return false
			}
			root.Devices = append(root.Devices, device)
			trees = append(trees, tree)
			root.Mappings += l.mappings
			root.Damaged += l.damaged
			root.Newest = max(root.Newest, l.newest)
			if r.known[device] {
				root.Known++
			}
		}
		return true
	}, func() { root.Damaged++ })
	if !ok {
		return root, nil, false
	}
	for _, c := range children {
		inner[c] = true
	}
	return root, trees, true
}

// level2 judges the mappings of a device, once.
func (r *rootFinder) level2(root uint64) *level2 {
	if l := r.level2s[root]; l != nil {
		return l
	}
	l := &level2{}
	r.level2s[root] = l
	if _, err := r.blocks.ReadNode(root); err != nil { // because what was beneath it may be put together again
		l.plausible, l.damaged = root > 0 && root < r.blocks.Count(), 1
		return l
	}
	l.plausible = r.walk(root, 0, func(n pdata.RawNode, _ uint64) bool {
		if !n.Leaf() {
			return true
		}
		if n.ValueSize() != mappingSize {
			return false
		}
		for i := range n.Keys() {
			value := n.Value(i)
			if dataChunk(value) >= r.chunks {
				return false
			}
			l.mappings++
			l.newest = max(l.newest, binary.LittleEndian.Uint64(value)&(1<<mappingTimeBits-1))
		}
		return true
	}, func() { l.damaged++ })
	return l
}

// walk visits the nodes of the tree at number. It returns false if the root is damaged or visit returns false; damage of
// other nodes is told, and they are passed over.
func (r *rootFinder) walk(number uint64, depth int, visit func(n pdata.RawNode, at uint64) bool, damaged func()) bool {
	const maxDepth = 16
	if r.budget--; r.budget < 0 || depth == maxDepth {
		return false
	}
	n, err := r.blocks.ReadNode(number)
	if err != nil {
		if depth > 0 {
			damaged()
		}
		return depth > 0
	}
	if !visit(n, number) {
		return false
	}
	if n.Leaf() {
		return true
	}
	for i := range n.Keys() {
		if !r.walk(binary.LittleEndian.Uint64(n.Value(i)), depth+1, visit, damaged) {
			return false
		}
	}
	return true
}
