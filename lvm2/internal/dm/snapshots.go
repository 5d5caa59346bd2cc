package dm

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"lvm2fs/mapping"
)

// ErrStoreChanged: the COW store of a snapshot is not what it was when it was read.
var ErrStoreChanged = errors.New("the COW store has changed")

// Snapshots are an origin and its snapshots, which have to know of each other where one of them is written:
//
//	origin  | 0 | 1 | 2'| 3 |      writing 2' kept 2 in the stores of a and b first
//	a       |   | 1'| 2 |   |      reads 0 1' 2 3
//	b       |       2       |      reads 0 1 2 3: its chunks are larger
//
// Before bytes of the origin change, each snapshot that would change with them gets an exception, durable with its data.
// A write to a snapshot where it has none makes one. From then on what the two have there is their own.
//
// All volumes of one Snapshots may be used concurrently.
// (docs/format/05-snapshot.md, sections 4 and 7)
type Snapshots struct {
	origin  mapping.Volume // its own mapping
	members []*Snapshot
	giveUp  func(s *Snapshot, err error) // nil: the write is refused instead

	// making is held to make exceptions, and to look for what lacks them. It is taken before tables.
	making sync.Mutex
	// tables is held for reading while bytes are read that a table gave the place of, so that nobody who has waited
	// for it overwrites them; and for writing to change a table.
	tables sync.RWMutex

	writing atomic.Bool // between StartWriting and StopWriting
}

// NewSnapshots is an origin, given as its own mapping, without a snapshot.
func NewSnapshots(origin mapping.Volume) *Snapshots { return &Snapshots{origin: origin} }

// GiveUp lets a write to the origin go on, as the kernel does, although a snapshot cannot keep what it overwrites. That
// snapshot is then invalid for ever. told is then called with the snapshot and the reason; it must not use any of the
// volumes. Call GiveUp before writing.
func (f *Snapshots) GiveUp(told func(s *Snapshot, err error)) { f.giveUp = told }

// Snapshot is a snapshot, as a volume. Its table is read when it is first used.
type Snapshot struct {
	family *Snapshots
	name   string
	size   int64
	writer storeWriter
	lost   bool // under tables: it was invalid, or has been given up
	load   func() (*snapshotTable, error)
	loaded atomic.Bool // load has succeeded

	// durable says that what was read of the store is on stable storage. A writer on another host may have died with it
	// in a cache only.
	durable atomic.Bool
}

type snapshotTable struct {
	*exceptions // under tables
	view        *remapped
}

var (
	_ mapping.Writable = (*Snapshot)(nil)
	_ mapping.Writable = (*Origin)(nil)
)

// Add adds a snapshot of size bytes, whose exceptions are in store. name is for messages. All snapshots must be added
// before the origin is written.
func (f *Snapshots) Add(name string, store *ExceptionStore, size int64) *Snapshot {
	s := &Snapshot{family: f, name: name, size: size, writer: storeWriter{ExceptionStore: store}, lost: !store.valid}
	s.load = once(func() (*snapshotTable, error) {
		// The header may have been read long ago.
		if _, err := s.readAgain(); err != nil {
			return nil, err
		}
		t, err := store.exceptions()
		if err != nil {
			return nil, err
		}
		s.loaded.Store(true)
		return &snapshotTable{t, redirected(f.origin, store.cow, store.chunkSize, size, t)}, nil
	})
	f.making.Lock()
	defer f.making.Unlock()
	f.tables.Lock()
	defer f.tables.Unlock()
	f.members = append(f.members, s)
	return s
}

// StartWriting reads the headers and tables again. It fails with ErrStoreChanged if they are not
// what they were, or what was written since.
func (f *Snapshots) StartWriting() error {
	f.making.Lock()
	defer f.making.Unlock()
	for _, s := range f.members {
		if err := s.recheck(); err != nil {
			return fmt.Errorf("snapshot %s: %w", s.name, err)
		}
	}
	f.writing.Store(true)
	return nil
}

// StopWriting has nothing to do on disk: exceptions are durable when they are made.
func (f *Snapshots) StopWriting() error {
	f.writing.Store(false)
	return nil
}

// recheck reads the store again when writing begins.
func (s *Snapshot) recheck() error {
	if s.invalid() {
		return nil
	}
	known := s.loaded.Load()
	t, err := s.load()
	if err != nil {
		return err
	}
	now, err := s.readAgain()
	if err != nil {
		return err
	}
	if known {
		again, err := now.exceptions()
		if err != nil {
			return err
		}
		if !slices.Equal(again.sorted, t.all()) || again.end != t.end {
			return ErrStoreChanged
		}
	}
	s.writer.ready = false
	s.durable.Store(false)
	return nil
}

