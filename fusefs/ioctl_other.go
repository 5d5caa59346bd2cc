//go:build !linux

package fusefs

import "syscall"

func ioctl(uint32, int64, []byte) syscall.Errno { return syscall.ENOTTY }
