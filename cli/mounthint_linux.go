package cli

import "runtime"

// thisHost: on Linux the kernel's and fusermount's own messages say enough.
func thisHost() hostFUSE { return hostFUSE{os: runtime.GOOS, device: true} }
