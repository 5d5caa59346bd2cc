package raid

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// hole is a part of a read that the quick way could not fill: a leg failed, or there is
// no leg left to ask but those that have failed before. The patient way asks them again.
type hole struct {
	off int64 // of the array
	buf []byte
}

// fill has all holes read by readAny. Of an error it returns the first bad byte's offset.
func fill(holes []hole, readAny func(p []byte, off int64) (int, error)) (int64, error) {
	slices.SortFunc(holes, func(a, b hole) int { return cmp.Compare(a.off, b.off) })
	for _, h := range holes {
		if n, err := readAny(h.buf, h.off); err != nil {
			return h.off + int64(n), err
		}
	}
	return 0, nil
}

// lossError says why the byte at off cannot be read: why its own leg is lost, and what
// kept another from helping.
func lossError(off int64, why, failure error) error {
	if failure == nil {
		return fmt.Errorf("byte %d: %w", off, why)
	}
	if errors.Is(why, errFault) {
		return fmt.Errorf("byte %d: %w", off, failure)
	}
	return fmt.Errorf("byte %d: %w; %w", off, why, failure)
}
