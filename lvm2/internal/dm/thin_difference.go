package dm

import (
	"errors"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// ErrNotComparable: the volumes are not two thin volumes of one pool.
var ErrNotComparable = errors.New("not two thin volumes of one pool")

// ThinDifferences calls visit for each run of bytes of v that is mapped otherwise than in since, in
// order: to another chunk of the pool, or in one of the two alone. Ranges beyond the end of since
// differ. Two ranges of equal bytes in different chunks count as different, and unprovisioned
// ranges over different external origins too. Where the metadata is damaged the range counts as
// different.
//
// Leaves that both share, as those of snapshots do, are passed over whole.
func ThinDifferences(v, since mapping.Volume, visit func(off, length int64) error) error {
	a, ok := v.(*thin)
	b, okSince := since.(*thin)
	if !ok || !okSince || a.pool != b.pool {
		return ErrNotComparable
	}
	run := differenceRun{visit: visit}
	end := min(a.size, b.size)
	for off := int64(0); off < end; {
		length, same := differ(a, b, off)
		length = min(length, end-off)
		if !same || a.external != b.external {
			if err := run.add(off, length); err != nil {
				return err
			}
		}
		off += length
	}
	if end < a.size {
		if err := run.add(end, a.size-end); err != nil {
			return err
		}
	}
	return run.flush()
}

// differ says whether both volumes map the bytes from off alike, and for how many bytes that holds.
func differ(a, b *thin, off int64) (length int64, same bool) {
	a.pool.tables.RLock()
	defer a.pool.tables.RUnlock()
	chunk := uint64(off / a.pool.chunkSize)
	la, errA := a.Leaf(chunk)
	lb, errB := b.Leaf(chunk)
	until := func(next uint64) int64 {
		if next > uint64(a.size/a.pool.chunkSize) {
			return a.size - off
		}
		return int64(next)*a.pool.chunkSize - off
	}
	if errA != nil || errB != nil {
		return until(chunk + 1), false
	}
	if la.Block() == lb.Block() && la.From == lb.From && la.To == lb.To && la.Len() > 0 {
		return until(addOne(la.To)), true
	}
	at := func(l pdata.Leaf) (data uint64, mapped bool, next uint64) {
		i := l.Search(chunk)
		switch {
		case i == l.Len():
			return 0, false, addOne(l.To)
		case l.Key(i) != chunk:
			return 0, false, l.Key(i)
		}
		return dataChunk(l.Value(i)), true, chunk + 1
	}
	da, mappedA, nextA := at(la)
	db, mappedB, nextB := at(lb)
	return until(min(nextA, nextB)), mappedA == mappedB && da == db
}

// differenceRun joins neighbouring ranges.
type differenceRun struct {
	visit       func(off, length int64) error
	off, length int64
}

func (r *differenceRun) add(off, length int64) error {
	if r.off+r.length == off {
		r.length += length
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	r.off, r.length = off, length
	return nil
}

func (r *differenceRun) flush() error {
	if r.length == 0 {
		return nil
	}
	return r.visit(r.off, r.length)
}
