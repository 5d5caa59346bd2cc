//go:build !linux

package integration

import (
	"os/exec"

	"golang.org/x/sys/unix"
)

// Elsewhere a thread cannot be another user, so tests run as whoever runs them.
const canBecome = false

func (who person) become(*exec.Cmd) {}

func (who person) do(f func() error) error { return f() }

func forceUnmount(dir string) { _ = unix.Unmount(dir, unix.MNT_FORCE) }
