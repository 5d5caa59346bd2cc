package cli

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func thisHost() hostFUSE {
	_, err := os.Stat("/dev/fuse")
	users, sysctlErr := unix.SysctlUint32("vfs.usermount")
	return hostFUSE{os: runtime.GOOS, root: os.Geteuid() == 0, device: err == nil, usersMount: sysctlErr != nil || users != 0}
}
