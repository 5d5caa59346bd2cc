//go:build freebsd || darwin

package luks

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// machineMemory is how much memory there is in bytes; 0 if that is unknown.
var machineMemory = func() int64 {
	name := "hw.physmem"
	if runtime.GOOS == "darwin" {
		name = "hw.memsize"
	}
	total, err := unix.SysctlUint64(name)
	if err != nil {
		return 0
	}
	return int64(total)
}
