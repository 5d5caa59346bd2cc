package attach

import "errors"

var (
	// ErrNotAttached: a device that is made of nothing, or an LV that is attached nowhere.
	ErrNotAttached = errors.New("not attached")
	// ErrStillOpen: a device that goes when the last who has it open closes it.
	ErrStillOpen = errors.New("somebody still has it open; it goes when that is closed")
)
