package raid

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Log is where it is noted on stable storage which regions of an array may be written to just now. Who
// starts the array after a crash brings those in sync. Region i is the bytes from i times RegionSize on,
// counted as [Config.InSync] is. One method is called at a time.
type Log interface {
	RegionSize() int64
	// Mark returns once it is on stable storage that regions, which are sorted, are dirty.
	Mark(regions []int64) error
	// Unmark notes that regions are clean. That need not be on stable storage.
	Unmark(regions []int64) error
}

// Intent is what is known of the writes to an array, or to anything else with a Log: which regions they may be under way
// in, and whether one has failed, after which it takes no more. It is safe for concurrent use.
type Intent struct {
	log   Log          // nil: nobody asks
	sync  func() error // brings all that was written to stable storage
	quiet time.Duration

	mu      sync.Mutex
	changed *sync.Cond
	busy    bool // the log is being written
	regions map[int64]*region
	waiting []int64 // of regions: those that are not marked yet
	failed  error
	timer   *time.Timer // runs while there are regions
	tidying bool
	stopped bool
}

// region is one that is marked, or about to be.
type region struct {
	marked  bool
	writers int
	last    time.Time // when one went
}

// quietTime is for how long a region must not have been written to before it is unmarked.
const quietTime = 5 * time.Second

// NewIntent is an Intent by which regions are marked in log, which nil spares, and unmarked once nobody has written to
// them for as long as quiet and sync has returned, which brings all that was written to stable storage.
func NewIntent(log Log, sync_ func() error, quiet time.Duration) *Intent {
	t := &Intent{log: log, sync: sync_, quiet: quiet, regions: map[int64]*region{}}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// each calls f with the regions of [start, end).
func (t *Intent) each(start, end int64, f func(i int64)) {
	if t.log == nil {
		return
	}
	size := t.log.RegionSize()
	for i := start / size; i <= (end-1)/size; i++ {
		f(i)
	}
}

// Enter returns once the regions of [start, end), which is not empty, are marked. The caller may write to
// them until it calls Leave. It fails if any write has failed.
func (t *Intent) Enter(start, end int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return t.refusal()
	}
	waiting := false
	t.each(start, end, func(i int64) {
		r := t.regions[i]
		if r == nil {
			r = &region{}
			t.regions[i] = r
			t.waiting = append(t.waiting, i)
		}
		r.writers++
		waiting = waiting || !r.marked
	})
	for waiting && t.failed == nil {
		if t.busy {
			t.changed.Wait() // who writes the log may have taken ours along
		} else {
			t.mark()
		}
		waiting = false
		t.each(start, end, func(i int64) { waiting = waiting || !t.regions[i].marked })
	}
	if t.failed != nil {
		t.gone(start, end)
		return t.refusal()
	}
	return nil
}

func (t *Intent) refusal() error {
	return fmt.Errorf("raid: no more writes after one that failed: %w", t.failed)
}

// mark marks all regions that wait for it. The caller holds mu, which is given up meanwhile.
func (t *Intent) mark() {
	batch := t.waiting
	t.waiting = nil
	slices.Sort(batch)
	if err := t.logging(func() error { return t.log.Mark(batch) }); err != nil {
		t.fail(err)
		return
	}
	for _, i := range batch {
		t.regions[i].marked = true // a region with writers stays
	}
	if t.timer == nil && !t.stopped {
		t.timer = time.AfterFunc(t.quiet, t.tidy)
	}
}

// logging does what changes the log, while nobody else does and without holding mu.
func (t *Intent) logging(do func() error) error {
	t.busy = true
	t.mu.Unlock()
	err := do()
	t.mu.Lock()
	t.busy = false
	t.changed.Broadcast()
	return err
}

// Leave is for a writer that is done, with err if the legs may differ now.
func (t *Intent) Leave(start, end int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(err)
	t.gone(start, end)
}

func (t *Intent) gone(start, end int64) {
	now := time.Now()
	t.each(start, end, func(i int64) {
		r := t.regions[i]
		r.writers--
		r.last = now
	})
}

// fail notes the first error. The caller holds mu.
func (t *Intent) fail(err error) {
	if t.failed == nil {
		t.failed = err
	}
}

// tidy unmarks the regions that have been quiet.
func (t *Intent) tidy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	if t.stopped {
		return
	}
	t.tidying = true
	t.unmark(time.Now().Add(-t.quiet))
	t.tidying = false
	t.changed.Broadcast()
	if t.failed == nil && !t.stopped && t.timer == nil && len(t.regions) > 0 {
		t.timer = time.AfterFunc(t.quiet, t.tidy)
	}
}

// unmark syncs, and unmarks the regions that nobody has written to since then. The caller holds mu, which
// is given up meanwhile.
func (t *Intent) unmark(since time.Time) {
	quiet := map[int64]time.Time{}
	for i, r := range t.regions {
		if r.marked && r.writers == 0 && !r.last.After(since) {
			quiet[i] = r.last
		}
	}
	if t.failed != nil || len(quiet) == 0 {
		return
	}
	t.mu.Unlock()
	err := t.sync()
	t.mu.Lock()
	if err != nil {
		t.fail(err)
	}
	for t.busy {
		t.changed.Wait()
	}
	if t.failed != nil {
		return
	}
	var batch []int64
	for i, last := range quiet {
		if r := t.regions[i]; r != nil && r.marked && r.writers == 0 && r.last.Equal(last) {
			batch = append(batch, i)
			delete(t.regions, i) // who comes now waits to mark it again
		}
	}
	slices.Sort(batch)
	if len(batch) == 0 {
		return
	}
	if err := t.logging(func() error { return t.log.Unmark(batch) }); err != nil {
		t.fail(err)
	}
}

// Flush brings to stable storage what was written.
func (t *Intent) Flush() error {
	t.mu.Lock()
	failed := t.failed
	t.mu.Unlock()
	err := t.sync()
	if failed != nil {
		return failed
	}
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.fail(err)
	}
	return err
}

// Stop syncs, and unmarks all regions unless a write has failed. There are no writers any more.
func (t *Intent) Stop() error {
	if err := t.Flush(); err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.end()
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end()
	t.unmark(time.Now())
	if t.failed == nil && len(t.regions) > 0 {
		t.failed = fmt.Errorf("raid: still being written, in %d regions", len(t.regions))
	}
	return t.failed
}

// end stops the tidying.
func (t *Intent) end() {
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
	for t.tidying {
		t.changed.Wait()
	}
}

// dirty says whether off is where copies may differ, because a write to its region failed, and for how
// many of max bytes that holds.
func (t *Intent) dirty(off, max int64) (bool, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		return false, max
	}
	if t.log == nil {
		return true, max
	}
	size := t.log.RegionSize()
	r := t.regions[off/size]
	return r != nil, min(max, size-off%size)
}
