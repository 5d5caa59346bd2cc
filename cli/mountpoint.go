package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"lvm2fs/fusefs"
)

// mountEntry is a line of the system's mount table.
type mountEntry struct {
	source, dir, fsType string
	readOnly            bool
	number              int // of the file system: by its minor number Linux numbers FUSE's connections
}

// The extended attributes of a mount's root that commands use to talk to its daemon.
const (
	xattrReload = "user.lvm2.reload"
	xattrPID    = "user.lvm2.pid"
)

// resolve is the absolute path of a mountpoint, without symbolic links. It does not
// touch the directory itself, which may be the mount of a daemon that is gone.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return filepath.EvalSymlinks(path)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// findMount finds the topmost mount at dir. It fails if that is not one of lvm2fs.
func findMount(dir string) (mountEntry, error) {
	mounts, err := mountTable()
	if err != nil {
		return mountEntry{}, err
	}
	found := mountEntry{}
	for _, m := range mounts {
		if m.dir == dir {
			found = m
		}
	}
	if !found.isLVM2FS() {
		return found, fmt.Errorf("%s is %w", dir, errNoMount)
	}
	return found, nil
}

var errNoMount = errors.New("not a mount of lvm2fs")

// isLVM2FS trusts the type in the mount table, which is there even when the daemon is
// not, and asks the daemon where the user has chosen another type.
func (m mountEntry) isLVM2FS() bool {
	if strings.HasSuffix(m.fsType, ".lvm2fs") {
		return true
	}
	if !strings.Contains(m.fsType, "fuse") {
		return false
	}
	_, err := daemonPID(m.dir)
	return err == nil
}

// checkMountpoint refuses what could not work or would deadlock, before anything is
// opened.
func checkMountpoint(dir string, devices []string) error {
	_, err := findMount(dir)
	mounted := err == nil
	info, err := os.Stat(dir)
	switch {
	case mounted && !fusefs.Serves(dir), fusefs.DaemonGone(info, err):
		return fmt.Errorf("%s is a mount whose daemon is gone; lvm2fs umount %[1]s takes it away", dir)
	case err != nil:
		return fmt.Errorf("mountpoint: %w", err)
	case !info.IsDir():
		return fmt.Errorf("mountpoint %s is not a directory", dir)
	case mounted:
		return fmt.Errorf("%s is a mount of lvm2fs already; -o remount reads its metadata again", dir)
	}
	if os.Geteuid() != 0 {
		// fusermount asks for this too, but says it in words of its own.
		if err := unix.Access(dir, unix.W_OK); err != nil {
			return fmt.Errorf("mountpoint %s cannot be written by you, which mounting needs: %w", dir, err)
		}
	}
	for _, device := range devices {
		if under(device, info) {
			return fmt.Errorf("%s lies under the mountpoint %s, which would hide it", device, dir)
		}
	}
	return nil
}

// under says whether path leads through the directory dir, by its own names or after
// following symbolic links.
func under(path string, dir os.FileInfo) bool {
	paths := []string{path}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		paths = append(paths, resolved)
	}
	for _, p := range paths {
		for parent := filepath.Dir(p); ; parent = filepath.Dir(parent) {
			if info, err := os.Stat(parent); err == nil && os.SameFile(info, dir) {
				return true
			}
			if parent == filepath.Dir(parent) {
				break
			}
		}
	}
	return false
}

// reload has the daemon of a mount read the metadata again, waits until it has, and says what that has found. It
// asks by reading an attribute, which works on a read-only mount too.
func (a *app) reload(mountpoint string) error {
	text := make([]byte, fusefs.MaxReport)
	n, err := unix.Getxattr(mountpoint, xattrReload, text)
	if err != nil {
		return fmt.Errorf("reload of %s: %w", mountpoint, err)
	}
	report := fusefs.DecodeReport(string(text[:n]))
	for _, line := range report.Changes {
		a.log.Info(line)
	}
	for _, line := range report.Warnings {
		a.log.Warn(line)
	}
	if report.Failed != "" {
		return fmt.Errorf("%s still shows the old metadata: %s", mountpoint, report.Failed)
	}
	return nil
}
