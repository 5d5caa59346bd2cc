package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type umountCmd struct {
	Lazy  bool `short:"l" help:"Take the mount out of its directory at once; files that are open stay usable, and the process ends when they are closed."`
	Force bool `short:"f" help:"Unmount although files are in use; what was written is synced, and open files fail from now on."`

	WhenEnded bool `hidden:"" help:"Wait for the end of standard input, then unmount if the process behind the mount is gone."`

	Mountpoints []string `arg:"" name:"mountpoint" help:"Where lvm2fs is mounted."`
}

// Help is shown by lvm2fs umount --help, between the synopsis and the flags.
func (umountCmd) Help() string {
	return `Examples:
  lvm2fs umount /mnt/lvm
  lvm2fs umount -f /mnt/lvm            although files are in use

Returns when the process behind the mount has ended: all that was written is on disk,
and the devices are free. umount(8) and fusermount3 -u work too, but do not wait.`
}

func (c *umountCmd) Run(a *app) error {
	var errs []error
	for _, path := range c.Mountpoints {
		errs = append(errs, c.umount(a, path))
	}
	return errors.Join(errs...)
}

// umountHow says what becomes of files that are open.
type umountHow int

const (
	umountUnused  umountHow = iota // there must be none
	umountLazily                   // they stay open
	umountByForce                  // they fail
)

func (c *umountCmd) umount(a *app, path string) error {
	mountpoint, err := resolve(path)
	if err != nil {
		return err
	}
	if c.WhenEnded {
		return unmountWhenEnded(a.stdin, mountpoint)
	}
	if _, err := findMount(mountpoint); err != nil {
		return err
	}
	ended := func(time.Duration) bool { return true }
	pid, err := daemonPID(mountpoint)
	if err == nil {
		daemon := watch(pid)
		defer daemon.close()
		ended = daemon.endsWithin
	}
	switch {
	case c.Force:
		// The daemon, cut off, syncs what was written.
		err = umountOnce(mountpoint, umountByForce)
	case c.Lazy:
		// The process ends whenever the last file is closed.
		return wrapUmount(mountpoint, umountOnce(mountpoint, umountLazily))
	default:
		err = umountPatiently(mountpoint)
	}
	if err != nil {
		if errors.Is(err, syscall.EBUSY) {
			users := usersOf(mountpoint)
			if len(users) == 0 {
				return fmt.Errorf("%s is busy, by whom root can see", mountpoint)
			}
			return fmt.Errorf("%s is busy: %s", mountpoint, strings.Join(users, ", "))
		}
		return wrapUmount(mountpoint, err)
	}
	if !ended(time.Minute) {
		a.warnf("%s is unmounted, but process %d is still busy with its devices", mountpoint, pid)
	}
	return nil
}

func wrapUmount(mountpoint string, err error) error {
	if err != nil {
		return fmt.Errorf("unmount %s: %w", mountpoint, err)
	}
	return nil
}

// umountPatiently gives those a moment who are just about to close a file, like a loop
// device that was given up.
func umountPatiently(mountpoint string) error {
	for attempt := 0; ; attempt++ {
		err := umountOnce(mountpoint, umountUnused)
		if !errors.Is(err, syscall.EBUSY) || attempt == 5 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// daemonPID asks the daemon of a mount who it is.
func daemonPID(mountpoint string) (int, error) {
	value := make([]byte, 32)
	n, err := unix.Getxattr(mountpoint, xattrPID, value)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(string(value[:n]))
	if err == nil && pid <= 0 {
		err = fmt.Errorf("no process: %d", pid)
	}
	return pid, err
}

// pollEnd says whether the process ends within limit, by looking again and again.
func pollEnd(pid int, limit time.Duration) bool {
	end := time.Now().Add(limit)
	for pause := time.Millisecond; time.Now().Before(end); pause = min(2*pause, 100*time.Millisecond) {
		// EPERM is a process too, of another user.
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return true
		}
		time.Sleep(pause)
	}
	return false
}
