package lvm2

import (
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/mapping"
)

// snapshot is what the LV that is the COW store of seg shows to the user.
func (a *assembly) snapshot(seg *Segment) (mapping.Volume, error) {
	m := seg.Mapping.(*Snapshot)
	if m.Merging {
		return nil, fmt.Errorf("%w: it is being merged into %s", ErrNoContents, m.Origin.Name)
	}
	origin, err := a.volume(m.Origin)
	if err != nil {
		return nil, fmt.Errorf("origin %s: %w", m.Origin.Name, err)
	}
	store, err := a.exceptionStore(m)
	if err != nil {
		return nil, err
	}
	if !store.Valid() {
		return nil, fmt.Errorf("%w: it ran out of space, or could not be written", ErrInvalidSnapshot)
	}
	return dm.NewSnapshots(origin).Add(m.COW.Name, store, int64(seg.ExtentCount)*a.vg.ExtentSize), nil
}

// merging is what an origin shows while a snapshot is being merged into it: the snapshot.
// An invalid snapshot has nothing to give.
func (a *assembly) merging(origin mapping.Volume, m *Snapshot) (mapping.Volume, error) {
	store, err := a.exceptionStore(m)
	if err != nil {
		return nil, err
	}
	if !store.Valid() {
		return origin, nil
	}
	return dm.Merging(origin, store), nil
}

func (a *assembly) exceptionStore(m *Snapshot) (*dm.ExceptionStore, error) {
	relation, err := soleMapping[*Snapshot](m.COW.cowOf.LV)
	if err == nil && relation != m {
		err = fmt.Errorf("%w: another snapshot has the same COW store", ErrMetadata)
	}
	if err != nil {
		return nil, fmt.Errorf("LV %s: %w", m.COW.cowOf.LV.Name, err)
	}
	cow, err := a.volume(m.COW)
	if err != nil {
		return nil, fmt.Errorf("COW store: %w", err)
	}
	if m.ChunkSize <= 0 || m.ChunkSize&(m.ChunkSize-1) != 0 {
		return nil, fmt.Errorf("%w: chunk_size of %d bytes", ErrMetadata, m.ChunkSize)
	}
	store, err := dm.OpenExceptionStore(cow, m.ChunkSize)
	if err != nil {
		return nil, fmt.Errorf("COW store %s: %w", m.COW.Name, err)
	}
	return store, nil
}
