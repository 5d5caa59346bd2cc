package integration

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const canBecome = true

// become makes a command run as who.
func (who person) become(cmd *exec.Cmd) {
	if who != me() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}}
	}
}

// do runs f on a thread that is who's, which then ends. A mount lets only its owner in,
// not even root.
func (who person) do(f func() error) error {
	if who == me() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		defer close(done)
		// Not unlocked, so that the thread ends with this function.
		runtime.LockOSThread()
		done <- func() error {
			// Unlike syscall.Setuid, these change this thread alone.
			if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
				return errno
			}
			gid, uid := uintptr(who.gid), uintptr(who.uid)
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
				return errno
			}
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
				return errno
			}
			return f()
		}()
	}()
	err, ok := <-done
	if !ok {
		return errors.New("the test was ended, as by t.Fatal, on another goroutine than its own")
	}
	return err
}

func forceUnmount(dir string) { _ = unix.Unmount(dir, unix.MNT_DETACH) }
