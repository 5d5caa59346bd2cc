package raid

import (
	"bytes"
	"errors"
)

// Writing starts and stops writing to an array by what is noted on its disks.
type Writing struct {
	Array  *Array
	Reason string // why it cannot be written, as a phrase; "" if it can be
	notes  Notes  // nil for an array that needs none
	found  []byte // when the notes were last loaded
}

// Notes are what an array has on disk beside its data.
type Notes interface {
	Log
	// Load reads all of it that says in what order the array is, and gives a digest of that. It fails if
	// the array cannot be written; else it is now the log of an array that nobody writes to.
	Load() (found []byte, err error)
	// Finish is called after a time of writing in which nothing failed, when all regions are clean.
	Finish() error
}

// errUsed is why an array is no longer what it was when it was assembled.
var errUsed = errors.New("others have used the array")

// NewWriting is for an array with such notes, nil if it needs none. Unless reason is "", it is why the array cannot be
// written.
func NewWriting(array *Array, notes Notes, reason string) *Writing {
	w := &Writing{Array: array, Reason: reason, notes: notes}
	if reason != "" || notes == nil {
		return w
	}
	found, err := notes.Load()
	if err != nil {
		w.Reason = err.Error()
	}
	w.found = found
	return w
}

// ReadOnlyReason is why the array cannot be written, as a phrase; "" if it can be.
func (w *Writing) ReadOnlyReason() string { return w.Reason }

// StartWriting is called with the devices beneath claimed. It reads the notes again, and fails if others have changed them.
func (w *Writing) StartWriting() error {
	if w.notes == nil {
		return w.Array.StartWriting(nil)
	}
	found, err := w.notes.Load()
	if err != nil {
		return err
	}
	if !bytes.Equal(found, w.found) {
		return errUsed
	}
	return w.Array.StartWriting(w.notes)
}

// StopWriting is called while the devices are still claimed. It brings to stable storage what was written, and leaves the
// notes as those of an array that nobody writes to.
func (w *Writing) StopWriting() error {
	if err := w.Array.StopWriting(); err != nil || w.notes == nil {
		return err
	}
	err := w.notes.Finish()
	if err == nil {
		w.found, err = w.notes.Load()
	}
	return err
}
