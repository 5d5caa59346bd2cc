package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// umountOnce asks the kernel, as root, or fusermount, which may for others. The error of
// a mount in use wraps EBUSY.
func umountOnce(mountpoint string, how umountHow) error {
	if os.Geteuid() == 0 {
		return unmountAsRoot(mountpoint, how)
	}
	fusermount, err := exec.LookPath("fusermount3")
	if err != nil {
		if fusermount, err = exec.LookPath("fusermount"); err != nil {
			return errors.New("neither fusermount3 nor fusermount found")
		}
	}
	args := []string{"-u"}
	if how != umountUnused {
		args = append(args, "-z")
	}
	if how == umountByForce {
		// fusermount knows no force.
		if err := abortConnection(mountpoint); err != nil {
			return err
		}
	}
	cmd := exec.Command(fusermount, append(args, "--", mountpoint)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if _, err := findMount(mountpoint); how == umountByForce && errors.Is(err, errNoMount) {
		return nil // the daemon, cut off, was quicker
	}
	said := strings.TrimSpace(string(output))
	if strings.Contains(said, "busy") {
		err = syscall.EBUSY
	}
	return fmt.Errorf("%s: %w", said, err)
}

func unmountAsRoot(mountpoint string, how umountHow) error {
	const flags = unix.UMOUNT_NOFOLLOW
	switch how {
	case umountLazily:
		return unix.Unmount(mountpoint, flags|unix.MNT_DETACH)
	case umountByForce:
		// MNT_FORCE ends the connection to the daemon, but unmounts only what is not in use.
		err := unix.Unmount(mountpoint, flags|unix.MNT_FORCE)
		if err != unix.EBUSY {
			return err
		}
		return unix.Unmount(mountpoint, flags|unix.MNT_DETACH)
	}
	return unix.Unmount(mountpoint, flags)
}

// abortConnection cuts off the daemon of a mount, which the mounting user is allowed to do. All who use its files get
// errors.
func abortConnection(mountpoint string) error {
	m, err := findMount(mountpoint)
	if err != nil {
		return err
	}
	err = os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", m.number), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; is fusectl mounted on /sys/fs/fuse/connections?", err)
	}
	return err
}
