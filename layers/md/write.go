package md

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// Errors of writing.
var (
	// ErrChanged: the members are not what they were when the array was assembled.
	ErrChanged = fmt.Errorf("the array was %w, by others", mapping.ErrChanged)
	// ErrInUse: a member is being written as that of another array.
	ErrInUse = fmt.Errorf("as a member of another array it is %w", mapping.ErrInUse)
	// ErrNotClaimed: a write without a claim.
	ErrNotClaimed = errors.New("not claimed for writing")
)

// writing is how an array is written: only while it, and so its members, are claimed. Superblocks and the like say
// more than the bytes, such as that the array is dirty. They are written with the first byte and after the last.
type writing struct {
	reason error            // why the array cannot be written; nil if it can be
	to     mapping.Writable // the array's bytes
	noted  *raid.Writing    // nil for an array whose superblocks say nothing of writing

	open atomic.Bool // there are claims

	// mu is held by Claim and Release, and guards what follows.
	mu      sync.Mutex
	claims  int
	claimed []mapping.WritableDevice
	members []Member // in use, with their superblocks as they are while nobody writes
	settled bool     // see Settled
}

// Unwritable is why the array cannot be written, nil if nothing is known against it.
func (a *Array) Unwritable() error {
	if a.writing.reason != nil {
		return fmt.Errorf("%s: %w", a.name, a.writing.reason)
	}
	for _, d := range a.devices {
		if err := mapping.Unwritable(d); err != nil {
			return err
		}
	}
	return nil
}

// Stateful says whether a write to the array changes more than one place for each byte. Then nobody may go round the
// array.
func (a *Array) Stateful() bool {
	level := a.Level()
	return level != Linear && level != Level(raid.RAID0)
}

// Claimed says whether the array is being written. Its superblocks may say anything then.
func (a *Array) Claimed() bool { return a.writing.open.Load() }

// Members are those in use, with their superblocks as they were when nobody wrote.
func (a *Array) Members() []Member {
	w := &a.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.members)
}

// Settled says whether the array is what it is by its members' superblocks alone, and not by a bitmap or
// lists of bad blocks that may change without them.
func (a *Array) Settled() bool {
	w := &a.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settled
}

// Is says whether other, which nobody has used, is the same array in the same state. The members must be the same,
// and their superblocks unchanged but by what was written to the array. Only of settled arrays can this be said.
func (a *Array) Is(other *Array) bool {
	return a.Settled() && other.Settled() && slices.EqualFunc(a.Members(), other.Members(), func(a, b Member) bool {
		return a.Device == b.Device && a.Super.sum == b.Super.sum
	})
}

// writers are the arrays that are claimed, by their members.
var writers sync.Map

// Claim claims the members, and looks at their superblocks again. It fails with ErrChanged if others have used the
// array since it was assembled, and with ErrInUse.
func (a *Array) Claim() error {
	w := &a.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claims > 0 {
		w.claims++
		return nil
	}
	if w.reason != nil {
		return fmt.Errorf("%s: %w: %w", a.name, mapping.ErrNotWritable, w.reason)
	}
	for _, m := range w.members {
		if err := a.claimMember(m.Device.(mapping.WritableDevice)); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", a.name, err), w.release())
		}
	}
	err := w.unchanged()
	if err == nil && w.noted != nil {
		err = w.noted.StartWriting()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w: %w", a.name, ErrChanged, err), w.release())
	}
	w.claims = 1
	w.open.Store(true)
	return nil
}

func (a *Array) claimMember(d mapping.WritableDevice) error {
	if _, others := writers.LoadOrStore(d, a); others {
		return fmt.Errorf("%s: %w", d.Name(), ErrInUse)
	}
	if err := d.Claim(); err != nil {
		writers.Delete(d)
		return err
	}
	a.writing.claimed = append(a.writing.claimed, d)
	return nil
}

func (w *writing) release() (failed error) {
	for _, d := range w.claimed {
		failed = errors.Join(failed, d.Release())
		writers.Delete(d)
	}
	w.claimed = nil
	return failed
}

// unchanged looks whether the superblocks are what they were.
func (w *writing) unchanged() error {
	for _, m := range w.members {
		_, s, err := m.reread()
		if err != nil {
			return err
		}
		if s.sum != m.Super.sum {
			return fmt.Errorf("%s: its superblock has changed", m.Device.Name())
		}
	}
	return nil
}

// reread reads the superblock of a member again, where it was.
func (m Member) reread() (block []byte, s *Superblock, err error) {
	i := slices.IndexFunc(places, func(p place) bool { return p.version == m.Super.Version })
	block = make([]byte, superSize)
	if _, err := mapping.ReadFull(m.Device, block, m.Super.Offset); err != nil {
		return nil, nil, fmt.Errorf("superblock at byte %d: %w", m.Super.Offset, err)
	}
	s, err = places[i].parse(block, m.Super.Offset, m.Device.Size())
	if err == nil && s == nil {
		err = fmt.Errorf("superblock at byte %d: %w: it is gone", m.Super.Offset, ErrDamaged)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", m.Device.Name(), err)
	}
	return block, s, nil
}

// Release gives up a claim. The last one returns once all that was written is on stable storage, and the superblocks say that
// nobody writes to the array.
func (a *Array) Release() error {
	w := &a.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.claims {
	case 0:
		return fmt.Errorf("%s: %w", a.name, ErrNotClaimed)
	case 1:
	default:
		w.claims--
		return nil
	}
	w.claims = 0
	err := w.stop()
	w.open.Store(false)
	if err != nil {
		w.settled = false
		err = fmt.Errorf("%s: %w", a.name, err)
	}
	return errors.Join(err, w.release())
}

func (w *writing) stop() error {
	if w.noted == nil {
		return w.to.Sync()
	}
	if err := w.noted.StopWriting(); err != nil {
		return err
	}
	for i, m := range w.members {
		_, s, err := m.reread()
		if err != nil {
			return err
		}
		w.settled = w.settled || s.Resync == All && s.badBlocks.size == 0
		w.members[i].Super = s
	}
	return nil
}

// WriteAt writes all of p, or fails; see [mapping.WritableDevice].
func (a *Array) WriteAt(p []byte, off int64) (int, error) {
	if err := a.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := a.writing.to.WriteAt(p, off)
	return n, a.named(err)
}

// PunchHole makes n bytes at off read as zeros; see [mapping.WritableDevice].
func (a *Array) PunchHole(off, n int64) error {
	if err := a.check(off, n); err != nil {
		return err
	}
	return a.named(a.writing.to.PunchHole(off, n))
}

// Sync returns once all that was written is on stable storage.
func (a *Array) Sync() error {
	if err := a.check(0, 0); err != nil {
		return err
	}
	return a.named(a.writing.to.Sync())
}

func (a *Array) check(off, n int64) error {
	if !a.writing.open.Load() {
		return fmt.Errorf("%s: %w", a.name, ErrNotClaimed)
	}
	return mapping.CheckWrite(a.name, off, n, a.size)
}

func (a *Array) named(err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", a.name, err)
	}
	return err
}
