package raid

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"lvm2fs/mapping"
)

// scatter writes all pieces, as many as it can if some fail. Pieces that lie next to each other on a leg are
// written in one go.
func (l legs) scatter(pieces []piece) error {
	byLeg := make([][]piece, len(l.all))
	total := 0
	for _, p := range pieces {
		byLeg[p.leg] = append(byLeg[p.leg], p)
		total += len(p.buf)
	}
	errs := make([]error, len(byLeg))
	var writing sync.WaitGroup
	for leg, pieces := range byLeg {
		switch {
		case pieces == nil:
		case total < scatterTogether:
			errs[leg] = l.scatterOn(leg, pieces)
		default:
			writing.Go(func() { errs[leg] = l.scatterOn(leg, pieces) })
		}
	}
	writing.Wait()
	return errors.Join(errs...)
}

// scatterTogether is the number of bytes from which it is worth to write to all legs at once.
const scatterTogether = 128 << 10

func (l legs) scatterOn(leg int, pieces []piece) error {
	slices.SortFunc(pieces, func(a, b piece) int { return int(min(max(a.x-b.x, -1), 1)) })
	var errs []error
	for len(pieces) > 0 {
		n, bytes := 1, len(pieces[0].buf)
		for n < len(pieces) && pieces[n].x == pieces[0].x+int64(bytes) && len(pieces[n].buf) < joinBelow && len(pieces[n-1].buf) < joinBelow && bytes+len(pieces[n].buf) <= joinMax {
			bytes += len(pieces[n].buf)
			n++
		}
		errs = append(errs, l.write(leg, pieces[:n], bytes))
		pieces = pieces[n:]
	}
	return errors.Join(errs...)
}

// write writes pieces that lie next to each other on a leg.
func (l legs) write(leg int, pieces []piece, bytes int) error {
	p := pieces[0].buf
	if len(pieces) > 1 {
		buf := scratch(bytes)
		defer release(buf)
		p = (*buf)[:0]
		for i := range pieces {
			p = append(p, pieces[i].buf...)
		}
	}
	w, err := l.writable(leg)
	if err == nil {
		_, err = w.WriteAt(p, l.base+pieces[0].x)
	}
	if err != nil {
		return fmt.Errorf("leg %d: %w", leg, err)
	}
	return nil
}

// clear makes n bytes at x of a leg read as zeros, one way or the other.
func (l legs) clear(leg int, x, n int64) error {
	w, err := l.writable(leg)
	if err == nil {
		err = w.PunchHole(l.base+x, n)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		err = writeZeros(l.base+x, n, w.WriteAt)
	}
	if err != nil {
		return fmt.Errorf("leg %d: %w", leg, err)
	}
	return nil
}

func (l legs) writable(leg int) (mapping.Writable, error) {
	w, ok := l.all[leg].Volume.(mapping.Writable)
	if !ok {
		return nil, mapping.ErrNotWritable
	}
	return w, nil
}

// sync brings all legs that are written to stable storage.
func (l legs) sync() error {
	errs := make([]error, len(l.all))
	var syncing sync.WaitGroup
	for i := range l.all {
		if l.out(i) {
			continue
		}
		syncing.Go(func() {
			w, err := l.writable(i)
			if err == nil {
				err = w.Sync()
			}
			if err != nil {
				errs[i] = fmt.Errorf("leg %d: %w", i, err)
			}
		})
	}
	syncing.Wait()
	return errors.Join(errs...)
}
