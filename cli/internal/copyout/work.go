package copyout

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The names around a file F, and what holds at every moment, however a run ends:
//
//	F              complete: renamed from F.part when that was whole and synced
//	F.done         the record of that: written before F.part is renamed, with what file it is
//	F.part         in the making, once F.part.map is there to tell of what
//	F.part.map     which of its bytes are good: written after the sync of what it names
//	F.partial      all that can be had, once F.map is there
//	F.map          which of its bytes are good, and which are lost
//
// A file goes on from F.partial by being F.part again. Whichever of the two a file is
// called, the map of that name was there before it, and F.part goes before F.partial.
const (
	partSuffix    = ".part"
	noteSuffix    = ".part.map"
	newNoteSuffix = ".part.map.new"
	partialSuffix = ".partial"
	mapSuffix     = ".map"
	doneSuffix    = ".done"
)

// Suffixes are what the names of other files beside a finished one end in.
var Suffixes = []string{partSuffix, noteSuffix, newNoteSuffix, partialSuffix, mapSuffix, doneSuffix}

var (
	// ErrExists is wrapped by the error for a file that is in the way and is not known to be
	// what an earlier run has left of this job.
	ErrExists = errors.New("exists and is left alone")
	// ErrDirectory is wrapped, beside ErrExists, by the error for a directory, which is never
	// replaced.
	ErrDirectory = errors.New("it is a directory")
	// ErrBusy is wrapped by the error for a file that another process is making.
	ErrBusy = errors.New("another dump is writing it")
	// ErrProtected is wrapped by the error for a file of Protect that is in the way.
	ErrProtected = errors.New("is a device or a file of this dump, and would be overwritten")

	// errStranger: another user can have written the file, or put it there.
	errStranger = errors.New("another user can change it")
)

// standing is what earlier runs have left.
type standing struct {
	file      string // the file to go on with; empty for none
	done      Ranges // its bytes that are good
	allocated int64  // bytes that it takes up
	part      bool   // there is a file in the making, whether to go on with or not
	replaces  bool   // there is a file that must go first
	sources   map[string]string
	finished  time.Time // when an earlier run has finished the file; zero if none has
}

// look finds out, changing nothing.
func (j *Job) look() (standing, error) {
	var s standing
	if err := checkName(j.Name); err != nil {
		return s, err
	}
	if err := j.directoryInTheWay(); err != nil {
		return s, err
	}
	finished, err := j.finished()
	if !finished.IsZero() {
		return standing{finished: finished, done: Ranges{{0, j.Identity.Size}}}, nil
	}
	if err != nil || j.Folder.dir == nil {
		return s, err
	}
	note, noteErr := j.readMap(j.Name + noteSuffix)
	lost, lostErr := j.readMap(j.Name + mapSuffix)
	// What a stranger left in the making is made anew; what is finished is left alone.
	strange := errors.Is(noteErr, errStranger)
	if !strange && !j.passes(noteErr) {
		return s, noteErr
	}
	if !j.passes(lostErr) {
		return s, lostErr
	}

	part, err := j.Folder.stat(j.Name + partSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return s, err
	case plain(part) && (strange || noteErr == nil && !j.Folder.trusts(part)):
		s.replaces, strange = true, true
	case noteErr == nil && plain(part):
		s.part, s.allocated = true, part.Blocks*512
		if j.Identity.continues(note.Identity) && part.Size == j.Identity.Size {
			s.file, s.done, s.sources = j.Name+partSuffix, note.done, note.Sources
		}
	default:
		s.replaces, strange = true, false
	}
	if s.replaces || s.part {
		if err := j.checkProtected(j.Name+partSuffix, part); err != nil {
			return s, err
		}
	}
	if s.replaces && !strange && !j.Replace {
		return s, fmt.Errorf("%s %w: it has no note of what it is", j.Folder.Path(j.Name+partSuffix), ErrExists)
	}

	partial, err := j.Folder.stat(j.Name + partialSuffix)
	if err == nil && !s.part && lostErr == nil && plain(partial) && j.Folder.trusts(partial) &&
		j.Identity.continues(lost.Identity) && partial.Size == j.Identity.Size {
		s.file, s.done, s.sources = j.Name+partialSuffix, lost.done, lost.Sources
		return s, j.checkProtected(s.file, partial)
	}
	return s, j.inTheWay(j.Name + partialSuffix)
}

// passes says whether a map that gave err is no reason to stop.
func (j *Job) passes(err error) bool {
	return err == nil || errors.Is(err, fs.ErrNotExist) ||
		j.Replace && (errors.Is(err, errNotOurs) || errors.Is(err, errStranger))
}

