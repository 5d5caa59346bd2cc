package dm

import (
	"encoding/binary"
	"fmt"
	"math"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// RemovedThin is what the metadata of a pool still hold of a device that was removed. It lies in free blocks until these
// are used again.
type RemovedThin struct {
	// Root is the block of a level 1 that leads to the last mappings.
	Root uint64
	// Err is why the last mappings are not known; Root is 0 then.
	Err error

	whole bool // as far as is known no mapping is lost
	had   *chunkOwners
	id    uint64 // of the device
}

var (
	errThinLost    = fmt.Errorf("%w: nothing is left of the mappings", ErrThinPool)
	errThinUnclear = fmt.Errorf("%w: what is left of the mappings does not tell which are the last", ErrThinPool)
	errThinHole    = fmt.Errorf("whether it was written is not known: %w", mapping.ErrMissing)
)

// chunkOwners are the devices that chunks of a pool belonged to at any time.
type chunkOwners struct {
	of      []uint32          // by chunk: the number of the one device that had it, 0 if none had, or severalOwners
	numbers map[uint64]uint32 // of devices, from 1 on
}

const severalOwners = math.MaxUint32

// maxOwnedChunks bounds the memory for chunkOwners: to 256 MiB.
const maxOwnedChunks = 1 << 26

func newChunkOwners(chunks uint64) *chunkOwners {
	return &chunkOwners{make([]uint32, chunks), map[uint64]uint32{}}
}

// mark notes that a device had a chunk.
func (o *chunkOwners) mark(device, chunk uint64) {
	if chunk >= uint64(len(o.of)) {
		return
	}
	number := o.numbers[device]
	if number == 0 {
		number = uint32(len(o.numbers) + 1)
		o.numbers[device] = number
	}
	if had := &o.of[chunk]; *had == 0 {
		*had = number
	} else if *had != number {
		*had = severalOwners
	}
}

// otherThan says whether another device than this one had a chunk.
func (o *chunkOwners) otherThan(device, chunk uint64) bool {
	return o != nil && chunk < uint64(len(o.of)) && o.of[chunk] != 0 && o.of[chunk] != o.numbers[device]
}

// FindRemovedThins looks through all of a pool's metadata for the last mappings of devices that were removed. Free blocks
// have no order. So mappings count as the last only if everything else that is left of the device is a part of them, or
// older where it differs, and if no details that are left count more. chunkSize is in bytes. (docs/format/06-thin.md,
// section 12, "What is left of a removed device")
func FindRemovedThins(metadata, data mapping.Volume, chunkSize int64, ids []uint64) map[uint64]*RemovedThin {
	r := newRootFinder(metadata, data, chunkSize, nil)
	left := map[uint64]*thinLeft{}
	found := map[uint64]*RemovedThin{}
	for _, id := range ids {
		left[id] = &thinLeft{roots: map[uint64]uint64{}}
		found[id] = &RemovedThin{Err: errThinUnclear, id: id}
	}
	if r.chunks > maxOwnedChunks {
		return found
	}
	had := newChunkOwners(r.chunks)
	for _, removed := range found {
		removed.had = had
	}
	marked := map[[2]uint64]bool{}
	for number := uint64(1); number < r.blocks.Count(); number++ {
		r.noteDetails(number, left)
		_, trees, ok := r.judge(number, map[uint64]bool{})
		if !ok {
			continue
		}
		for _, t := range trees {
			if l := left[t.device]; l != nil {
				l.roots[t.root] = number
			}
			if key := [2]uint64{t.device, t.root}; !marked[key] {
				marked[key] = true
				r.eachMapping(t.root, func(_, value uint64) { had.mark(t.device, value>>mappingTimeBits) })
			}
		}
	}
	for id, l := range left {
		if r.budget < 0 {
			break // not all has been looked at
		}
		r.decide(l, found[id])
	}
	return found
}

// thinLeft is what is left of a device.
type thinLeft struct {
	roots   map[uint64]uint64 // of level 2, and a level 1 that leads there
	counted uint64            // the most mappings, by details
	made    map[uint64]bool   // the transactions that made it, by details
}

// noteDetails notes what a block says of devices, if it is a leaf of details.
func (r *rootFinder) noteDetails(number uint64, left map[uint64]*thinLeft) {
	n, err := r.blocks.ReadNode(number)
	if err != nil || !n.Leaf() || n.ValueSize() != detailsSize {
		return
	}
	for i, id := range n.Keys() {
		l := left[id]
		if l == nil {
			continue
		}
		if l.made == nil {
			l.made = map[uint64]bool{}
		}
		l.counted = max(l.counted, decodeThinDetails(n.Value(i)).mapped)
		l.made[binary.LittleEndian.Uint64(n.Value(i)[8:])] = true
	}
}

// eachMapping visits the mappings of a level 2 that can be read.
func (r *rootFinder) eachMapping(root uint64, visit func(chunk, value uint64)) {
	r.walk(root, 0, func(n pdata.RawNode, _ uint64) bool {
		if n.Leaf() {
			for i, chunk := range n.Keys() {
				visit(chunk, binary.LittleEndian.Uint64(n.Value(i)))
			}
		}
		return true
	}, func() {})
}

// decide finds the last mappings among those that are left.
func (r *rootFinder) decide(l *thinLeft, removed *RemovedThin) {
	var best *level2
	var root uint64
	for at := range l.roots {
		tree := r.level2(at)
		if tree.damaged == 0 && (best == nil || tree.mappings > best.mappings || tree.mappings == best.mappings && tree.newest > best.newest ||
			tree.mappings == best.mappings && tree.newest == best.newest && at < root) {
			best, root = tree, at
		}
	}
	switch {
	case best == nil:
		removed.Err = errThinLost
		return
	case len(l.made) > 1 || l.counted > best.mappings:
		return
	}
	last := map[uint64]uint64{}
	r.eachMapping(root, func(chunk, value uint64) { last[chunk] = value })
	contained := true
	for other := range l.roots {
		r.eachMapping(other, func(chunk, value uint64) {
			now, ok := last[chunk]
			contained = contained && ok && (now == value || mappingTime(now) > mappingTime(value))
		})
	}
	if !contained || r.budget < 0 {
		return
	}
	removed.Root, removed.Err, removed.whole = l.roots[root], nil, l.counted == best.mappings
}

func mappingTime(value uint64) uint64 { return value & (1<<mappingTimeBits - 1) }

// RemovedThinPool is the pool that a removed device was in. What is not certain fails to read: chunks that another device
// has by the superblock, or had at some time, and what is not mapped, if mappings may be lost. With reused all of it is
// read as it is now.
func RemovedThinPool(metadata, data mapping.Volume, chunkSize int64, removed *RemovedThin, reused bool) (*ThinPool, error) {
	if removed.Err != nil {
		return nil, removed.Err
	}
	p := ThinPoolAt(metadata, data, chunkSize, removed.Root)
	if reused {
		return p, nil
	}
	now, err := OpenThinPool(metadata, data, chunkSize)
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, fmt.Errorf("%w: it was never activated", ErrThinPool)
	}
	p.since = &thinSince{now: now, had: removed.had, id: removed.id}
	p.incomplete = !removed.whole
	return p, nil
}