// readAgain reads the header of the store, which must be as it was.
func (s *Snapshot) readAgain() (*ExceptionStore, error) {
	now, err := OpenExceptionStore(s.writer.cow, s.writer.chunkSize)
	if err != nil {
		return nil, err
	}
	if was := s.writer.ExceptionStore; now.fresh != was.fresh || now.valid != was.valid || now.chunkSize != was.chunkSize {
		return nil, fmt.Errorf("its header: %w", ErrStoreChanged)
	}
	return now, nil
}

func (s *Snapshot) invalid() bool {
	s.family.tables.RLock()
	defer s.family.tables.RUnlock()
	return s.lost
}

// Valid says whether the snapshot can be read.
func (s *Snapshot) Valid() bool { return !s.invalid() }

// Name is what the snapshot is called in messages.
func (s *Snapshot) Name() string { return s.name }

// Used is the number of bytes of its store that are taken, by exceptions and what they need; 0 if
// there are no exceptions.
func (s *Snapshot) Used() (int64, error) {
	t, err := s.load()
	if err != nil {
		return 0, err
	}
	s.family.tables.RLock()
	defer s.family.tables.RUnlock()
	return int64(t.used()) * s.writer.chunkSize, nil
}

// Size implements [mapping.Volume].
func (s *Snapshot) Size() int64 { return s.size }

// Map implements [mapping.Volume]. The answer is about the origin's bytes only until these are written.
func (s *Snapshot) Map(off, max int64) (e mapping.Extent, err error) {
	err = s.reading(func(t *snapshotTable) error {
		e, err = t.view.Map(off, max)
		return err
	})
	return e, err
}

// ReadAt implements [mapping.Volume].
func (s *Snapshot) ReadAt(p []byte, off int64) (n int, err error) {
	err = s.reading(func(t *snapshotTable) error {
		n, err = t.view.ReadAt(p, off)
		return err
	})
	return n, err
}

// reading calls do with the table, which does not change meanwhile.
func (s *Snapshot) reading(do func(t *snapshotTable) error) error {
	t, err := s.load()
	if err != nil {
		return err
	}
	s.family.tables.RLock()
	defer s.family.tables.RUnlock()
	if s.lost {
		return fmt.Errorf("%w: it ran out of space, or could not be written", ErrInvalidSnapshot)
	}
	return do(t)
}

// WriteAt implements [mapping.Writable]. It fails with ErrFull where the store has no room for what is not in it.
func (s *Snapshot) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), s.size); err != nil || len(p) == 0 {
		return 0, err
	}
	done := 0
	for done < len(p) {
		n, err := s.writeRun(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, fmt.Errorf("snapshot %s: %w", s.name, err)
		}
	}
	return done, nil
}