// plain says whether a file is one of the kind that is made here.
func plain(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1
}

// inTheWay fails if there is a file that must not be replaced.
func (j *Job) inTheWay(name string) error {
	st, err := j.Folder.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !j.Replace:
		return fmt.Errorf("%s %w", j.Folder.Path(name), ErrExists)
	}
	return j.checkProtected(name, st)
}

// directoryInTheWay fails if one of the files to be made, or to be gone on with, is a directory.
func (j *Job) directoryInTheWay() error {
	for _, suffix := range append([]string{""}, Suffixes...) {
		st, err := j.Folder.stat(j.Name + suffix)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return fmt.Errorf("%s %w: %w", j.Folder.Path(j.Name+suffix), ErrExists, ErrDirectory)
		}
	}
	return nil
}

func (j *Job) checkProtected(name string, st *unix.Stat_t) error {
	for _, info := range j.Protect {
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Dev == st.Dev && s.Ino == st.Ino {
			return fmt.Errorf("%s %w", j.Folder.Path(name), ErrProtected)
		}
	}
	return nil
}

// readMap fails with fs.ErrNotExist, or with ErrExists and errNotOurs for anything that
// was not made here, or with ErrExists and errStranger for what another user may have made.
func (j *Job) readMap(name string) (mapfile, error) {
	st, err := j.Folder.stat(name)
	if err != nil {
		return mapfile{}, err
	}
	if err := j.checkProtected(name, st); err != nil {
		return mapfile{}, err
	}
	notOurs := fmt.Errorf("%s %w: %w", j.Folder.Path(name), ErrExists, errNotOurs)
	if !plain(st) {
		return mapfile{}, notOurs
	}
	f, err := j.Folder.openFile(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return mapfile{}, err
	}
	defer f.Close()
	// By now the name may lead to another file.
	if st, err = fstat(f); err != nil {
		return mapfile{}, err
	}
	if !plain(st) {
		return mapfile{}, notOurs
	}
	if !j.Folder.trusts(st) {
		// How long it is is the stranger's choice.
		if _, err = readHeader(bufio.NewScanner(f)); err == nil {
			return mapfile{}, fmt.Errorf("%s %w: %w", j.Folder.Path(name), ErrExists, errStranger)
		}
	}
	var m mapfile
	if err == nil {
		m, err = readMapfile(f)
	}
	if errors.Is(err, errNotOurs) {
		return mapfile{}, notOurs
	}
	return m, err
}

// work is a file in the making.
type work struct {
	*Job
	file     *os.File
	done     Ranges // at the start
	dirty    bool   // what is not done may hold bytes of an earlier run
	finished bool   // by an earlier run; there is no file to write to
}

// begin opens or makes the file in the making and locks it, so that everything else about
// the file's names is this process's too.
func (j *Job) begin() (*work, error) {
	s, err := j.look()
	if err != nil {
		return nil, err
	}
	if j.Folder.dir == nil {
		if err := j.Folder.make(); err != nil {
			return nil, err
		}
		if s, err = j.look(); err != nil { // another process may have made it
			return nil, err
		}
	}
	w := &work{Job: j, finished: !s.finished.IsZero()}
	if w.finished {
		return w, nil
	}
	if err := w.begin(s); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *work) begin(s standing) error {
	part, partial := w.Name+partSuffix, w.Name+partialSuffix
	var err error
	switch {
	case s.file == partial:
		err = w.open(partial, s)
	case s.part:
		err = w.open(part, s)
	default:
		err = w.create(part, s.replaces)
	}
	if err != nil {
		return err
	}
	if !w.dirty {
		if err := w.truncate(0); err != nil {
			return err
		}
	}
	if err := w.truncate(w.Identity.Size); err != nil || s.file != partial {
		return err
	}
	if err := w.Folder.rename(partial, part); err != nil {
		return err
	}
	return w.Folder.remove(w.Name + mapSuffix)
}

func (w *work) create(name string, replace bool) (err error) {
	if replace {
		if err := w.Folder.remove(name); err != nil {
			return err
		}
	}
	if err := w.writeNote(nil); err != nil {
		return err
	}
	if w.file, err = w.Folder.create(name); err != nil {
		return err
	}
	return w.lock(name)
}

