package assembly

import (
	"bytes"
	"errors"

	"lvm2fs/raid"
)

// arrayWriting is the [state] of a RAID or mirror: where it notes which regions are being written.
type arrayWriting struct {
	array  *raid.Array
	reason string // why it cannot be written
	notes  notes  // nil for an array that needs none
	found  []byte // when the notes were last loaded
}

// notes are what an array has on disk beside its data.
type notes interface {
	raid.Log
	// load reads all of it that says in what order the array is, and gives a digest of that. It fails if
	// the array cannot be written; else it is now the log of an array that nobody writes to.
	load() (found []byte, err error)
	// finish is called after a time of writing in which nothing failed, when all regions are clean.
	finish() error
}

// newArrayWriting is the state of an array that cannot be written because of reason, unless that is "".
func newArrayWriting(array *raid.Array, n notes, reason string) *arrayWriting {
	w := &arrayWriting{array: array, reason: reason, notes: n}
	if reason != "" || n == nil {
		return w
	}
	found, err := n.load()
	if err != nil {
		w.reason = err.Error()
	}
	w.found = found
	return w
}

// ReadOnlyReason implements [state].
func (w *arrayWriting) ReadOnlyReason() string { return w.reason }

// StartWriting implements [state].
func (w *arrayWriting) StartWriting() error {
	if w.notes == nil {
		return w.array.StartWriting(nil)
	}
	found, err := w.notes.load()
	if err != nil {
		return err
	}
	if !bytes.Equal(found, w.found) {
		return errors.New("others have used the array")
	}
	return w.array.StartWriting(w.notes)
}

// StopWriting implements [state].
func (w *arrayWriting) StopWriting() error {
	if err := w.array.StopWriting(); err != nil || w.notes == nil {
		return err
	}
	err := w.notes.finish()
	if err == nil {
		w.found, err = w.notes.load()
	}
	return err
}

func (w *arrayWriting) needsCheck() bool { return false }
func (w *arrayWriting) inherit(state)    {}
func (w *arrayWriting) usage() Usage     { return Usage{} }
