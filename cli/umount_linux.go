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
func umountOnce(mountpoint string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(mountpoint, unix.UMOUNT_NOFOLLOW)
	}
	fusermount, err := exec.LookPath("fusermount3")
	if err != nil {
		if fusermount, err = exec.LookPath("fusermount"); err != nil {
			return errors.New("neither fusermount3 nor fusermount found")
		}
	}
	cmd := exec.Command(fusermount, "-u", "--", mountpoint)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(string(output))
	if strings.Contains(said, "busy") {
		err = syscall.EBUSY
	}
	return fmt.Errorf("%s: %w", said, err)
}
