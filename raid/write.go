package raid

import (
	"errors"
	"fmt"

	"lvm2fs/mapping"
)

// ErrNotWhole is wrapped by the errors of starting to write to an array of which too much is lost or not in sync.
var ErrNotWhole = errors.New("the array is not whole")

var _ mapping.Writable = (*Array)(nil)

// StartWriting lets the array be written, until StopWriting. Legs may be lost, as many as the level can lose. What is
// written does not go to those; whoever starts the array has noted that they are stale before the first Mark of the log
// returns. All others must be rebuilt and [mapping.Writable]. Nothing may be out of sync of an array with parity, unless
// the log is a [Settler] and no leg is lost. Copies behind the first may be out of sync, if whoever starts the array brings
// all of it in sync. Otherwise StartWriting fails with ErrNotWhole. The log may be nil for an array that needs none: a
// RAID0, or such a RAID1.
//
// Writes go to all copies, or to data and parity. Those that overlap, or change one row, are done one
// after the other, so that the legs always end up in agreement. When a write to a leg or to the log fails,
// nobody knows what the legs hold: from then on the array takes no more writes, Sync and StopWriting fail
// with that error, and the regions concerned stay marked.
func (a *Array) StartWriting(log Log) error {
	switch {
	case a.writing.Load() != nil:
		return fmt.Errorf("raid: %w: it is being written", ErrNotWhole)
	case len(a.parts) != 1:
		return fmt.Errorf("raid: %w: it has %d parts", ErrNotWhole, len(a.parts))
	}
	body := a.parts[0].body
	l := body.members()
	lost := 0
	for i := range l.all {
		if l.out(i) {
			lost++
			continue
		}
		if l.all[i].InSync != All {
			return fmt.Errorf("raid: leg %d: %w", i, ErrNotWhole)
		}
		if _, err := l.writable(i); err != nil {
			return fmt.Errorf("raid: leg %d: %w", i, err)
		}
	}
	if lost > 0 && !a.geometry.Survives(l.out) {
		return fmt.Errorf("raid: %w: without %d of %d legs", ErrNotWhole, lost, len(l.all))
	}
	if lost > 0 && log == nil {
		return fmt.Errorf("raid: %w: it cannot be noted that a leg becomes stale", ErrNotWhole)
	}
	_, settles := log.(Settler)
	if r, ok := body.(*rows); ok && r.parity() > 0 && (log == nil || !(settles && lost == 0) && !r.synced.everywhere(a.geometry.LegSize)) {
		return fmt.Errorf("raid: %w: its parity is not known to be true", ErrNotWhole)
	}
	a.written.Store(true)
	a.writing.Store(NewIntent(log, l.sync, quietTime))
	return nil
}

// StopWriting brings to stable storage what was written, and then leaves the log without a mark. Nobody
// may write any more.
func (a *Array) StopWriting() error {
	t := a.writing.Load()
	if t == nil {
		return nil
	}
	err := t.Stop()
	if err == nil { // else readers go on to beware of what failed
		a.writing.Store(nil)
	}
	return err
}

// WriteError is why the array takes no more writes: the error of the first that failed. Nil while it does.
func (a *Array) WriteError() error {
	t := a.writing.Load()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// WriteAt writes all of p, which must end within Size; see [mapping.Writable].
func (a *Array) WriteAt(p []byte, off int64) (int, error) {
	t, err := a.writer(off, int64(len(p)))
	if err != nil || len(p) == 0 {
		return 0, err
	}
	if a.block > 0 {
		return a.writeBlocks(p, off, t)
	}
	return a.parts[0].body.writeAt(p, off, t)
}

// writeBlocks writes p in whole blocks.
func (a *Array) writeBlocks(p []byte, off int64, t *Intent) (int, error) {
	start, end := off/a.block*a.block, min((off+int64(len(p))+a.block-1)/a.block*a.block, a.size)
	defer a.blocks.lock(start, end)()
	head, tail := off-start, end-off-int64(len(p))
	whole := p
	if head > 0 || tail > 0 {
		whole = make([]byte, end-start)
		if _, err := a.ReadAt(whole[:head], start); err != nil {
			return 0, fmt.Errorf("raid: part of a block: %w", err)
		}
		if _, err := a.ReadAt(whole[int64(len(whole))-tail:], end-tail); err != nil {
			return 0, fmt.Errorf("raid: part of a block: %w", err)
		}
		copy(whole[head:], p)
	}
	n, err := a.parts[0].body.writeAt(whole, start, t)
	return int(min(max(int64(n)-head, 0), int64(len(p)))), err
}

// PunchHole makes n bytes at off read as zeros, by giving back the space on all legs, with parity for whole
// rows, or else by writing zeros.
func (a *Array) PunchHole(off, n int64) error {
	t, err := a.writer(off, n)
	if err != nil || n == 0 {
		return err
	}
	if a.block > 0 {
		return writeZeros(off, n, a.WriteAt)
	}
	return a.parts[0].body.punch(off, n, t)
}

// Sync returns once all that was written is on stable storage.
func (a *Array) Sync() error {
	t, err := a.writer(0, 0)
	if err != nil {
		return err
	}
	return t.Flush()
}

func (a *Array) writer(off, n int64) (*Intent, error) {
	t := a.writing.Load()
	switch {
	case t == nil:
		return nil, fmt.Errorf("raid: %w", mapping.ErrNotWritable)
	case off < 0 || n < 0 || off > a.size || n > a.size-off:
		return nil, fmt.Errorf("raid: writing %d bytes at %d: beyond the end, %d", n, off, a.size)
	}
	return t, nil
}

// writeZeros writes n zeros at off.
func writeZeros(off, n int64, write func(p []byte, off int64) (int, error)) error {
	zeros := make([]byte, min(n, joinMax))
	for n > 0 {
		part := zeros[:min(n, int64(len(zeros)))]
		if _, err := write(part, off); err != nil {
			return err
		}
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	return nil
}
