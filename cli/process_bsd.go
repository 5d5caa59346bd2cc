//go:build freebsd || darwin

package cli

import "time"

// process is one that is waited for, without being its parent.
type process struct{ pid int }

func watch(pid int) process { return process{pid} }

func (p process) close() {}

// endsWithin says whether the process ends within limit.
func (p process) endsWithin(limit time.Duration) bool { return pollEnd(p.pid, limit) }
