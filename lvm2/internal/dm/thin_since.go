package dm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// ErrChunkReused: a chunk that an older root maps belongs to something else by now, or did since.
var ErrChunkReused = fmt.Errorf("may have been overwritten: %w", mapping.ErrMissing)

// thinSince says which chunks of a pool that is read from an older root belong to something else by its superblock.
type thinSince struct {
	now *ThinPool
	had *chunkOwners // nil if it is not looked at which devices had a chunk at some time
	id  uint64       // of the device that is read; with had only

	once sync.Once
	used []uint64 // a bit for each chunk that a device has now
}

// Since has a pool from [ThinPoolAt] fail to read chunks that have gone to another device or another place since: they no
// longer hold what the root speaks of. now is the pool by its superblock. Mappings of now that cannot be read are passed
// over.
func (p *ThinPool) Since(now *ThinPool) { p.since = &thinSince{now: now} }

// reused says whether a chunk may belong to something else now. The leaf in a block of an older root maps it; it is in
// use now, but not by the same leaf. An equal mapping in another leaf proves nothing, because the device may have been
// removed, and both its ID and its chunk given to another.
func (s *thinSince) reused(device, chunk, at, block uint64) bool {
	if s.had.otherThan(s.id, at) {
		return true
	}
	s.once.Do(s.find)
	if at/64 >= uint64(len(s.used)) || s.used[at/64]&(1<<(at%64)) == 0 {
		return false
	}
	root, found, err := s.now.level1.Find(device)
	if err != nil || !found {
		return true
	}
	leaf, err := s.now.tree(binary.LittleEndian.Uint64(root)).Leaf(chunk)
	return err != nil || leaf.Block() != block
}

// find walks through the mappings of all devices.
func (s *thinSince) find() {
	s.used = make([]uint64, (s.now.chunks+63)/64)
	seen := map[uint64]bool{} // leaves, which devices share
	eachLeaf(s.now.level1, func(l pdata.Leaf) {
		for i := range l.Len() {
			eachLeaf(s.now.tree(binary.LittleEndian.Uint64(l.Value(i))), func(l pdata.Leaf) {
				if seen[l.Block()] {
					return
				}
				seen[l.Block()] = true
				for i := range l.Len() {
					if at := dataChunk(l.Value(i)); at < s.now.chunks {
						s.used[at/64] |= 1 << (at % 64)
					}
				}
			})
		}
	})
}

// eachLeaf visits the leaves of a tree that can be read.
func eachLeaf(t pdata.Tree, visit func(pdata.Leaf)) {
	for key := uint64(0); ; {
		to := uint64(math.MaxUint64)
		leaf, err := t.Leaf(key)
		if err == nil {
			visit(leaf)
			to = leaf.To
		} else if damage, ok := damageOf(err); ok {
			to = damage.To
		}
		if to == math.MaxUint64 {
			return
		}
		key = to + 1
	}
}

// damageOf is the range of keys that a damaged node makes unknown.
func damageOf(err error) (*pdata.Damage, bool) {
	var damage *pdata.Damage
	ok := errors.As(err, &damage)
	return damage, ok
}
