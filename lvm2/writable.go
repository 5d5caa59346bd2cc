package lvm2

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/mapping"
)

// state is what a segment keeps on disk beside its bytes, and was assembled from: the superblocks of a
// RAID, the mappings of a cache.
type state interface {
	// ReadOnlyReason is why the segment cannot be written, as a phrase; "" if it can be.
	ReadOnlyReason() string
	// StartWriting is called before the first write, with all devices beneath claimed. It reads
	// the state again, and fails if others have changed it since the segment was assembled.
	StartWriting() error
	// StopWriting is called after the last write, while the devices are still claimed. It brings
	// to stable storage what was written, and leaves the state as that of a segment not in use.
	StopWriting() error
}

// states are those of the segments that have been assembled, and how many open volumes write to them.
type states struct {
	mu        sync.Mutex // held also while one is started or stopped
	bySegment map[*Segment]state
	writers   map[state]int
}

func (s *states) add(seg *Segment, st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bySegment == nil {
		s.bySegment = map[*Segment]state{}
	}
	s.bySegment[seg] = st
}

// of is nil if the segment has none, or has not been assembled.
func (s *states) of(seg *Segment) state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bySegment[seg]
}

// beneath are the states of what lv lies on, the lowest first.
func (s *states) beneath(lv *LV) []state {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []state
	lv.through(func(seg *Segment) bool {
		if st := s.bySegment[seg]; st != nil {
			found = append(found, st)
		}
		return false
	})
	slices.Reverse(found)
	return found
}

// startWriting is for one more writer of lv. To be undone with stop.
func (a *assembly) startWriting(lv *LV) (started []state, err error) {
	var all []state
	for _, lv := range lv.written() {
		for _, st := range a.states.beneath(lv) {
			if !slices.Contains(all, st) {
				all = append(all, st)
			}
		}
	}
	if origin := lv.familyOf(); origin != nil {
		a.mu.Lock()
		f, err := a.family(origin)
		a.mu.Unlock()
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return a.states.start(all)
}

// start is for one more writer to what keeps those states, the lowest first.
func (s *states) start(all []state) (started []state, err error) {
	for _, st := range all {
		if err := s.startOne(st); err != nil {
			return nil, errors.Join(err, s.stop(started))
		}
		started = append(started, st)
	}
	return started, nil
}

func (s *states) startOne(st state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers[st] == 0 {
		if err := st.StartWriting(); err != nil {
			if damaged(err) {
				return err
			}
			return fmt.Errorf("%w: %w: reload", ErrStale, err)
		}
	}
	if s.writers == nil {
		s.writers = map[state]int{}
	}
	s.writers[st]++
	return nil
}

// stop is for one writer less.
func (s *states) stop(started []state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, st := range slices.Backward(started) {
		if s.writers[st]--; s.writers[st] == 0 {
			errs = append(errs, st.StopWriting())
		}
	}
	return errors.Join(errs...)
}

// Inherit keeps the knowledge that old's cache was clean before we wrote; the superblock no longer shows it.
// old is the same LV of an earlier reading of the metadata. What has changed on disk since is not inherited.
// It is for before lv is used, and while nobody writes to old.
func (lv *LV) Inherit(old *LV) {
	type place struct {
		lv     UUID
		extent uint64
	}
	written := map[place]*dm.Cached{}
	old.through(func(seg *Segment) bool {
		if c, ok := old.VG.assembly.states.of(seg).(*dm.Cached); ok && c.Written() {
			written[place{seg.LV.UUID, seg.StartExtent}] = c
		}
		return false
	})
	if len(written) == 0 {
		return
	}
	_, _ = lv.VG.assembly.contents(lv) // finds the states
	lv.through(func(seg *Segment) bool {
		c, ok := lv.VG.assembly.states.of(seg).(*dm.Cached)
		if was := written[place{seg.LV.UUID, seg.StartExtent}]; ok && was != nil {
			c.Inherit(was)
		}
		return false
	})
}

// readOnlyReason is why a segment cannot be written as safely as the kernel does it; "" if it can be.
func (a *assembly) readOnlyReason(seg *Segment) (reason string, own bool) {
	switch seg.Mapping.(type) {
	case *Striped, *CachePool: // the cache speaks for its pool
		return "", false
	}
	if seg.Type == "error" {
		return "", false
	}
	if st := a.states.of(seg); st != nil {
		return st.ReadOnlyReason(), true
	}
	switch seg.Mapping.(type) {
	case *Cache, *Writecache:
		return "its cache is not used", true
	}
	return "writing to segments of type " + seg.Type + " is unsupported", false
}

// readOnlyReason is why the LV cannot be written, as a phrase; "" if it can be. own says whether that is about this
// LV and not about its VG, its devices or all segments of a type.
func (lv *LV) readOnlyReason() (reason string, own bool) {
	vg := lv.VG
	switch {
	case vg.Exported():
		return "the VG is exported", false
	case vg.SystemID != "":
		return fmt.Sprintf("the VG belongs to the host with system ID %q", vg.SystemID), false
	case vg.LockType != "" && vg.LockType != "none", slices.Contains(vg.Status, "CLUSTERED"), slices.Contains(vg.Status, "SHARED"):
		return "the VG is shared with other hosts", false
	case vg.ambiguous:
		return "copies of the VG's metadata differ", false
	case vg.Damage() != nil:
		return "the VG's metadata is damaged", false
	case !allowsWriting(vg.Status, vg.Flags):
		return "the VG is read-only", false
	case !allowsWriting(lv.Status, lv.Flags):
		return "the LV is read-only", true
	case !lv.Visible():
		return "the LV is internal", true
	case lv.externalOriginOf():
		return "it is the external origin of a thin LV", true
	case slices.ContainsFunc(lv.family(), func(lv *LV) bool { return lv.hasStatus("PVMOVE") || lv.hasStatus("LOCKED") }):
		return "a pvmove is not finished", true
	}
	if pv := vg.contested; pv != nil {
		return fmt.Sprintf("the metadata give extents of %s to more than one segment", pv), false
	}
	if vg.hasBroken {
		return "the metadata of an LV of the VG make no sense", false
	}
	for _, pv := range vg.PVs {
		switch {
		case pv.broken != nil:
			return fmt.Sprintf("the metadata of PV %s is damaged", pv.Label), false
		case pv.Device == nil || pv.FlaggedMissing():
			return fmt.Sprintf("%s is missing", pv), false
		case pv.Shortfall() > 0:
			return fmt.Sprintf("%s is smaller than its PV", pv), false
		case pv.duplicate:
			return fmt.Sprintf("the PV on %s is on another device too", pv), false
		case pv.damaged:
			return fmt.Sprintf("the metadata on %s is damaged, so there may be newer", pv), false
		case slices.Contains(pv.Status, "EXPORTED"):
			return fmt.Sprintf("%s is exported", pv), false
		}
	}
	for _, pv := range lv.claimed() {
		if _, ok := pv.Device.(mapping.WritableDevice); !ok {
			return fmt.Sprintf("writing to %s is unsupported", pv), false
		}
		if err := mapping.Unwritable(pv.Device); err != nil {
			return err.Error(), false
		}
	}
	if _, err := vg.assembly.contents(lv); err != nil { // also finds the states
		return "it cannot be read", true
	}
	if reason := lv.readOnlyInFamily(); reason != "" {
		return reason, true
	}
	for _, written := range lv.written() {
		written.through(func(seg *Segment) bool {
			reason, own = vg.assembly.readOnlyReason(seg)
			if reason == "" && seg.LV != written && len(seg.LV.snapshots()) > 0 {
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
