package assembly

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"lvm2fs/lvm2/metadata"
)

// state is what a segment keeps on disk beside its bytes, such as the superblocks of a RAID or the mappings of a cache.
// The segment was assembled from it.
type state interface {
	// ReadOnlyReason is why the segment cannot be written, as a phrase; "" if it can be.
	ReadOnlyReason() string
	// StartWriting is called before the first write, with all devices beneath claimed. It reads
	// the state again, and fails if others have changed it since the segment was assembled.
	StartWriting() error
	// StopWriting is called after the last write, while the devices are still claimed. It flushes what was written, and
	// leaves the state of a segment that is not in use.
	StopWriting() error
	// needsCheck says whether the kernel gave up writing the state.
	needsCheck() bool
	// inherit takes over what old knows and the disk no longer shows. old is the state of the same segment at an earlier
	// reading of the metadata.
	inherit(old state)
	// usage is how full the segment is.
	usage() Usage
}

// states are those of the segments that have been assembled, and how many open volumes write to them.
//
// mu guards the maps, and is never held while a state is asked anything. The lock of a stateUse is held while its state is
// started or stopped, which waits for devices, so that a second writer waits until it is started; whoever holds it takes
// no other lock.
type states struct {
	mu        sync.Mutex
	bySegment map[*metadata.Segment]*stateUse
	byState   map[state]*stateUse
}

// stateUse is a state, and how many write to it.
type stateUse struct {
	state
	mu      sync.Mutex
	writers int
}

func (s *states) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bySegment, s.byState = map[*metadata.Segment]*stateUse{}, map[state]*stateUse{}
}

func (s *states) add(seg *metadata.Segment, st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bySegment[seg] = s.use(st)
}

// use is for callers that hold s.mu.
func (s *states) use(st state) *stateUse {
	if s.byState[st] == nil {
		s.byState[st] = &stateUse{state: st}
	}
	return s.byState[st]
}

// of is nil if the segment has none, or has not been assembled.
func (s *states) of(seg *metadata.Segment) state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if use := s.bySegment[seg]; use != nil {
		return use.state
	}
	return nil
}

// written are the states that change when lv is written, the lowest first.
func (s *states) written(lv *metadata.LV) []*stateUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*stateUse
	lv.ThroughWritten(func(seg *metadata.Segment) bool {
		if use := s.bySegment[seg]; use != nil {
			found = append(found, use)
		}
		return false
	})
	slices.Reverse(found)
	return found
}

// Writing stands for an open volume that is written to. It must be stopped.
type Writing struct{ started []*stateUse }

// StartWriting counts one more writer of lv. The devices beneath its family must be claimed.
func (a *Assembly) StartWriting(lv *metadata.LV) (*Writing, error) {
	var all []*stateUse
	for _, written := range a.written(lv) {
		for _, use := range a.states.written(written) {
			if !slices.Contains(all, use) {
				all = append(all, use)
			}
		}
	}
	if origin := lv.FamilyOf(); origin != nil {
		f, err := a.familyUse(origin)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return start(all)
}

func (a *Assembly) familyUse(origin *metadata.LV) (*stateUse, error) {
	a.lock()
	defer a.unlock()
	f, err := a.family(origin)
	if err != nil {
		return nil, err
	}
	a.states.mu.Lock()
	defer a.states.mu.Unlock()
	return a.states.use(f), nil
}

// start counts one more writer of each state, the lowest first.
func start(all []*stateUse) (*Writing, error) {
	w := &Writing{}
	for _, use := range all {
		if err := use.start(); err != nil {
			return nil, errors.Join(err, w.Stop())
		}
		w.started = append(w.started, use)
	}
	return w, nil
}

// Stop counts one writer less. A nil Writing, and one that was stopped, has nothing to stop.
func (w *Writing) Stop() error {
	if w == nil {
		return nil
	}
	var errs []error
	for _, use := range slices.Backward(w.started) {
		errs = append(errs, use.stop())
	}
	w.started = nil
	return errors.Join(errs...)
}

func (u *stateUse) start() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.writers == 0 {
		if err := u.StartWriting(); err != nil {
			if Damaged(err) {
				return err
			}
			return fmt.Errorf("%w: %w: reload", ErrStale, err)
		}
	}
	u.writers++
	return nil
}

func (u *stateUse) stop() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.writers--; u.writers > 0 {
		return nil
	}
	return u.StopWriting()
}

// Inherit takes over what the states beneath old know and the disk no longer shows: that a cache was clean before we
// wrote. old is the same LV of an earlier reading of the metadata. What has changed on disk since is not inherited. Call
// it before lv is used, while nobody writes to old.
func (a *Assembly) Inherit(lv *metadata.LV, from *Assembly, old *metadata.LV) {
	type place struct {
		lv     metadata.UUID
		extent uint64
	}
	at := func(seg *metadata.Segment) place { return place{seg.LV.UUID, seg.StartExtent} }
	was := map[place]state{}
	old.Through(func(seg *metadata.Segment) bool {
		if st := from.states.of(seg); st != nil {
			was[at(seg)] = st
		}
		return false
	})
	if len(was) == 0 {
		return
	}
	_, _ = a.Contents(lv) // so that it finds the states
	lv.Through(func(seg *metadata.Segment) bool {
		if st, before := a.states.of(seg), was[at(seg)]; st != nil && before != nil {
			st.inherit(before)
		}
		return false
	})
}

// ReadOnlyReason is why its segments keep the LV from being written as safely as the kernel writes it, as a phrase; "" if
// they do not. own says whether the reason is about this LV, and not about all segments of a type.
func (a *Assembly) ReadOnlyReason(lv *metadata.LV) (reason string, own bool) {
	if _, err := a.Contents(lv); err != nil { // so that it finds the states
		return "it cannot be read", true
	}
	if reason := a.readOnlyInFamily(lv); reason != "" {
		return reason, true
	}
	for _, written := range a.written(lv) {
		written.ThroughWritten(func(seg *metadata.Segment) bool {
			reason, own = a.readOnlyReason(seg)
			if reason == "" && seg.LV != written && len(seg.LV.Snapshots()) > 0 {
				reason, own = "it lies on the origin of a snapshot", true
			}
			return reason != ""
		})
		if reason != "" && written != lv {
			reason = fmt.Sprintf("the COW store of its snapshot %s: %s", written.Name, reason)
		}
		if reason != "" {
			break
		}
	}
	return reason, own
}

func (a *Assembly) readOnlyReason(seg *metadata.Segment) (reason string, own bool) {
	switch seg.Mapping.(type) {
	case *metadata.Striped, *metadata.Error, *metadata.CachePool, *metadata.Integrity: // the cache speaks for its pool, the RAID for its legs
		return "", false
	}
	if m, ok := seg.Mapping.(*metadata.Thin); ok { // the pool speaks for itself
		return a.thinReadOnly(seg.LV, m), true
	}
	if st := a.states.of(seg); st != nil {
		return st.ReadOnlyReason(), true
	}
	switch seg.Mapping.(type) {
	case *metadata.Cache, *metadata.Writecache:
		return "its cache is not used", true
	}
	return "writing to segments of type " + seg.Type + " is unsupported", false
}
