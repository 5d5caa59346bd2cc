package copyout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrName is wrapped by the error for a name that would lead out of its directory.
var ErrName = errors.New("not fit for a file name")

// Folder is a directory whose entries are reached by their plain name, one step at a time and
// through no link, whatever somebody else puts there meanwhile.
type Folder struct {
	path   string
	parent *Folder // of one that does not exist yet
	name   string
	dir    *os.File // nil while it does not exist

	before func(op, name string) error // lets a test fail or stop a change
}

// OpenFolder opens the directory at path, which may lead through links: it is the caller's
// choice.
func OpenFolder(path string) (*Folder, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := dir.Stat(); err != nil || !info.IsDir() {
		dir.Close()
		if err == nil {
			err = &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
		}
		return nil, err
	}
	return &Folder{path: path, dir: dir}, nil
}

// Sub is a directory in f. If it does not exist it is empty, and made when the first
// file is.
func (f *Folder) Sub(name string) (*Folder, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	sub := &Folder{path: filepath.Join(f.path, name), parent: f, name: name, before: f.before}
	if err := sub.open(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return sub, nil
}

func (f *Folder) open() error {
	if f.parent.dir == nil {
		return fs.ErrNotExist
	}
	st, err := f.parent.stat(f.name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return fmt.Errorf("%s is a symbolic link, which dump does not follow", f.path)
	}
	f.dir, err = f.parent.openFile(f.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return err
}

// make makes the directory if there is none.
func (f *Folder) make() error {
	if f.dir != nil {
		return nil
	}
	err := f.parent.change("mkdir", f.name, func(dir int) error { return unix.Mkdirat(dir, f.name, 0o750) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.open()
}

// existing is f, or what it is going to be made in.
func (f *Folder) existing() *Folder {
	for f.dir == nil {
		f = f.parent
	}
	return f
}

// checkWritable fails if this user may not make files in f, or f itself.
func (f *Folder) checkWritable() error {
	at := f.existing()
	err := retry(func() error {
		return unix.Faccessat(int(at.dir.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	})
	if err != nil {
		return &fs.PathError{Op: "write to", Path: at.path, Err: err}
	}
	return nil
}

// Path is where the file called name would be, for messages.
func (f *Folder) Path(name string) string { return filepath.Join(f.path, name) }

// Close gives up the directory.
func (f *Folder) Close() {
	if f.dir != nil {
		f.dir.Close()
	}
}

// FileSystemID tells file systems apart.
type FileSystemID = unix.Fsid

// FreeSpace is how many bytes the file system of f has left for this user.
func (f *Folder) FreeSpace() (FileSystemID, int64, error) {
	st, err := statfs(f.existing().dir)
	if err != nil {
		return FileSystemID{}, 0, err
	}
	return st.Fsid, max(0, int64(st.Bavail)) * blockSize(st), nil
}

func statfs(f *os.File) (*unix.Statfs_t, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return &st, nil
}

func (f *Folder) stat(name string) (*unix.Stat_t, error) {
	if f.dir == nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Path(name), Err: unix.ENOENT}
	}
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(f.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Path(name), Err: err}
	}
	return &st, nil
}

// trusts says whether nobody but this user, or root, can have written a file of f, or have
// put it under the name that it has: by moving the user's own files, a note would come to
// stand beside a file that it does not fit.
func (f *Folder) trusts(file *unix.Stat_t) bool {
	const others = 0o022
	dir, err := fstat(f.dir)
	if err != nil {
		return false
	}
	user := uint32(os.Geteuid())
	movable := dir.Uid != user && dir.Uid != 0 || dir.Mode&others != 0 && dir.Mode&unix.S_ISVTX == 0
	return !movable && file.Uid == user && file.Mode&others == 0
}

func fstat(f *os.File) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(int(f.Fd()), &st) }); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return &st, nil
}

func (f *Folder) openFile(name string, flag int, perm uint32) (*os.File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(int(f.dir.Fd()), name, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.Path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Path(name)), nil
}

// create makes a file that did not exist.
func (f *Folder) create(name string) (*os.File, error) {
	var file *os.File
	err := f.change("create", name, func(int) (err error) {
		file, err = f.openFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o640)
		return err
	})
	return file, err
}

func (f *Folder) rename(from, to string) error {
	return f.change("rename", to, func(dir int) error { return unix.Renameat(dir, from, dir, to) })
}

// renameNew is rename for a name that nothing may have taken.
func (f *Folder) renameNew(from, to string) error {
	return f.change("rename", to, func(dir int) error { return renameNoReplace(dir, from, to) })
}

// remove is content if there is nothing to remove.
func (f *Folder) remove(name string) error {
	err := f.change("remove", name, func(dir int) error { return unix.Unlinkat(dir, name, 0) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sync returns once all names in f are on stable storage.
func (f *Folder) sync() error {
	err := f.dir.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // a file system without such a thing
	}
	return err
}

func (f *Folder) change(op, name string, do func(dir int) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	if f.before != nil {
		if err := f.before(op, name); err != nil {
			return err
		}
	}
	err := retry(func() error { return do(int(f.dir.Fd())) })
	var path *fs.PathError
	if err != nil && !errors.As(err, &path) {
		return &fs.PathError{Op: op, Path: f.Path(name), Err: err}
	}
	return err
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r < ' ' }) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// retry repeats what a signal has interrupted; the Go runtime sends itself many.
func retry(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// renameChecked is rename for a name that is not taken, as far as a look just before can
// tell.
func renameChecked(dir int, from, to string) error {
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, to, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		return unix.EEXIST
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	return unix.Renameat(dir, from, dir, to)
}
