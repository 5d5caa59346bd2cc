package dm

import (
	"errors"
	"fmt"

	"lvm2fs/mapping"
)

// Origin is the origin of [Snapshots], as a volume. Its bytes are those of its own mapping.
type Origin struct{ family *Snapshots }

// Origin is the origin, as a volume that can be written.
func (f *Snapshots) Origin() *Origin { return &Origin{f} }

// Size implements [mapping.Volume].
func (o *Origin) Size() int64 { return o.family.origin.Size() }

// Map implements [mapping.Volume].
func (o *Origin) Map(off, max int64) (mapping.Extent, error) { return o.family.origin.Map(off, max) }

// ReadAt implements [mapping.Volume].
func (o *Origin) ReadAt(p []byte, off int64) (int, error) { return o.family.origin.ReadAt(p, off) }

// WriteAt implements [mapping.Writable]. It fails with ErrFull, and changes nothing, where a snapshot has no room for what would be
// overwritten; but see [Snapshots.GiveUp].
func (o *Origin) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), o.Size()); err != nil || len(p) == 0 {
		return 0, err
	}
	origin, err := writable(o.family.origin)
	if err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		n := int(min(int64(len(p)-done), writePiece-at%writePiece))
		if err := o.family.copyOut(at, int64(n)); err != nil {
			return done, err
		}
		k, err := origin.WriteAt(p[done:done+n], at)
		done += k
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// PunchHole implements [mapping.Writable]. A hole overwrites, so snapshots need room for it: without room for all of it
// PunchHole fails with ErrFull and copies nothing.
func (o *Origin) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, o.Size()); err != nil || n == 0 {
		return err
	}
	origin, err := writable(o.family.origin)
	if err != nil {
		return err
	}
	if err := o.family.roomFor(off, n); err != nil {
		return err
	}
	for at := off; at < off+n; {
		piece := min(off+n-at, writePiece-at%writePiece)
		if err := o.family.copyOut(at, piece); err != nil {
			return err
		}
		at += piece
	}
	return origin.PunchHole(off, n)
}

// Sync implements [mapping.Writable]. What the snapshots have kept is on stable storage already.
func (o *Origin) Sync() error {
	origin, err := writable(o.family.origin)
	if err != nil {
		return err
	}
	return origin.Sync()
}

// copyOut copies what snapshots need of the n bytes at off of the origin, so that these may change.
func (f *Snapshots) copyOut(off, n int64) error {
	if !f.writing.Load() {
		return fmt.Errorf("%w: writing was not started", mapping.ErrNotWritable)
	}
	if f.kept(off, n) {
		return nil
	}
	f.making.Lock()
	defer f.making.Unlock()
	if f.giveUp == nil {
		// Look for room before any snapshot copies anything.
		if err := f.roomFor(off, n); err != nil {
			return err
		}
	}
	for _, s := range f.members {
		err := s.keep(off, n)
		if err == nil {
			continue
		}
		err = fmt.Errorf("snapshot %s: %w", s.name, err)
		if f.giveUp == nil {
			return err
		}
		if lost := s.lose(); lost != nil {
			return fmt.Errorf("%w; and it cannot be given up: %w", err, lost)
		}
		f.giveUp(s, err)
	}
	return nil
}

// kept says whether no snapshot needs the n bytes at off of the origin.
func (f *Snapshots) kept(off, n int64) bool {
	return nil == f.eachTouched(off, n, func(s *Snapshot, t *snapshotTable, first, last uint64) error {
		if !s.durable.Load() || t.lacksAny(first, last) {
			return errNeeded
		}
		return nil
	})
}

var errNeeded = errors.New("a snapshot needs it")

// roomFor fails with ErrFull unless all snapshots have room to keep the n bytes at off of the origin.
func (f *Snapshots) roomFor(off, n int64) error {
	if f.giveUp != nil {
		return nil
	}
	return f.eachTouched(off, n, func(s *Snapshot, t *snapshotTable, first, last uint64) error {
		lacking := uint64(0)
		t.lacking(first, last, func(uint64) bool { lacking++; return true })
		if !t.fits(lacking) {
			return fmt.Errorf("%w for what would be overwritten, %d chunks of %d bytes: %d bytes of %d are in use",
				ErrFull, lacking, s.writer.chunkSize, int64(t.end.next)*s.writer.chunkSize, s.writer.cow.Size())
		}
		return nil
	})
}

// eachTouched calls do for each snapshot that has chunks in which n bytes at off of the origin lie. It stops at the first
// error, and says whose it is.
func (f *Snapshots) eachTouched(off, n int64, do func(s *Snapshot, t *snapshotTable, first, last uint64) error) error {
	f.tables.RLock()
	defer f.tables.RUnlock()
	for _, s := range f.members {
		first, last, any := s.touched(off, n)
		if s.lost || !any {
			continue
		}
		t, err := s.load()
		if err == nil {
			err = do(s, t, first, last)
		}
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", s.name, err)
		}
	}
	return nil
}

// touched are the chunks of the snapshot that cover n bytes at off of the origin. There are none where the origin has
// grown since.
func (s *Snapshot) touched(off, n int64) (first, last uint64, any bool) {
	if off >= s.size {
		return 0, 0, false
	}
	return uint64(off / s.writer.chunkSize), uint64((min(off+n, s.size) - 1) / s.writer.chunkSize), true
}

// keep makes the exceptions that the snapshot needs before the n bytes at off of the origin may change. The
// caller holds making.
func (s *Snapshot) keep(off, n int64) error {
	first, last, any := s.touched(off, n)
	if s.invalid() || !any {
		return nil
	}
	t, err := s.load()
	if err != nil {
		return err
	}
	if !s.durable.Load() {
		if err := s.Sync(); err != nil {
			return err
		}
		s.durable.Store(true)
	}
	var chunks []uint64
	t.lacking(first, last, func(chunk uint64) bool {
		chunks = append(chunks, chunk)
		return true
	})
	if len(chunks) == 0 {
		return nil
	}
	return s.except(t, chunks, func(cow mapping.Writable, run chunkRun) error {
		from, to := s.within(run)
		return s.copyOld(cow, int64(run.store)*s.writer.chunkSize, from, min(to, s.family.origin.Size()))
	})
}

// lose gives the snapshot up: first on disk, then here. The caller holds making.
func (s *Snapshot) lose() error {
	if err := s.writer.invalidate(); err != nil {
		return err
	}
	s.family.tables.Lock()
	defer s.family.tables.Unlock()
	s.lost = true
	return nil
}
