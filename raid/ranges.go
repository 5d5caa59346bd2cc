package raid

import (
	"slices"
	"sync"
)

// ranges are the parts of an array that somebody is at work on. The zero value is fit for use.
type ranges struct {
	mu    sync.Mutex
	held  []span
	freed *sync.Cond
}

// lock waits until nobody holds a byte of [start, end), and holds it until unlock is called.
func (r *ranges) lock(start, end int64) (unlock func()) {
	mine := span{start, end}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.freed == nil {
		r.freed = sync.NewCond(&r.mu)
	}
	for slices.ContainsFunc(r.held, func(s span) bool { return s.start < end && start < s.end }) {
		r.freed.Wait()
	}
	r.held = append(r.held, mine)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		i := slices.Index(r.held, mine)
		r.held = slices.Delete(r.held, i, i+1)
		r.freed.Broadcast()
	}
}
