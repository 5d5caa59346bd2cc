package cli

import (
	"os"
	"runtime"
)

func thisHost() hostFUSE {
	_, err := os.Stat("/Library/Filesystems/macfuse.fs")
	return hostFUSE{os: runtime.GOOS, root: os.Geteuid() == 0, device: err == nil}
}
