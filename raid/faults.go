package raid

import (
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"lvm2fs/mapping"
)

// faults remembers which ranges of which legs could not be read, so that all readers go
// the same way round them and each is reported once.
type faults struct {
	report func(leg int, off, n int64, err error)
	exact  bool // remember what failed and no byte more

	any atomic.Bool
	mu  sync.Mutex
	bad [][]span // by leg, sorted, apart from each other
}

// span is bytes of a leg, from its start.
type span struct{ start, end int64 }

const (
	faultBlock = 4096
	faultMax   = 1 << 10 // spans of a leg; a leg with more is given up
)

func newFaults(legs int, report func(leg int, off, n int64, err error)) *faults {
	return &faults{report: report, bad: make([][]span, legs)}
}

// again is for asking once more, sector by sector, where too many legs have faults: some
// of what is taken for bad may be good.
func (f *faults) again() *faults { return &faults{exact: true, bad: make([][]span, len(f.bad))} }

// find says whether leg is bad at off, and for how many of max bytes that holds.
func (f *faults) find(leg int, off, max int64) (bool, int64) {
	if !f.any.Load() {
		return false, max
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	spans := f.bad[leg]
	i := sort.Search(len(spans), func(i int) bool { return spans[i].end > off })
	switch {
	case i == len(spans):
		return false, max
	case spans[i].start <= off:
		return true, min(max, spans[i].end-off)
	}
	return false, min(max, spans[i].start-off)
}

// add remembers that leg failed to read at off. Where a failure follows soon upon another
// it takes in as much as that one again, so that a dead device is not asked for each of
// its blocks.
func (f *faults) add(leg int, off int64, err error) {
	n := f.insert(leg, off)
	if n > 0 && f.report != nil && !errors.Is(err, mapping.ErrMissing) {
		f.report(leg, off, n, err)
	}
}

// insert returns the number of bytes from off on that were not known to be bad.
func (f *faults) insert(leg int, off int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	spans := f.bad[leg]
	size := int64(faultBlock)
	if f.exact {
		size = sector
	}
	block := off / size * size
	added := span{block, block + size}

	i := sort.Search(len(spans), func(i int) bool { return spans[i].start > block })
	if i > 0 {
		before := spans[i-1]
		n := before.end - before.start
		if before.end > off {
			return 0 // another reader was first
		}
		switch {
		case f.exact && block == before.end:
			added.start = before.start
			i--
		case !f.exact && block-before.end <= n:
			added = span{before.start, block + max(faultBlock, min(n, 1<<40))}
			i--
		}
	}
	j := i
	for j < len(spans) && spans[j].start <= added.end {
		added.end = max(added.end, spans[j].end)
		j++
	}
	spans = slices.Replace(spans, i, j, added)
	if len(spans) > faultMax && !f.exact {
		spans = []span{{0, endless}}
	}
	f.bad[leg] = spans
	f.any.Store(true)
	return added.end - off
}
