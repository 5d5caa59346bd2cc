package overlay

import (
	"fmt"

	"lvm2fs/mapping"
)

// WriteAt writes all of p, which must end within Size, or fails. Then some of it may have been written.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite(v.o.file.Name(), off, int64(len(p)), v.o.size); err != nil {
		return 0, err
	}
	err := v.o.eachArea(off, int64(len(p)), func(e *edit, from, to int64) error {
		return e.write(v.base, p[e.start+from-off:e.start+to-off], from)
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// PunchHole makes n bytes at off read as zeros. Where whole blocks are, that takes no space.
func (v *Volume) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite(v.o.file.Name(), off, n, v.o.size); err != nil {
		return err
	}
	return v.o.eachArea(off, n, func(e *edit, from, to int64) error { return e.punch(v.base, from, to) })
}

// edit is a change of one area under way.
type edit struct {
	o     *Overlay
	index int64
	start int64 // of the area, in bytes from the start of the volume
	was   *area // on stable storage
	now   area

	// What is known of the base while a hole is punched: zeros up to zeroTo, other bytes up to dataTo, in bytes from the start of
	// the volume.
	zeroTo, dataTo int64
}

// eachArea calls do for each area that n bytes at off touch, with the first byte in it and the one behind the last. What
// do has changed counts even if it fails.
func (o *Overlay) eachArea(off, n int64, do func(e *edit, from, to int64) error) error {
	if !o.writing {
		return fmt.Errorf("%s: %w: it was opened for reading", o.file.Name(), mapping.ErrNotWritable)
	}
	for end := off + n; off < end; {
		index := off / areaSize
		start := index * areaSize
		to := min(end-start, areaSize)
		if err := o.changeArea(index, func(e *edit) error { return do(e, off-start, to) }); err != nil {
			return err
		}
		off = start + to
	}
	return nil
}

func (o *Overlay) changeArea(index int64, do func(e *edit) error) error {
	if err := o.admit(); err != nil {
		return err
	}
	defer o.commits.RUnlock()
	lock := &o.areas[index%int64(len(o.areas))]
	lock.Lock()
	defer lock.Unlock()
	was, now, err := o.begin(index)
	if err != nil {
		return err
	}
	e := &edit{o: o, index: index, start: index * areaSize, was: was, now: *now}
	err = do(e)
	o.publish(index, was, &e.now)
	return err
}

// admit returns with commits held for reading, once nothing stands in the way of a change.
func (o *Overlay) admit() error {
	for {
		o.commits.RLock()
		if failed := o.failed.Load(); failed != nil {
			o.commits.RUnlock()
			return *failed
		}
		o.mu.RLock()
		full := len(o.changed) >= maxChanged
		o.mu.RUnlock()
		if o.unsettled == nil && !full {
			return nil
		}
		o.commits.RUnlock()
		if err := o.Sync(); err != nil {
			return err
		}
	}
}

// length of a block in bytes: the last one of the volume may be shorter.
func (e *edit) length(block int) int64 {
	return min(blockSize, e.o.size-e.start-int64(block)*blockSize)
}

// target is the slot for new bytes of a block: the one that it is in, unless that is the one on stable storage.
func (e *edit) target(block int) state {
	if s := e.now.at(block); s.inSlot() && s != e.was.at(block) {
		return s
	}
	return e.was.at(block).other()
}

// whole says whether all of a block lies in [from, to), in bytes from the start of the area.
func (e *edit) whole(block int, from, to int64) bool {
	first := int64(block) * blockSize
	return from <= first && first+e.length(block) <= to
}

// write writes p at from, in bytes from the start of the area.
func (e *edit) write(base mapping.Volume, p []byte, from int64) error {
	if e.now.place == 0 {
		place, err := e.o.newPlace()
		if err != nil {
			return err
		}
		e.now.place = place
	}
	e.o.unflushed.Store(true)
	for to := from + int64(len(p)); from < to; {
		block := int(from / blockSize)
		if !e.whole(block, from, to) {
			n := min(to, int64(block)*blockSize+e.length(block)) - from
			if err := e.writePart(base, block, p[:n], from%blockSize); err != nil {
				return err
			}
			p, from = p[n:], from+n
			continue
		}
		next, slot := block+1, e.target(block)
		n := e.length(block)
		for from+n < to && e.whole(next, from, to) && e.target(next) == slot {
			n += e.length(next)
			next++
		}
		if err := e.o.put(p[:n], e.o.slot(e.now.place, slot, block)); err != nil {
			return err
		}
		for ; block < next; block++ {
			e.now.set(block, slot)
		}
		p, from = p[n:], from+n
	}
	return nil
}

// writePart writes p at off of a block. If the block cannot be written in place, its rest is copied.
func (e *edit) writePart(base mapping.Volume, block int, p []byte, off int64) error {
	slot := e.target(block)
	at := e.o.slot(e.now.place, slot, block)
	if e.now.at(block) == slot {
		return e.o.put(p, at+off)
	}
	whole := make([]byte, e.length(block))
	end := off + int64(len(p))
	for _, rest := range [][2]int64{{0, off}, {end, e.length(block)}} { // without p, which may replace what is lost
		if err := e.read(base, block, whole[rest[0]:rest[1]], rest[0]); err != nil {
			return err
		}
	}
	copy(whole[off:], p)
	if err := e.o.put(whole, at); err != nil {
		return err
	}
	e.now.set(block, slot)
	return nil
}

// read reads what is now at off of a block.
func (e *edit) read(base mapping.Volume, block int, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	r := run{state: e.now.at(block)}
	if r.state.inSlot() {
		r.at = e.o.slot(e.now.place, r.state, block) + off
	}
	v := Volume{e.o, base}
	_, err := v.readRun(p, e.start+int64(block)*blockSize+off, r)
	return err
}

var zeros [blockSize]byte

// punch makes zeros of [from, to), in bytes from the start of the area.
func (e *edit) punch(base mapping.Volume, from, to int64) error {
	for from < to {
		block := int(from / blockSize)
		n := min(to, int64(block)*blockSize+e.length(block)) - from
		switch {
		case e.alreadyZero(base, block):
		case !e.whole(block, from, to):
			if err := e.write(base, zeros[:n], from); err != nil {
				return err
			}
		default:
			if e.now.at(block).inSlot() || e.was.at(block).inSlot() {
				e.o.free(e.index, block)
			}
			e.now.set(block, zeroed)
		}
		from += n
	}
	return nil
}

// alreadyZero says whether a block is known to be zeros: recorded so, or lying nowhere in the base.
func (e *edit) alreadyZero(base mapping.Volume, block int) bool {
	if s := e.now.at(block); s != inBase {
		return s == zeroed
	}
	first := e.start + int64(block)*blockSize
	end := first + e.length(block)
	if first >= max(e.zeroTo, e.dataTo) {
		x, err := base.Map(first, min(areaSize, e.o.size-e.start)-int64(block)*blockSize)
		switch {
		case err != nil:
			e.dataTo = end
		case x.Kind == mapping.Zero:
			e.zeroTo = first + x.Length
		default:
			e.dataTo = first + x.Length
		}
	}
	return end <= e.zeroTo
}

// free remembers that the space of a block can be given back once it is no longer what is on stable storage.
func (o *Overlay) free(index int64, block int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.freed); n > 0 && o.freed[n-1].area == index && o.freed[n-1].to == block {
		o.freed[n-1].to++
		return
	}
	if len(o.freed) < maxFreed {
		o.freed = append(o.freed, span{index, block, block + 1})
	}
}
