package mapping

import (
	"errors"
	"syscall"
)

// Conditions that several layers meet, each under an error of its own that wraps one of these. Who turns errors into
// numbers needs to know these only.
var (
	// ErrMissing is wrapped by the error of every access to bytes that are lost: on a PV that was not given, beyond the
	// end of a device that is too short, in a segment of type error.
	ErrMissing = errors.New("missing")
	// ErrNotWritable is wrapped by the error of a write to a volume that has no way to write.
	ErrNotWritable = errors.New("not writable")
	// ErrInUse is wrapped by the error of a claim that something else holds.
	ErrInUse = errors.New("in use")
	// ErrChanged is wrapped by the error of a device or image that is no longer what was opened.
	ErrChanged = errors.New("changed since it was opened")
	// ErrNoSpace is wrapped by the error of a write for which there is no room; see [NoSpace].
	ErrNoSpace = errors.New("no room left")
)

// NoSpace says whether a write failed for want of room: with ErrNoSpace, or with what the system says of a full disk, of a
// quota, or of a file that must not become longer.
func NoSpace(err error) bool {
	for _, full := range []error{ErrNoSpace, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}