// open opens what look has found, if it is still the same.
func (w *work) open(name string, then standing) (err error) {
	if w.file, err = w.Folder.openFile(name, unix.O_RDWR|unix.O_NONBLOCK, 0); err != nil {
		return err
	}
	if err := w.lock(name); err != nil {
		return err
	}
	opened, err := fstat(w.file)
	if err != nil {
		return err
	}
	if !plain(opened) || !w.Folder.trusts(opened) {
		return fmt.Errorf("%s %w: %w", w.file.Name(), ErrExists, errStranger)
	}
	now, err := w.look()
	if err != nil {
		return err
	}
	if now.file != then.file || now.part != then.part {
		return fmt.Errorf("%s: %w", w.file.Name(), ErrBusy)
	}
	w.done, w.dirty = now.done, len(now.done) > 0
	// Keep earlier timestamps of devices absent now: bytes were taken from them then.
	merged := map[string]string{}
	maps.Copy(merged, now.sources)
	maps.Copy(merged, w.Identity.Sources)
	w.Identity.Sources = merged
	return w.writeNote(w.done)
}

// lock fails if another process has the file, or had it until just now and has renamed
// it. One that was killed may take a moment to give it up.
func (w *work) lock(name string) error {
	try := func() error {
		return retry(func() error { return unix.Flock(int(w.file.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	}
	err := try()
	for end := time.Now().Add(w.lockWait); errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(end); err = try() {
		time.Sleep(20 * time.Millisecond)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", w.file.Name(), ErrBusy)
	}
	// Any other error: a file system without locks.
	return w.stillNamed(name)
}

// stillNamed fails if name does not lead to the file, since somebody has put another one
// there.
func (w *work) stillNamed(name string) error {
	named, err := w.Folder.stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	open, statErr := fstat(w.file)
	if statErr != nil {
		return statErr
	}
	if err != nil || named.Dev != open.Dev || named.Ino != open.Ino {
		return fmt.Errorf("%s: %w", w.file.Name(), ErrBusy)
	}
	return nil
}

func (w *work) close() {
	if w.file != nil {
		w.file.Close()
	}
}

// change does something to the file, unless a test stops it.
func (w *work) change(op string, do func() error) error {
	if w.Folder.before != nil {
		if err := w.Folder.before(op, w.Name+partSuffix); err != nil {
			return err
		}
	}
	return do()
}

func (w *work) truncate(size int64) error {
	return w.change("truncate", func() error { return w.file.Truncate(size) })
}

// checkpoint makes done what the next run need not do again.
func (w *work) checkpoint(done Ranges) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.writeNote(done)
}

func (w *work) flush() error {
	return w.change("sync", func() error { return flush(w.file) })
}

func (w *work) writeNote(done Ranges) error {
	if err := w.writeMap(w.Name+newNoteSuffix, mapfile{Identity: w.Identity, done: done}, untried); err != nil {
		return err
	}
	return w.Folder.rename(w.Name+newNoteSuffix, w.Name+noteSuffix)
}

func (w *work) writeMap(name string, m mapfile, rest byte) error {
	if err := w.Folder.remove(name); err != nil {
		return err
	}
	f, err := w.Folder.create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := m.write(f, w.Title, rest); err != nil {
		return err
	}
	return f.Sync()
}

// complete gives the file, of which all is good, its name.
func (w *work) complete() error {
	if !w.NoSync {
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.writeRecord(); err != nil {
			return err
		}
	}
	if err := w.publish(w.Name); err != nil {
		if errors.Is(err, ErrExists) {
			err = errors.Join(err, w.Forget())
		}
		return err
	}
	if err := w.Folder.remove(w.Name + noteSuffix); err != nil {
		return err
	}
	return w.removePartial()
}

// leavePartial gives the file, of which no more than done can be had, its name.
func (w *work) leavePartial(done Ranges) error {
	if err := w.flush(); err != nil {
		return err
	}
	// A run that was killed may have thought that all is good.
	if err := w.Forget(); err != nil {
		return err
	}
	// An older one would fit the new map no better than this one the old.
	if err := w.Folder.remove(w.Name + partialSuffix); err != nil {
		return err
	}
	if err := w.writeMap(w.Name+mapSuffix, mapfile{Identity: w.Identity, done: done}, bad); err != nil {
		return err
	}
	if err := w.publish(w.Name + partialSuffix); err != nil {
		return err
	}
	return w.Folder.remove(w.Name + noteSuffix)
}

// publish gives the file, which is synced unless that is not wanted, a name.
func (w *work) publish(name string) error {
	// What another process has put in the file's place is not what was written.
	if err := w.stillNamed(w.Name + partSuffix); err != nil {
		return err
	}
	rename := w.Folder.renameNew
	if w.Replace {
		rename = w.Folder.rename
	}
	err := rename(w.Name+partSuffix, name)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s %w", w.Folder.Path(name), ErrExists)
	}
	if err != nil {
		return err
	}
	if err := w.stillNamed(name); err != nil {
		return err
	}
	if w.NoSync {
		return nil
	}
	return w.Folder.sync()
}
