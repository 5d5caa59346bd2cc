package lvm2

import (
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/mapping"
)

// family is an origin with its snapshots, but for one that is being merged. They share one state, which is
// that of the segments of all of them.
type family struct {
	*dm.Snapshots
	members map[*Snapshot]*dm.Snapshot
	unread  map[*Snapshot]error // why the stores of others cannot be read
}

// ReadOnlyReason implements [state]. What speaks against writing is not the same for all: see [LV.readOnlyInFamily].
func (f *family) ReadOnlyReason() string { return "" }

// family is that of an origin. There is one for as long as the metadata are the same: all that is open shares it.
func (a *assembly) family(origin *LV) (*family, error) {
	f := a.families[origin]
	if f == nil {
		v, err := a.volume(origin)
		if err != nil {
			return nil, err
		}
		f = &family{dm.NewSnapshots(v), map[*Snapshot]*dm.Snapshot{}, map[*Snapshot]error{}}
		if told := a.opts.SnapshotLost; told != nil {
			f.GiveUp(func(s *dm.Snapshot, err error) {
				for _, m := range origin.snapshots() {
					if m.COW.Name == s.Name() {
						told(m.COW, err)
					}
				}
			})
		}
		a.families[origin] = f
	}
	for _, m := range origin.snapshots() {
		err, failed := f.unread[m]
		if m.Merging || f.members[m] != nil || failed && !errors.Is(err, dm.ErrDevice) {
			continue
		}
		store, err := a.exceptionStore(m)
		if f.unread[m] = err; err == nil {
			delete(f.unread, m)
			f.members[m] = f.Add(m.COW.Name, store, m.COW.DeviceSize())
		}
	}
	return f, nil
}

// snapshot is what the LV that is the COW store of seg shows to the user.
func (a *assembly) snapshot(seg *Segment) (mapping.Volume, error) {
	m := seg.Mapping.(*Snapshot)
	if m.Merging {
		return nil, fmt.Errorf("%w: it is being merged into %s", ErrNoContents, m.Origin.Name)
	}
	f, err := a.family(m.Origin)
	if err != nil {
		return nil, fmt.Errorf("origin %s: %w", m.Origin.Name, err)
	}
	s := f.members[m]
	if s == nil {
		return nil, f.unread[m]
	}
	if !s.Valid() {
		return nil, fmt.Errorf("%w: it ran out of space, or could not be written", ErrInvalidSnapshot)
	}
	return s, nil
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
