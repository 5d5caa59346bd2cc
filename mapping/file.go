package mapping

import "os"

// FileDevice is a Device that may be one open file of this system.
type FileDevice interface {
	Device
	// File is the file that has the device's bytes at the device's own offsets, for copying without a way through this
	// process. It says false if there is none, or none that may be read with any alignment. It is not to be closed.
	File() (*os.File, bool)
}
