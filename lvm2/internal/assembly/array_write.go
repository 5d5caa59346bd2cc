package assembly

import (
	"errors"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/raid"
)

// arrayWriting is the [state] of a RAID or mirror: where it notes which regions are being written.
type arrayWriting struct {
	*raid.Writing
	layers []*dm.Checked // of the legs that are written
}

// newArrayWriting is the state of an array that cannot be written because of reason, unless that is "".
func newArrayWriting(array *raid.Array, n raid.Notes, reason string) *arrayWriting {
	return &arrayWriting{Writing: raid.NewWriting(array, n, reason)}
}

// StartWriting implements [state].
func (w *arrayWriting) StartWriting() error {
	for _, layer := range w.layers {
		if err := layer.StartWriting(); err != nil {
			return err
		}
	}
	return w.Writing.StartWriting()
}

// StopWriting implements [state].
func (w *arrayWriting) StopWriting() error {
	err := w.Writing.StopWriting()
	for _, layer := range w.layers {
		err = errors.Join(err, layer.StopWriting())
	}
	return err
}

func (w *arrayWriting) needsCheck() bool { return false }
func (w *arrayWriting) inherit(state)    {}
func (w *arrayWriting) usage() Usage     { return Usage{} }
