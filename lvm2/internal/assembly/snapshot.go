package assembly

import (
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// family is an origin with its snapshots, except one that is being merged. All their segments share one state.
type family struct {
	*dm.Snapshots
	members map[*metadata.Snapshot]*dm.Snapshot
	unread  map[*metadata.Snapshot]error // why the stores of the other snapshots cannot be read
}

// ReadOnlyReason implements [state]. Reasons differ between members of the family: see readOnlyInFamily.
func (f *family) ReadOnlyReason() string { return "" }

func (f *family) needsCheck() bool { return false }
func (f *family) inherit(state)    {}
func (f *family) usage() Usage     { return Usage{} }

// family is the family of an origin. All that is open shares it, for as long as the metadata stay the same.
func (a *Assembly) family(origin *metadata.LV) (*family, error) {
	f := a.families[origin]
	if f == nil {
		v, err := a.volume(origin)
		if err != nil {
			return nil, err
		}
		f = &family{dm.NewSnapshots(v), map[*metadata.Snapshot]*dm.Snapshot{}, map[*metadata.Snapshot]error{}}
		if told := a.opts.SnapshotLost; told != nil {
			f.GiveUp(func(s *dm.Snapshot, err error) {
				for _, m := range origin.Snapshots() {
					if m.COW.Name == s.Name() {
						told(m.COW, err)
					}
				}
			})
		}
		a.families[origin] = f
	}
	for _, m := range origin.Snapshots() {
		err, failed := f.unread[m]
		if m.Merging || f.members[m] != nil || failed && !errors.Is(err, dm.ErrDevice) {
			continue
		}
		err = a.source.OtherAge(m.COW.SnapshotOf().LV)
		var store *dm.ExceptionStore
		if err == nil {
			store, err = a.exceptionStore(m)
		}
		if f.unread[m] = err; err == nil {
			delete(f.unread, m)
			f.members[m] = f.Add(m.COW.Name, store, m.COW.DeviceSize())
		}
	}
	return f, nil
}

// snapshot is what the LV that is the COW store of seg shows to the user.
func (a *Assembly) snapshot(seg *metadata.Segment) (mapping.Volume, error) {
	m := seg.Mapping.(*metadata.Snapshot)
	if m.Merging {
		return nil, fmt.Errorf("%w: it is being merged into %s", ErrNoContents, m.Origin.Name)
	}
	if err := a.source.OtherAge(seg.LV); err != nil {
		return a.exceptionsAlone(m, err)
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

// exceptionsAlone is a snapshot whose origin was changed without it, as why says. Nothing tells what the origin has
// overwritten since, so only the COW store is read.
func (a *Assembly) exceptionsAlone(m *metadata.Snapshot, why error) (mapping.Volume, error) {
	store, err := a.exceptionStore(m)
	if err != nil {
		return nil, err
	}
	if !store.Valid() {
		return nil, fmt.Errorf("%w: it ran out of space, or could not be written", ErrInvalidSnapshot)
	}
	return dm.Merging(dm.Missing(m.COW.DeviceSize(), fmt.Errorf("what its origin may have overwritten: %w: %w", why, ErrMissing)), store), nil
}

// merging is what an origin shows while a snapshot is being merged into it: the snapshot. An invalid snapshot has nothing
// left to merge.
func (a *Assembly) merging(origin mapping.Volume, m *metadata.Snapshot) (mapping.Volume, error) {
	if err := a.source.OtherAge(m.COW.SnapshotOf().LV); err != nil {
		return nil, err
	}
	store, err := a.exceptionStore(m)
	if err != nil {
		return nil, err
	}
	if !store.Valid() {
		return origin, nil
	}
	return dm.Merging(origin, store), nil
}

func (a *Assembly) exceptionStore(m *metadata.Snapshot) (*dm.ExceptionStore, error) {
	relation, err := soleMapping[*metadata.Snapshot](m.COW.SnapshotOf().LV)
	if err == nil && relation != m {
		err = fmt.Errorf("%w: another snapshot has the same COW store", metadata.ErrMetadata)
	}
	if err != nil {
		return nil, fmt.Errorf("LV %s: %w", m.COW.SnapshotOf().LV.Name, err)
	}
	cow, err := a.volume(m.COW)
	if err != nil {
		return nil, fmt.Errorf("COW store: %w", err)
	}
	if m.ChunkSize <= 0 || m.ChunkSize&(m.ChunkSize-1) != 0 {
		return nil, fmt.Errorf("%w: chunk_size of %d bytes", metadata.ErrMetadata, m.ChunkSize)
	}
	store, err := dm.OpenExceptionStore(cow, m.ChunkSize)
	if err != nil {
		return nil, fmt.Errorf("COW store %s: %w", m.COW.Name, err)
	}
	return store, nil
}

// Invalid says whether lv is a snapshot that overflowed or was given up, and so shows nothing any more. It reads the
// header of the COW store.
func (a *Assembly) Invalid(lv *metadata.LV) bool {
	if lv.SnapshotOf() == nil {
		return false
	}
	v, err := a.Contents(lv)
	if err != nil {
		return errors.Is(err, ErrInvalidSnapshot)
	}
	s, ok := v.(*dm.Snapshot)
	return ok && !s.Valid() // given up since
}

// written are the LVs whose own segments change when lv is written. With an origin these are also the COW stores of its
// valid snapshots.
func (a *Assembly) written(lv *metadata.LV) []*metadata.LV {
	written := []*metadata.LV{lv}
	if lv.FamilyOf() != lv {
		return written
	}
	for _, m := range lv.Snapshots() {
		if !a.knownInvalid(m) {
			written = append(written, m.COW)
		}
	}
	return written
}

// knownInvalid says whether a snapshot is known to be invalid.
func (a *Assembly) knownInvalid(m *metadata.Snapshot) bool {
	a.lock()
	defer a.unlock()
	f, err := a.family(m.Origin)
	return err == nil && f.members[m] != nil && !f.members[m].Valid()
}

// readOnlyInFamily is why lv cannot be written although its segments can be, as a phrase; "" if it can be. lv must have
// been assembled.
func (a *Assembly) readOnlyInFamily(lv *metadata.LV) string {
	origin := lv.FamilyOf()
	switch {
	case origin == nil:
		return ""
	case origin.Merging() && lv == origin:
		return "a snapshot is being merged into it"
	case origin.Merging():
		return "a snapshot is being merged into its origin"
	case origin.SnapshotOf() != nil:
		return "its origin is the COW store of another snapshot"
	}
	a.lock()
	defer a.unlock()
	f, err := a.family(origin)
	if err != nil {
		return "its origin cannot be read"
	}
	for _, m := range origin.Snapshots() {
		switch {
		case len(m.COW.Snapshots()) > 0:
			return fmt.Sprintf("the COW store of snapshot %s is the origin of another", m.COW.Name)
		case lv == origin && f.members[m] == nil:
			return fmt.Sprintf("its snapshot %s cannot be read", m.COW.Name)
		}
	}
	return ""
}