// writeRun writes the first bytes of p, as far as their chunks are all in the store or all not.
func (s *Snapshot) writeRun(p []byte, off int64) (int, error) {
	if !s.family.writing.Load() {
		return 0, fmt.Errorf("%w: writing was not started", mapping.ErrNotWritable)
	}
	var in mapping.Volume
	var at, length int64
	err := s.reading(func(t *snapshotTable) error {
		in, at, length = t.view.locate(off)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if in != s.writer.cow {
		return s.writeNew(p, off)
	}
	cow, err := writable(in)
	if err != nil {
		return 0, err
	}
	// Exceptions that are there stay where they are.
	return cow.WriteAt(p[:min(int64(len(p)), length)], at)
}

// writeNew makes exceptions for the chunks from off, which have none, and writes what of p lies in them.
func (s *Snapshot) writeNew(p []byte, off int64) (int, error) {
	f := s.family
	f.making.Lock()
	defer f.making.Unlock()
	t, err := s.load()
	if err != nil {
		return 0, err
	}
	chunk := s.writer.chunkSize
	first := uint64(off / chunk)
	p = p[:min(int64(len(p)), writePiece-off%writePiece)]
	last := uint64((off + int64(len(p)) - 1) / chunk)
	var chunks []uint64
	t.lacking(first, last, func(c uint64) bool {
		if c != first+uint64(len(chunks)) {
			return false
		}
		chunks = append(chunks, c)
		return true
	})
	if len(chunks) == 0 { // another writer has made it since
		return 0, nil
	}
	p = p[:min(int64(len(p)), int64(chunks[len(chunks)-1]+1)*chunk-off)]
	err = s.except(t, chunks, func(cow mapping.Writable, run chunkRun) error {
		return s.fill(cow, run, p, off)
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// writePiece bounds how much of a write is done, or refused, as a whole, in bytes.
const writePiece = 4 << 20

// chunkRun are n chunks that follow each other in the origin from old, and in the store from store.
type chunkRun struct{ old, store, n uint64 }

func chunkRuns(batch []redirection) []chunkRun {
	var runs []chunkRun
	for _, e := range batch {
		if len(runs) > 0 {
			if r := &runs[len(runs)-1]; e.origin == r.old+r.n && e.store == r.store+r.n {
				r.n++
				continue
			}
		}
		runs = append(runs, chunkRun{e.origin, e.store, 1})
	}
	return runs
}

// except makes exceptions for chunks, in order, none of which has one yet. fill writes the data of a run of them. The
// caller holds making.
func (s *Snapshot) except(t *snapshotTable, chunks []uint64, fill func(cow mapping.Writable, run chunkRun) error) error {
	batch, err := t.plan(chunks)
	if err != nil {
		return fmt.Errorf("%w: %d bytes of %d are in use", err, int64(t.end.next)*s.writer.chunkSize, s.writer.cow.Size())
	}
	err = s.writer.add(t.exceptions, batch, func(cow mapping.Writable) error {
		for _, run := range chunkRuns(batch) {
			if err := fill(cow, run); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.family.tables.Lock()
	defer s.family.tables.Unlock()
	t.add(batch)
	return nil
}

// fill writes the chunks of a run: the bytes of the origin, but p where it covers them.
func (s *Snapshot) fill(cow mapping.Writable, run chunkRun, p []byte, off int64) error {
	from, to := s.within(run)
	at := int64(run.store) * s.writer.chunkSize
	end := off + int64(len(p))
	if off > from {
		if err := s.copyOld(cow, at, from, off); err != nil {
			return err
		}
	}
	if end < to {
		if err := s.copyOld(cow, at+end-from, end, to); err != nil {
			return err
		}
	}
	first, last := max(off, from), min(end, to)
	_, err := cow.WriteAt(p[first-off:last-off], at+first-from)
	return err
}

// within are the bytes of the snapshot that the chunks hold. The last chunk may reach beyond the end.
func (s *Snapshot) within(run chunkRun) (from, to int64) {
	from = int64(run.old) * s.writer.chunkSize
	return from, min(from+int64(run.n)*s.writer.chunkSize, s.size)
}

// copyOld copies the bytes of the origin from from to to to at.
func (s *Snapshot) copyOld(cow mapping.Writable, at, from, to int64) error {
	if size := s.family.origin.Size(); to > size {
		return fmt.Errorf("beyond the end of the origin at %d: %w", size, mapping.ErrMissing)
	}
	if err := copyBytes(cow, at, s.family.origin, from, to-from); err != nil {
		return fmt.Errorf("copying what is overwritten: %w", err)
	}
	return nil
}

// PunchHole implements [mapping.Writable]. It makes no exceptions, because those would take room to give room back. Where
// it would need one it fails with errors.ErrUnsupported, and changes nothing.
func (s *Snapshot) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, s.size); err != nil || n == 0 {
		return err
	}
	if !s.family.writing.Load() {
		return fmt.Errorf("snapshot %s: %w: writing was not started", s.name, mapping.ErrNotWritable)
	}
	type run struct{ at, n int64 }
	var inStore []run
	err := s.reading(func(t *snapshotTable) error {
		for left := n; left > 0; {
			v, at, length := t.view.locate(off + n - left)
			length = min(length, left)
			if v == s.writer.cow {
				inStore = append(inStore, run{at, length})
			} else if e, err := v.Map(at, length); err != nil {
				return err
			} else if length = e.Length; e.Kind != mapping.Zero {
				return fmt.Errorf("a hole where the snapshot has what its origin has: %w", errors.ErrUnsupported)
			}
			left -= length
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", s.name, err)
	}
	cow, err := writable(s.writer.cow)
	if err != nil {
		return err
	}
	for _, r := range inStore {
		if err := cow.PunchHole(r.at, r.n); err != nil {
			return fmt.Errorf("snapshot %s: %w", s.name, err)
		}
	}
	return nil
}

// Sync implements [mapping.Writable].
func (s *Snapshot) Sync() error {
	cow, err := writable(s.writer.cow)
	if err != nil {
		return err
	}
	return cow.Sync()
}
