package cli

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// process is one that is waited for, without being its parent.
type process struct {
	pid, fd int // fd is a pidfd; less than 0 on kernels before 5.3
}

func watch(pid int) process {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return process{pid, fd}
}

func (p process) close() {
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
	}
}

// endsWithin says whether the process ends within limit. A pidfd tells so at once,
// while the process ID stays in use until some init gets round to the zombie.
func (p process) endsWithin(limit time.Duration) bool {
	if p.fd < 0 {
		return pollEnd(p.pid, limit)
	}
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if !errors.Is(err, unix.EINTR) || left <= 0 {
			return n > 0
		}
	}
}
