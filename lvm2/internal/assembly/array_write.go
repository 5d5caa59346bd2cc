package assembly

import "lvm2fs/raid"

// arrayWriting is the [state] of a RAID or mirror: where it notes which regions are being written.
type arrayWriting struct{ *raid.Writing }

// newArrayWriting is the state of an array that cannot be written because of reason, unless that is "".
func newArrayWriting(array *raid.Array, n raid.Notes, reason string) *arrayWriting {
	return &arrayWriting{raid.NewWriting(array, n, reason)}
}

func (w *arrayWriting) needsCheck() bool { return false }
func (w *arrayWriting) inherit(state)    {}
func (w *arrayWriting) usage() Usage     { return Usage{} }
