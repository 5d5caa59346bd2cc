package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"lvm2fs/fusefs"
)

// guard starts a process that unmounts mountpoint if this one ends without doing so, as after SIGKILL. It learns of the
// end from a pipe, which only a descriptor of this process holds open.
func guard(mountpoint string) error {
	self, err := executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("auto_unmount: %w", err)
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path:        self,
		Args:        []string{os.Args[0], "umount", "--when-ended", "--", mountpoint},
		Stdin:       r,
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	// A second descriptor of the connection to the kernel would keep the mount alive, and the guard waiting for an answer.
	closeOnExec()
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return fmt.Errorf("auto_unmount: %w", err)
	}
	go func() {
		_ = cmd.Wait()
		runtime.KeepAlive(w) // until then only the end of this process closes it
	}()
	return nil
}

// unmountWhenEnded waits until standard input ends and then takes away the mount if nobody serves it any more.
func unmountWhenEnded(stdin io.Reader, mountpoint string) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if _, err := io.Copy(io.Discard, stdin); err != nil {
		return err
	}
	if _, err := findMount(mountpoint); err != nil {
		return nil // it was unmounted
	}
	if fusefs.Serves(mountpoint) {
		return nil
	}
	return umountOnce(mountpoint, umountLazily)
}
