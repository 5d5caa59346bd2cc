package copyout

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// errChanged: a record is of another file, or of another volume.
var errChanged = errors.New("it, or what it was made from, is not what an earlier dump has finished")

// fileState tells a file from any other, and from itself after it was written to.
func fileState(st *unix.Stat_t) string {
	sec, nsec := st.Mtim.Unix()
	return fmt.Sprintf("inode %d of %d bytes from %d.%09d", st.Ino, st.Size, sec, nsec)
}

// finished is when an earlier run has finished the file. It is zero if there is none; one
// that is not known to be finished, of this volume and unchanged, is in the way.
func (j *Job) finished() (time.Time, error) {
	record, recordErr := j.readMap(j.Name + doneSuffix)
	if !j.passes(recordErr) && !errors.Is(recordErr, errStranger) {
		return time.Time{}, recordErr
	}
	if err := j.inTheWay(j.Name); err == nil || !errors.Is(err, ErrExists) || recordErr != nil {
		return time.Time{}, err
	}
	st, err := j.Folder.stat(j.Name)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case plain(st) && !j.Folder.trusts(st):
		err = errStranger
	case !plain(st) || fileState(st) != record.file || !j.Identity.continues(record.Identity):
		err = errChanged
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %w: %w", j.Folder.Path(j.Name), ErrExists, err)
	}
	written, err := j.Folder.stat(j.Name + doneSuffix)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(written.Mtim.Unix()), nil
}

// writeRecord notes that the file, which is synced, is finished. Where the record would not
// be believed there is none.
func (w *work) writeRecord() error {
	st, err := fstat(w.file)
	if err != nil || !w.Folder.trusts(st) {
		return err
	}
	all := Ranges{{0, w.Identity.Size}}
	return w.writeMap(w.Name+doneSuffix, mapfile{Identity: w.Identity, done: all, file: fileState(st)}, untried)
}

// Forget removes the record that the job is finished, so that the file is in the way of the
// next run.
func (j *Job) Forget() error {
	return j.removeOurs(doneSuffix)
}

// keep is how a job ends that an earlier run has finished. That one may have been killed
// before it had tidied up.
func (j *Job) keep() (Result, error) {
	f, err := j.Folder.openFile(j.Name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Result{}, err
	}
	if _, err := j.Folder.stat(j.Name + partSuffix); errors.Is(err, fs.ErrNotExist) {
		if err := j.removeOurs(noteSuffix); err != nil {
			return Result{}, err
		}
	}
	return Result{Name: j.Name, File: info}, j.removePartial()
}

// removePartial removes what could be had of the volume before all could.
func (j *Job) removePartial() error {
	if !j.isOurs(mapSuffix) {
		return nil
	}
	if err := j.Folder.remove(j.Name + partialSuffix); err != nil {
		return err
	}
	return j.Folder.remove(j.Name + mapSuffix)
}

func (j *Job) removeOurs(suffix string) error {
	if !j.isOurs(suffix) {
		return nil
	}
	return j.Folder.remove(j.Name + suffix)
}

// isOurs says whether a map was written here, of this volume.
func (j *Job) isOurs(suffix string) bool {
	m, err := j.readMap(j.Name + suffix)
	return err == nil && m.UUID == j.Identity.UUID
}
