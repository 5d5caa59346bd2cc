package blockdev

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDescriptors bounds how many descriptors of other processes are looked at.
const maxDescriptors = 1 << 17

// identity tells one file or device from others.
type identity struct {
	device, inode uint64 // inode is 0 for a device
}

func identityOf(info fs.FileInfo) identity {
	st := statOf(info)
	if info.Mode()&fs.ModeDevice != 0 {
		return identity{device: st.Rdev}
	}
	return identity{st.Dev, st.Ino}
}

// descriptor is an open file of another process.
type descriptor struct {
	pid    int
	number string
}

// writers are the other processes that have one of these open for writing. Of those of other users only root is told.
func (k kernel) writers(of []identity) []int {
	all := k.descriptors()
	var found []int
	for _, id := range of {
		for _, d := range all[id] {
			dir := filepath.Join(k.proc, strconv.Itoa(d.pid))
			// It may have been closed since, and its number be that of another file.
			now, _ := opened(filepath.Join(dir, "fd", d.number))
			if now == id && !slices.Contains(found, d.pid) && k.isForWriting(filepath.Join(dir, "fdinfo", d.number)) {
				found = append(found, d.pid)
			}
		}
	}
	slices.Sort(found)
	return found
}

// descriptors are those of all other processes, by what they are open on.
func (k kernel) descriptors() map[identity][]descriptor {
	if k.recalled != nil {
		return k.recalled.descriptors()
	}
	all := map[identity][]descriptor{}
	looked := 0
	for _, name := range entries(k.proc) {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join(k.proc, name, "fd")
		for _, number := range entries(dir) {
			if looked++; looked > maxDescriptors {
				return all
			}
			if id, ok := opened(filepath.Join(dir, number)); ok {
				all[id] = append(all[id], descriptor{pid, number})
			}
		}
	}
	return all
}

// opened is the file or block device that a descriptor of a process is open on; not ok for all else. It asks no file
// system, because that may not answer, or be the one that this process serves.
func opened(path string) (id identity, ok bool) {
	if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "/") {
		return id, false // a socket, a pipe
	}
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_INO, &st) != nil {
		return id, false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return identity{device: unix.Mkdev(st.Rdev_major, st.Rdev_minor)}, true
	case unix.S_IFREG:
		return identity{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, true
	}
	return id, false
}

func (k kernel) isForWriting(fdinfo string) bool {
	for line := range strings.Lines(k.read(fdinfo)) {
		if text, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// openFor is the process pid, which has the device open for writing.
func (k kernel) openFor(pid int) Holder {
	what := fmt.Sprintf("open for writing by process %d", pid)
	if name := k.read(k.proc, strconv.Itoa(pid), "comm"); name != "" {
		what += " (" + shellWord(name) + ")"
	}
	return Holder{What: what, Release: "kill " + strconv.Itoa(pid)}
}

// The bytes of an image that QEMU locks while it writes to it or changes its size. One that only reads locks others.
const (
	qemuWrites  = 101
	qemuResizes = 103
)

// isLockedByWriter says whether another open of the file holds locks of fcntl(2) as a writer does.
func isLockedByWriter(f *os.File) bool {
	for _, ask := range []unix.Flock_t{
		{Type: unix.F_RDLCK}, // which only a lock for writing, anywhere in the file, keeps out
		{Type: unix.F_WRLCK, Start: qemuWrites, Len: 1},
		{Type: unix.F_WRLCK, Start: qemuResizes, Len: 1},
	} {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &ask)
		if err == nil && ask.Type != unix.F_UNLCK && int(ask.Pid) != os.Getpid() {
			return true
		}
	}
	return false
}
