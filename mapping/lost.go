package mapping

import (
	"fmt"
	"io"
	"sort"
)

// LostRange is a run of bytes of a device that is not to be read.
type LostRange struct {
	Start, End int64
	Err        error // why, wrapping ErrMissing
}

// WithLost is d without ranges of its bytes, which are in order and apart, and missing from it. It cannot be written.
func WithLost(d Device, ranges []LostRange) StackedVolume {
	return &withLost{d, ranges}
}

type withLost struct {
	device Device
	ranges []LostRange
}

func (l *withLost) Name() string      { return l.device.Name() }
func (l *withLost) Size() int64       { return l.device.Size() }
func (l *withLost) Beneath() []Device { return []Device{l.device} }

// next is the range that off lies in, or else the next one; nil if there is none.
func (l *withLost) next(off int64) *LostRange {
	i := sort.Search(len(l.ranges), func(i int) bool { return l.ranges[i].End > off })
	if i == len(l.ranges) {
		return nil
	}
	return &l.ranges[i]
}

func (l *withLost) Map(off, max int64) (Extent, error) {
	if r := l.next(off); r != nil {
		if off >= r.Start {
			return Extent{Kind: Missing, Length: min(max, r.End-off), Err: r.Err}, nil
		}
		max = min(max, r.Start-off)
	}
	if v, ok := l.device.(Volume); ok {
		return v.Map(off, max)
	}
	return Extent{Kind: Data, Length: max, Device: l.device, Offset: off}, nil
}

func (l *withLost) ReadAt(p []byte, off int64) (int, error) {
	p, end := ClipRead(l.Name(), p, off, l.Size())
	if len(p) == 0 {
		return 0, end
	}
	r := l.next(off)
	if r == nil || r.Start >= off+int64(len(p)) {
		n, err := l.device.ReadAt(p, off)
		if err == nil || err == io.EOF && n == len(p) {
			err = end
		}
		return n, err
	}
	n, err := 0, error(nil)
	if good := p[:max(0, r.Start-off)]; len(good) > 0 {
		n, err = l.device.ReadAt(good, off)
	}
	if err == nil || err == io.EOF {
		err = fmt.Errorf("%s: byte %d: %w", l.Name(), off+int64(n), r.Err)
	}
	return n, err
}
