package fusefs

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// ioctl answers what can be answered: programs that take a file for a disk ask for its size.
func ioctl(cmd uint32, size int64, output []byte) syscall.Errno {
	if cmd != unix.BLKGETSIZE64 || len(output) < 8 {
		return syscall.ENOTTY
	}
	binary.NativeEndian.PutUint64(output, uint64(size))
	return 0
}
