package overlay

import (
	"fmt"
	"maps"
	"slices"
)

// Sync brings what was written to stable storage: first the blocks, and only then the map that says where they are.
//
// If the map cannot be written, nothing is lost: that is tried again before anything else is changed. If a flush fails, the
// system may have dropped what it could not write. Then what was not flushed cannot be read any more, and nothing can be
// changed. What was on stable storage before stays.
func (o *Overlay) Sync() error {
	if !o.writing {
		return nil
	}
	o.commits.Lock()
	defer o.commits.Unlock()
	if failed := o.failed.Load(); failed != nil {
		return *failed
	}
	if o.unflushed.Load() {
		if err := o.flush(); err != nil {
			return err
		}
		o.unflushed.Store(false)
	}
	// Nobody changes the map while commits is held for writing.
	changed := slices.Sorted(maps.Keys(o.changed))
	if len(changed) == 0 {
		return nil
	}
	for _, index := range changed {
		if err := o.put(o.changed[index].now.encode(o.head.id, index), o.sector(index)); err != nil {
			o.unsettled = err
			return err
		}
	}
	if err := o.flush(); err != nil {
		return err
	}
	o.unsettled = nil
	freed := o.settle()
	o.giveBack(freed)
	return nil
}

// flush is called with commits held for writing.
func (o *Overlay) flush() error {
	err := full(o.file.Sync())
	if err != nil {
		err = fmt.Errorf("%s: what was written since the last flush may be lost, and nothing more is written: %w", o.file.Name(), err)
		o.failed.Store(&err)
	}
	return err
}

// settle takes what was changed for what is in the file.
func (o *Overlay) settle() (freed []span) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for index, c := range o.changed {
		o.clean.Put(index, c.now)
	}
	clear(o.changed)
	freed, o.freed = o.freed, nil
	return freed
}

// giveBack makes holes of both slots of blocks that are zeros on stable storage. If that fails, only space is lost.
func (o *Overlay) giveBack(freed []span) {
	for _, s := range freed {
		a, err := o.lookup(s.area)
		if err != nil || a.place == 0 {
			continue
		}
		for b := s.from; b < s.to; {
			end := a.run(b, s.to)
			if a.at(b) == zeroed {
				for _, slot := range []state{inSlot0, inSlot1} {
					_ = o.file.PunchHole(o.slot(a.place, slot, b), int64(end-b)*blockSize)
				}
			}
			b = end
		}
	}
}
