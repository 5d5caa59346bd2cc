package overlay

import (
	"errors"
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// findAreas looks which areas have a sector, and which places they have taken. A damaged sector may have any.
func (o *Overlay) findAreas() error {
	size := o.file.Size()
	o.places = max(0, (size-o.dataStart+placeSize-1)/placeSize)
	taken := map[int64]bool{}
	return o.eachSector(size, func(index int64, a *area, err error) error {
		if err != nil || a != untouched {
			o.present.add(index)
		}
		if err != nil || a.place == 0 {
			return nil
		}
		if end := o.end(a, index); end > size {
			return fmt.Errorf("%s: %w: area %d has bytes up to byte %d, and the file ends at byte %d", o.file.Name(), ErrDamaged, index, end, size)
		}
		if taken[a.place] {
			return fmt.Errorf("%s: map sector of area %d at byte %d: %w: its place %d is that of another area", o.file.Name(), index, o.sector(index), ErrDamaged, a.place)
		}
		taken[a.place] = true
		o.places = max(o.places, a.place) // nothing may have been written to it yet
		return nil
	})
}

// eachSector visits the sectors of the map that are in a file of size bytes, but for holes. An err says that one
// is damaged.
func (o *Overlay) eachSector(size int64, visit func(index int64, a *area, err error) error) error {
	const chunk = 1 << 20
	end := min(size, o.sector(o.areaCount)) / sectorSize * sectorSize
	buf := make([]byte, min(chunk, max(0, end-headerSize)))
	for off := int64(headerSize); off < end; {
		if from, _, err := o.file.NextData(off, end); err == nil {
			off = max(off, from/sectorSize*sectorSize)
		}
		if off >= end {
			return nil
		}
		p := buf[:min(int64(len(buf)), end-off)]
		if n, err := mapping.ReadFull(o.file, p, off); err != nil {
			return fmt.Errorf("%s: map at byte %d: %w", o.file.Name(), off+int64(n), err)
		}
		for ; len(p) > 0; p, off = p[sectorSize:], off+sectorSize {
			index := (off - headerSize) / sectorSize
			a, err := o.decode(p[:sectorSize], o.head.id, index)
			if err == nil && a == untouched {
				continue
			}
			if err := visit(index, a, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookup is an area as it is now.
func (o *Overlay) lookup(index int64) (*area, error) {
	_, now, err := o.lookupBoth(index)
	return now, err
}

// lookupBoth is an area as it is on stable storage, and as it is now.
func (o *Overlay) lookupBoth(index int64) (was, now *area, err error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if c := o.changed[index]; c != nil {
		return c.was, c.now, nil
	}
	a, err := o.stored(index)
	return a, a, err
}

// stored is an area as its sector in the file has it. The caller holds mu. Otherwise a commit could write the sector
// meanwhile, and memory would keep what it was before.
func (o *Overlay) stored(index int64) (*area, error) {
	if !o.present.has(index) {
		return untouched, nil
	}
	return o.clean.Get(index, func() (*area, error) {
		p := make([]byte, sectorSize)
		_, err := mapping.ReadFull(o.file, p, o.sector(index))
		switch {
		case err == nil:
		case errors.Is(err, io.ErrUnexpectedEOF):
			return untouched, nil // the file has not come so far
		default:
			return nil, fmt.Errorf("%s: map sector of area %d at byte %d: %w", o.file.Name(), index, o.sector(index), err)
		}
		a, err := o.decode(p, o.head.id, index)
		if err != nil {
			return nil, o.damagedArea(index, err)
		}
		return a, nil
	})
}

// nextPresent is the first area from index on that may have been touched.
func (o *Overlay) nextPresent(index int64) int64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.present.next(index)
}

// begin gives an area to be changed, as it is on stable storage and as it is now. The caller holds commits and the lock
// of the area. The first time, its sector is written as if nothing had changed: a full disk is noticed before anything is
// changed.
func (o *Overlay) begin(index int64) (was, now *area, err error) {
	was, now, err = o.lookupBoth(index)
	if err != nil || now != untouched {
		return was, now, err
	}
	if err := o.put(untouched.encode(o.head.id, index), o.sector(index)); err != nil {
		return nil, nil, err
	}
	return was, now, nil
}

func (o *Overlay) newPlace() (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.places >= o.maxPlace {
		return 0, fmt.Errorf("%s: %w: %d areas have taken all places of a file", o.file.Name(), ErrFull, o.places)
	}
	o.places++
	return o.places, nil
}

// publish lets all know what an area is now.
func (o *Overlay) publish(index int64, was, now *area) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.present.add(index)
	o.changed[index] = &change{was, now}
}

// Usage is how much of the volume the overlay holds, in bytes: in slots, as zeros, and in areas whose
// sector is damaged.
type Usage struct {
	Written, Zeroed, Damaged int64
}

// Usage counts. What is being written meanwhile may be counted or not.
func (o *Overlay) Usage() (Usage, error) {
	var u Usage
	for index := o.nextPresent(0); index < o.areaCount; index = o.nextPresent(index + 1) {
		a, err := o.lookup(index)
		if errors.Is(err, ErrDamaged) {
			u.Damaged += min(areaSize, o.size-index*areaSize)
			continue
		} else if err != nil {
			return u, err
		}
		for b := 0; b < o.blocks(index); {
			end := a.run(b, o.blocks(index))
			n := min(int64(end)*blockSize, o.size-index*areaSize) - int64(b)*blockSize
			switch s := a.at(b); {
			case s.inSlot():
				u.Written += n
			case s == zeroed:
				u.Zeroed += n
			}
			b = end
		}
	}
	return u, nil
}
