package fusefs

import (
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"lvm2fs/mapping"
)

// failures logs what goes wrong, once for each place: a disk that is dying must not fill another
// one with messages. Nor must it hide what goes wrong elsewhere or in another way, so each source is
// counted on its own.
type failures struct {
	log  *slog.Logger
	mu   sync.Mutex
	seen map[failing]*tally
}

// failing is what fails, and how.
type failing struct {
	device string  // or, where no device has failed,
	file   *lvFile // the LV
	op     string
	errno  syscall.Errno // 0: the error has none
}

// tally is which places of a source were logged.
type tally struct {
	since  time.Time
	places map[int64]struct{}
}

const (
	failureSpan   = 1 << 20 // bytes of a device or an LV that share one message
	maxFailures   = 100     // messages of one source
	failurePeriod = time.Hour
	maxSources    = 1 << 14 // that are remembered
)

// report logs that op at byte off of a file failed.
func (fs *failures) report(f *lvFile, op string, off int64, err error) {
	from, place := origin(f, op, off, err)
	switch fs.count(from, place) {
	case fresh:
		fs.log.Error(op, "lv", f.name(), "offset", off, "err", err)
	case last:
		fs.log.Error("too many failures; the next ones like this are not logged for an hour, or until a reload", "op", op, "lv", f.name(), "err", err)
	case repeated:
	}
}

// origin is the source of an error, and where there.
func origin(f *lvFile, op string, off int64, err error) (from failing, place int64) {
	from = failing{file: f, op: op}
	errors.As(err, &from.errno)
	var fault *mapping.Fault
	switch {
	case errors.As(err, &fault):
		from.device, from.file = fault.Device, nil
		off = fault.Offset
	case errors.Is(err, mapping.ErrMissing):
		return from, -1 // lost ranges are known beforehand, and can be long
	}
	return from, off / failureSpan
}

// novelty says what to log of a failure.
type novelty int

const (
	fresh    novelty = iota // all of it
	last                    // that it is the last one
	repeated                // nothing
)

func (fs *failures) count(from failing, place int64) novelty {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	now := time.Now()
	t := fs.seen[from]
	if t == nil || now.Sub(t.since) >= failurePeriod {
		if fs.seen == nil || len(fs.seen) >= maxSources {
			fs.seen = map[failing]*tally{}
		}
		t = &tally{since: now, places: map[int64]struct{}{}}
		fs.seen[from] = t
	}
	if _, known := t.places[place]; known || len(t.places) > maxFailures {
		return repeated
	}
	t.places[place] = struct{}{}
	if len(t.places) > maxFailures {
		return last
	}
	return fresh
}

func (fs *failures) forget() {
	fs.mu.Lock()
	fs.seen = nil
	fs.mu.Unlock()
}
