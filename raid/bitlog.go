package raid

import (
	"errors"
	"fmt"
	"sync"

	"lvm2fs/mapping"
)

// BitLog is a [Log] of one bit for each region, kept alike on several volumes: bit i%8 of byte i/8, from
// Offset on.
type BitLog struct {
	Volumes []mapping.Writable
	Legs    []int // that the volumes are of; nil for 0, 1, 2 ...
	Offset  int64
	Region  int64  // bytes
	Bits    []byte // as they are on the volumes; of the log from now on
	// CleanIsOne is for logs in which a bit of 1 stands for a region that is clean.
	CleanIsOne bool
}

var _ Log = (*BitLog)(nil)

// RegionSize is the number of bytes of a region.
func (l *BitLog) RegionSize() int64 { return l.Region }

// Mark implements [Log].
func (l *BitLog) Mark(regions []int64) error {
	if err := l.set(regions, !l.CleanIsOne); err != nil {
		return err
	}
	return l.Sync()
}

// Unmark implements [Log].
func (l *BitLog) Unmark(regions []int64) error { return l.set(regions, l.CleanIsOne) }

// Sync brings the bits to stable storage.
func (l *BitLog) Sync() error {
	return l.Each(func(w mapping.Writable) error { return w.Sync() })
}

// bitGap is the number of bytes between two bits up to which they are written in one go.
const bitGap = 512

func (l *BitLog) set(regions []int64, one bool) error {
	if len(regions) == 0 {
		return nil
	}
	if last := regions[len(regions)-1]; regions[0] < 0 || last/8 >= int64(len(l.Bits)) {
		return fmt.Errorf("raid: no bit for region %d of the log", last)
	}
	for _, i := range regions {
		if one {
			l.Bits[i/8] |= 1 << (i % 8)
		} else {
			l.Bits[i/8] &^= 1 << (i % 8)
		}
	}
	for len(regions) > 0 {
		n := 1
		for n < len(regions) && regions[n]/8-regions[n-1]/8 <= bitGap {
			n++
		}
		from, to := regions[0]/8, regions[n-1]/8+1
		err := l.Each(func(w mapping.Writable) error {
			_, err := w.WriteAt(l.Bits[from:to], l.Offset+from)
			return err
		})
		if err != nil {
			return err
		}
		regions = regions[n:]
	}
	return nil
}

// leg is the number of the leg that volume i is of.
func (l *BitLog) leg(i int) int {
	if i < len(l.Legs) {
		return l.Legs[i]
	}
	return i
}

// Each calls do for all volumes at once: each takes its time to flush.
func (l *BitLog) Each(do func(w mapping.Writable) error) error {
	errs := make([]error, len(l.Volumes))
	var working sync.WaitGroup
	for i, w := range l.Volumes {
		working.Go(func() {
			if err := do(w); err != nil {
				errs[i] = fmt.Errorf("log of leg %d: %w", l.leg(i), err)
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

// PutBlocks changes blocks, one for each volume, and writes them at off. They are not on stable storage before a Sync.
func (l *BitLog) PutBlocks(blocks [][]byte, off int64, change func(b []byte)) error {
	var errs []error
	for i, b := range blocks {
		change(b)
		if _, err := l.Volumes[i].WriteAt(b, off); err != nil {
			errs = append(errs, fmt.Errorf("log of leg %d: %w", l.leg(i), err))
		}
	}
	return errors.Join(errs...)
}
