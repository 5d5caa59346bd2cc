package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const killPriv = fuse.CAP_HANDLE_KILLPRIV_V2

// maxRequest is the most that one request reads or writes, in bytes. Linux allows 1 MiB, but with its header
// that overflows a pipe; 512 KiB measured as fast.
const maxRequest = 512 << 10

// vfsFlags are options that mount(2) takes as flags; fusermount knows them by name.
var vfsFlags = map[string]uintptr{
	"noatime":    unix.MS_NOATIME,
	"nodiratime": unix.MS_NODIRATIME,
	"relatime":   unix.MS_RELATIME,
	"sync":       unix.MS_SYNCHRONOUS,
	"dirsync":    unix.MS_DIRSYNC,
}

// directMount lets root mount by mount(2), without the fuse package's fusermount.
func directMount(mo *fuse.MountOptions) {
	if os.Geteuid() != 0 {
		return
	}
	mo.DirectMount = true
	mo.DirectMountFlags = unix.MS_NOSUID | unix.MS_NODEV
	var names []string
	for _, o := range mo.Options {
		if flag, ok := vfsFlags[o]; ok {
			mo.DirectMountFlags |= flag
			continue
		}
		names = append(names, o)
	}
	mo.Options = names
}

// readAheadSize is how much of a file that is read in order the kernel is to ask for in front, in KiB. It takes 128 of its own accord,
// for which a request costs more than the bytes that it brings.
const readAheadSize = 2048

// readAhead sets that, which only root can. Whoever else has mounted gets his bytes more slowly.
func (s *Server) readAhead() {
	var st unix.Statx_t
	// What the kernel knows without asking is enough: see await.
	if unix.Statx(unix.AT_FDCWD, s.dir, unix.AT_STATX_DONT_SYNC|unix.AT_SYMLINK_NOFOLLOW, 0, &st) != nil || st.Dev_major != 0 {
		return // somebody has unmounted it already
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", st.Dev_major, st.Dev_minor)
	if err := os.WriteFile(path, []byte(strconv.Itoa(readAheadSize)), 0); err != nil && os.Geteuid() == 0 {
		s.log.Debug("the kernel reads ahead as it does", "err", err)
	}
}

// await has nothing to wait for: the kernel mounts before it returns, and keeps requests
// until they are served. Asking the mount itself would be worse than useless: a process
// that is killed while a request to itself is under way can never end, and its mount hangs.
func (s *Server) await(os.FileInfo) error { return nil }

// unmount asks the kernel, and for an ordinary user fusermount does.
func (s *Server) unmount() error {
	err := unix.Unmount(s.dir, unix.UMOUNT_NOFOLLOW)
	// The last handles may have been closed and not yet be released.
	for wait := 5 * time.Millisecond; err == unix.EBUSY && wait < 200*time.Millisecond; wait *= 2 {
		time.Sleep(wait)
		err = unix.Unmount(s.dir, unix.UMOUNT_NOFOLLOW)
	}
	switch err {
	case unix.EINVAL: // it is no longer mounted
		return nil
	case unix.EPERM:
		err = s.fuse.Unmount()
	}
	if err != nil && !errors.Is(err, syscall.EBUSY) && strings.Contains(err.Error(), "busy") {
		return fmt.Errorf("%w: %s", syscall.EBUSY, strings.TrimSpace(err.Error()))
	}
	return err
}

// detach takes a mount out of the tree of directories at once. Requests under way, and those of
// handles still open, are aborted where that is allowed.
func detach(dir string) error {
	// MNT_FORCE ends the connection, but unmounts only what is not in use.
	if err := unix.Unmount(dir, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW); err == nil || err == unix.EINVAL {
		return nil
	}
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != unix.EPERM {
		return err
	}
	for _, bin := range []string{"fusermount3", "fusermount"} {
		path, lookErr := exec.LookPath(bin)
		if lookErr != nil {
			continue
		}
		cmd := exec.Command(path, "-u", "-z", dir)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err = cmd.Run(); err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %s", bin, bytes.TrimSpace(said.Bytes()))
	}
	return err
}
