package blockdev

import (
	"fmt"
)

// PunchHole makes n bytes at off read as zeros and gives their space back where it can.
// It fails with errors.ErrUnsupported, having changed nothing, where the system cannot
// do that or does not promise the zeros.
func (d *Device) PunchHole(off, n int64) error {
	d.claim.RLock()
	defer d.claim.RUnlock()
	if err := d.checkWrite(off, n); err != nil {
		return err
	}
	end := off + n
	first, last := roundUp(off, d.hole), roundDown(end, d.hole)
	if first >= last {
		return d.writeZeros(off, end)
	}
	// The hole comes first, because it tells whether holes can be made at all.
	if err := d.punchUnits(first, last-first); err != nil {
		return d.fault(off, fmt.Errorf("%s: punching a hole of %d bytes at byte %d: %w", d.name, n, off, bare(err)))
	}
	if err := d.writeZeros(off, first); err != nil {
		return err
	}
	return d.writeZeros(last, end)
}

func (d *Device) punchUnits(off, n int64) error {
	d.sectors.RLock()
	defer d.sectors.RUnlock()
	return d.w.punchHole(off, n)
}

func (d *Device) writeZeros(off, end int64) error {
	if off == end {
		return nil
	}
	n, err := d.writeSectors(make([]byte, end-off), off)
	if err != nil {
		off += int64(n)
		return d.fault(off, fmt.Errorf("%s: writing %d zeros at byte %d: %w", d.name, end-off, off, bare(err)))
	}
	return nil
}
