package overlay

import (
	"errors"
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// run is bytes of the volume that are in one place.
type run struct {
	state  state
	length int64
	at     int64 // in a slot: bytes from the start of the file
}

// runAt is the run at off, at most max bytes of it. An err holds for all its bytes.
func (o *Overlay) runAt(off, max int64) (run, error) {
	index := off / areaSize
	start := index * areaSize
	was, a, err := o.lookupBoth(index)
	if err != nil {
		return run{length: min(max, start+areaSize-off, o.size-off)}, err
	}
	max = min(max, o.size-off)
	if a == untouched {
		next := o.nextPresent(index + 1)
		if next < o.areaCount {
			max = min(max, next*areaSize-off)
		}
		return run{state: inBase, length: max}, nil
	}
	block := int((off - start) / blockSize)
	end := a.run(block, o.blocks(index))
	if failed := o.failed.Load(); failed != nil && was != a {
		if was.at(block) != a.at(block) {
			return run{length: min(max, start+int64(block+1)*blockSize-off)}, *failed
		}
		end = min(end, was.run(block, end))
	}
	r := run{state: a.at(block), length: min(max, start+int64(end)*blockSize-off)}
	if r.state.inSlot() {
		r.at = o.slot(a.place, r.state, block) + off%areaSize%blockSize
	}
	return r, nil
}

// Map answers with the device beneath for what has not changed, and with the file for what has.
func (v *Volume) Map(off, max int64) (mapping.Extent, error) {
	r, err := v.o.runAt(off, max)
	switch {
	case errors.Is(err, mapping.ErrMissing):
		return mapping.Extent{Kind: mapping.Missing, Length: r.length, Err: err}, nil
	case err != nil:
		return mapping.Extent{}, err
	case r.state.inSlot():
		return mapping.Extent{Kind: mapping.Data, Length: r.length, Device: v.o.file, Offset: r.at}, nil
	case r.state == zeroed:
		return mapping.Extent{Kind: mapping.Zero, Length: r.length}, nil
	}
	return v.base.Map(off, r.length)
}

// ReadAt is whole or an error; see [mapping.Volume].
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead(v.o.file.Name(), p, off, v.o.size)
	done := 0
	for done < len(p) {
		r, err := v.o.runAt(off+int64(done), int64(len(p)-done))
		if err != nil {
			return done, err
		}
		n, err := v.readRun(p[done:done+int(r.length)], off+int64(done), r)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, end
}

func (v *Volume) readRun(p []byte, off int64, r run) (n int, err error) {
	switch {
	case r.state == zeroed:
		clear(p)
		return len(p), nil
	case r.state.inSlot():
		n, err = mapping.ReadFull(v.o.file, p, r.at)
	default:
		n, err = mapping.ReadFull(v.base, p, off)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s: byte %d of the volume: %w", v.o.file.Name(), off+int64(n), err)
	}
	return n, err
}
