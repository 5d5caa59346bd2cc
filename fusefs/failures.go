package fusefs

import (
	"errors"
	"log/slog"
	"sync"

	"lvm2fs/mapping"
)

// failures logs what goes wrong, once for each place: a disk that is dying must not fill another
// one with messages.
type failures struct {
	log  *slog.Logger
	mu   sync.Mutex
	seen map[failure]struct{}
}

type failure struct {
	file  *lvFile
	op    string
	place int64
}

const (
	failureSpan = 1 << 20 // bytes of an LV that share one message
	maxFailures = 100     // messages until the next reload
)

func (fs *failures) report(f *lvFile, op string, off int64, err error) {
	at := failure{f, op, off / failureSpan}
	if errors.Is(err, mapping.ErrMissing) {
		at.place = -1 // lost ranges are known beforehand, and can be long
	}
	fs.mu.Lock()
	_, known := fs.seen[at]
	n := len(fs.seen)
	if !known && n <= maxFailures {
		if fs.seen == nil {
			fs.seen = map[failure]struct{}{}
		}
		fs.seen[at] = struct{}{}
	}
	fs.mu.Unlock()
	switch {
	case known || n > maxFailures:
	case n == maxFailures:
		fs.log.Error("too many failures; the next ones are not logged until a reload")
	default:
		fs.log.Error(op, "lv", f.name(), "offset", off, "err", err)
	}
}

func (fs *failures) forget() {
	fs.mu.Lock()
	fs.seen = nil
	fs.mu.Unlock()
}
