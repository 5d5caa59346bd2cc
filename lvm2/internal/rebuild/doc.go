// Package rebuild puts the mappings of a thin pool together again where nodes of its trees are damaged, from the nodes
// that are whole. It decides only what the metadata decide, and says of the rest why it does not.
//
// A leaf does not say whose it is: only the way from the top does. Where that is damaged, this is what still tells:
//
//	counts     the metadata space map says how many references lead to each block. A whole node to which more lead than
//	           are seen has parents among the damaged nodes; one whose count is 0 is of the past
//	place      the keys of a node, and its height, fit some of the damaged places and not others
//	details    the device details say how many mappings a device has
//	agreement  where every node that may be the one says the same of a chunk, it does not matter which one it is
//
// (docs/format/06-thin.md, section 15)
package rebuild

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"lvm2fs/lvm2/internal/pdata"
)

// Grade says how much there is to be said for a run of chunks.
type Grade uint8

// The grades of runs.
const (
	Certain       Grade = iota // the metadata that are left leave no other possibility
	Likely                     // all that is left speaks for it, but something else is possible
	Contradictory              // different things are possible
	Lost                       // nothing that may be it is left
)

func (g Grade) String() string {
	return [...]string{"certain", "likely", "contradictory", "lost"}[g]
}

// Run is what became of a run of chunks of a device to which no whole way leads.
type Run struct {
	From, To uint64 // chunks, From <= chunk <= To
	Grade    Grade
	Root     uint64 // block of the tree or leaf that says where they are; 0 if nothing is mapped there. Only of what is Certain or Likely
	Why      string
}

// Device is a thin device as it was put together again.
type Device struct {
	ID      uint64
	Root    uint64 // block of its tree; 0 if it is not known
	Mapped  uint64 // mappings by its details, if Counted
	Counted bool
	Reached uint64 // mappings to which a whole way leads
	Runs    []Run  // in order; what is in none of them is read from the tree at Root

	Found [2]uint64 // mappings in runs, by grade: Certain and Likely

	blocks *pdata.Blocks
}

// Reader reads a device.
type Reader struct {
	*Device
	Likely bool // read what is likely too
}

// Leaf finds what is known of a chunk. It fails with *pdata.Damage.
func (r Reader) Leaf(chunk uint64) (pdata.Leaf, error) {
	i, _ := slices.BinarySearchFunc(r.Runs, chunk, func(run Run, chunk uint64) int {
		if run.To < chunk {
			return -1
		}
		return 1
	})
	from, to := uint64(0), uint64(math.MaxUint64)
	if i < len(r.Runs) {
		if run := r.Runs[i]; run.From <= chunk {
			return r.run(run, chunk)
		}
		to = r.Runs[i].From - 1
	}
	if i > 0 {
		from = r.Runs[i-1].To + 1
	}
	return r.part(r.Root, from, to, chunk)
}

func (r Reader) run(run Run, chunk uint64) (pdata.Leaf, error) {
	switch {
	case run.Grade == Certain, run.Grade == Likely && r.Likely:
	case run.Grade == Likely:
		return pdata.Leaf{}, &pdata.Damage{From: run.From, To: run.To, Err: fmt.Errorf("%w: device %d, chunks %d to %d: what is left is only likely: %s", pdata.ErrDamaged, r.ID, run.From, run.To, run.Why)}
	default:
		return pdata.Leaf{}, &pdata.Damage{From: run.From, To: run.To, Err: fmt.Errorf("%w: device %d, chunks %d to %d: %v: %s", pdata.ErrDamaged, r.ID, run.From, run.To, run.Grade, run.Why)}
	}
	if run.Root == 0 {
		return pdata.NoKeys(run.From, run.To, mappingSize), nil
	}
	return r.part(run.Root, run.From, run.To, chunk)
}

// part looks into a tree that is good for the chunks from <= chunk <= to only.
func (d *Device) part(root, from, to, chunk uint64) (pdata.Leaf, error) {
	leaf, err := pdata.Tree{Blocks: d.blocks, Root: root, ValueSize: mappingSize}.Leaf(chunk)
	var damage *pdata.Damage
	if errors.As(err, &damage) {
		return leaf, &pdata.Damage{From: max(damage.From, from), To: min(damage.To, to), Err: damage.Err}
	}
	if err != nil {
		return leaf, err
	}
	return leaf.Within(from, to), nil
}

// place is the chunk of the pool that a mapping leads to.
func place(value []byte) uint64 { return binary.LittleEndian.Uint64(value) >> mappingTimeBits }
