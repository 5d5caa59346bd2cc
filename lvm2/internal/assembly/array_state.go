package assembly

import (
	"fmt"
	"sync/atomic"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/raid"
)

// arrayState is what is wrong with a segment that is a RAID or mirror.
type arrayState struct {
	degraded bool        // a leg is lost, stale or not yet built
	failing  atomic.Bool // a leg could not be read in parts
	array    *raid.Array
}

// array assembles a RAID or mirror, and keeps the state of its legs for its LV's health.
func (a *Assembly) array(seg *metadata.Segment, c raid.Config) (*raid.Array, error) {
	lv := seg.LV
	state := &arrayState{degraded: a.source.Partial(lv)}
	for _, leg := range c.Legs {
		if leg.Volume == nil || leg.InSync != raid.All {
			state.degraded = true
		}
	}
	c.OnError = func(leg int, off, n int64, err error) {
		state.failing.Store(true)
		if a.opts.LegFailed != nil {
			a.tell(func() { a.opts.LegFailed(lv, leg, off, n, err) })
		}
	}
	v, err := raid.New(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrMetadata, err)
	}
	state.array = v
	a.arrays[seg] = state
	return v, nil
}

// ArrayHealth is the words for the health of an LV that lies on RAIDs and mirrors.
func (a *Assembly) ArrayHealth(lv *metadata.LV) []string {
	a.lock()
	defer a.unlock()
	degraded, failing := false, false
	lv.Through(func(seg *metadata.Segment) bool {
		if state := a.arrays[seg]; state != nil {
			degraded = degraded || state.degraded
			failing = failing || state.failing.Load() || state.array.WriteError() != nil
		}
		return false
	})
	var words []string
	if degraded {
		words = append(words, "degraded")
	}
	if failing {
		words = append(words, "failing")
	}
	return words
}
