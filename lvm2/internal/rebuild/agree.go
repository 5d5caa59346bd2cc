package rebuild

import (
	"errors"

	"lvm2fs/lvm2/internal/pdata"
)

// source is what may say where the chunks of a device are: a tree, or a device put together again.
type source interface {
	Leaf(key uint64) (pdata.Leaf, error)
}

// agree finds out where, among the chunks from <= chunk <= to, all sources say the same: the same chunk of the pool,
// or that nothing is mapped. There the runs lead to the leaf that says so, with grade same. Elsewhere they are
// Contradictory.
func agree(sources []source, from, to uint64, same Grade, why string, budget *int) (runs []Run) {
	for key := from; ; {
		end := to
		leaves := make([]pdata.Leaf, len(sources))
		var lost error
		for i, s := range sources {
			*budget--
			leaf, err := s.Leaf(key)
			if err != nil {
				lost = err
				end = min(end, damagedTo(err, key))
				continue
			}
			leaves[i], end = leaf, min(end, leaf.To)
		}
		switch {
		case *budget < 0:
			return add(runs, Run{From: key, To: to, Grade: Lost, Why: "too much is damaged to compare what is left"})
		case lost != nil:
			runs = add(runs, Run{From: key, To: end, Grade: Lost, Why: lost.Error()})
		default:
			runs = compare(runs, leaves, key, end, same, why)
		}
		if end == to {
			return runs
		}
		key = end + 1
	}
}

// damagedTo is the last key that an error speaks of.
func damagedTo(err error, key uint64) uint64 {
	var damage *pdata.Damage
	if errors.As(err, &damage) && damage.To > key {
		return damage.To
	}
	return key
}

// compare adds the runs of what leaves, all of which speak of the chunks from <= chunk <= to, say.
func compare(runs []Run, leaves []pdata.Leaf, from, to uint64, same Grade, why string) []Run {
	first := leaves[0]
	agreed := func(from, to uint64) {
		runs = add(runs, Run{From: from, To: to, Grade: same, Root: first.Block(), Why: why})
	}
	alike := true
	for _, l := range leaves {
		alike = alike && l.Block() == first.Block() && l.Block() != 0
	}
	if alike {
		agreed(from, to)
		return runs
	}
	for key := from; ; key++ {
		next, found := nextKey(leaves, key)
		if !found || next > to {
			agreed(key, to)
			return runs
		}
		if next > key {
			agreed(key, next-1)
		}
		if sameAt(leaves, next) {
			agreed(next, next)
		} else {
			runs = add(runs, Run{From: next, To: next, Grade: Contradictory, Why: "the nodes that may have them say different things"})
		}
		if key = next; key == to {
			return runs
		}
	}
}

// nextKey is the first key from key on that any leaf has.
func nextKey(leaves []pdata.Leaf, key uint64) (next uint64, found bool) {
	for _, l := range leaves {
		if i := l.Search(key); i < l.Len() && (!found || l.Key(i) < next) {
			next, found = l.Key(i), true
		}
	}
	return next, found
}

// sameAt says whether all leaves have the key, and the same chunk of the pool for it.
func sameAt(leaves []pdata.Leaf, key uint64) bool {
	chunk := func(l pdata.Leaf) (uint64, bool) {
		i := l.Search(key)
		if i == l.Len() || l.Key(i) != key {
			return 0, false
		}
		return place(l.Value(i)), true
	}
	want, _ := chunk(leaves[0])
	for _, l := range leaves {
		if got, found := chunk(l); !found || got != want {
			return false
		}
	}
	return true
}

// add appends a run, to the last one if they are of one kind.
func add(runs []Run, r Run) []Run {
	if n := len(runs); n > 0 {
		if last := &runs[n-1]; last.To+1 == r.From && last.Grade == r.Grade && last.Root == r.Root && last.Why == r.Why {
			last.To = r.To
			return runs
		}
	}
	return append(runs, r)
}
