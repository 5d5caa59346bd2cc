package fusefs

import (
	"errors"
	"os"
	"syscall"
)

// DaemonGone tells from what the system answers to stat, or to any other request, whether the process behind a mount is
// gone. Linux answers everything with ENOTCONN; FreeBSD answers stat with attributes that are all zero and everything
// else with ENXIO; macOS with ENXIO or ENOTCONN. Other errors, EACCES above all, do not tell. info is nil if there is
// an error, or if the request was not stat.
func DaemonGone(info os.FileInfo, err error) bool {
	if err != nil {
		return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ENXIO)
	}
	if info == nil {
		return false
	}
	// A directory that is there has a number, and a link at least.
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Ino == 0 && stat.Nlink == 0
}

// Serves says whether a process is behind what is mounted at dir.
func Serves(dir string) bool {
	info, err := os.Stat(dir)
	if DaemonGone(info, err) {
		return false
	}
	_, err = os.ReadDir(dir)
	return !DaemonGone(nil, err)
}
