package attach

import "errors"

var (
	// ErrNotAttached: the device is made of nothing, or the LV is attached nowhere.
	ErrNotAttached = errors.New("not attached")
	// ErrStillOpen: the device is open. It goes when the last who has it open closes it.
	ErrStillOpen = errors.New("somebody still has it open; it goes when that is closed")
)
