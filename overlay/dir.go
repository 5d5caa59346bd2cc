package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Dir is a directory of overlays, a file for each LV. It is safe for concurrent use.
//
// A file is locked with flock: by one who writes to it, or else by any number of those who read it.
type Dir struct {
	path string
	root *os.Root // so that the directory may be mounted over, or reached through the mount
}

// suffix of the name of an overlay; before it come the UUIDs of VG and LV.
const suffix = ".overlay"

// OpenDir opens a directory.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{path, root}, nil
}

// Path is what the directory was opened as.
func (d *Dir) Path() string { return d.path }

// Close gives up the directory. Overlays of it that are open stay so.
func (d *Dir) Close() { _ = d.root.Close() }

func fileName(id Identity) (string, error) {
	for _, uuid := range []string{id.VG, id.LV} {
		odd := strings.IndexFunc(uuid, func(r rune) bool {
			return !strings.ContainsRune("-!#", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})
		if uuid == "" || odd >= 0 {
			return "", fmt.Errorf("an overlay for the UUID %q: %w", uuid, errors.ErrUnsupported)
		}
	}
	return id.VG + "_" + id.LV + suffix, nil
}

// File is the path of the file for id, whether it is there or not; "" if there cannot be one.
func (d *Dir) File(id Identity) string {
	name, err := fileName(id)
	if err != nil {
		return ""
	}
	return filepath.Join(d.path, name)
}

// ModTime is when the overlay of id was last changed; zero if there is none.
func (d *Dir) ModTime(id Identity) time.Time {
	name, err := fileName(id)
	if err != nil {
		return time.Time{}
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Check fails if there is an overlay of id that does not belong to id as it is now. It takes no lock.
func (d *Dir) Check(id Identity) error {
	name, err := fileName(id)
	if err != nil {
		return nil // there can be none
	}
	f, err := d.openFile(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	head, err := readHeader(d.file(f, name))
	if err != nil {
		return err
	}
	return head.check(d.file(f, name).Name(), id)
}

// Open opens the overlay of id. Its error wraps fs.ErrNotExist if there is none, ErrForeign if it belongs to id as id was
// once, and syscall.EBUSY if others use it.
func (d *Dir) Open(id Identity, writing bool) (*Overlay, error) {
	name, err := fileName(id)
	if err != nil {
		return nil, err
	}
	f, err := d.lock(name, writing)
	if err != nil {
		return nil, err
	}
	o, err := Open(f, writing)
	if err == nil {
		if err = o.Check(id); err == nil {
			return o, nil
		}
	}
	return nil, errors.Join(err, f.Close())
}

// OpenOrCreate is Open for writing, of a new overlay if there is none.
func (d *Dir) OpenOrCreate(id Identity) (*Overlay, error) {
	o, err := d.Open(id, true)
	if !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	if err := d.create(id); err != nil {
		return nil, err
	}
	return d.Open(id, true)
}

// create makes an overlay under a name that is there only when the overlay is whole.
func (d *Dir) create(id Identity) error {
	name, err := fileName(id)
	if err != nil {
		return err
	}
	part := name + ".new"
	f, err := d.root.OpenFile(part, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", d.path, full(err))
	}
	defer f.Close()
	if err := d.claim(f, part, true); err != nil {
		return err
	}
	if _, err := d.root.Lstat(name); err == nil {
		return d.root.Remove(part) // another one was faster
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if err := Create(d.file(f, part), id); err != nil {
		return errors.Join(err, d.root.Remove(part))
	}
	if err := d.root.Rename(part, name); err != nil {
		return err
	}
	return d.sync()
}

// sync brings names to stable storage.
func (d *Dir) sync() error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// lock opens a file that is there.
func (d *Dir) lock(name string, writing bool) (*osFile, error) {
	flags := os.O_RDONLY
	if writing {
		flags = os.O_RDWR
	}
	f, err := d.openFile(name, flags)
	if err != nil {
		return nil, err
	}
	if err := d.claim(f, name, writing); err != nil {
		f.Close()
		return nil, err
	}
	return d.file(f, name), nil
}

// openFile opens what is there under a name, without waiting for a FIFO to have a writer.
func (d *Dir) openFile(name string, flags int) (*os.File, error) {
	f, err := d.root.OpenFile(name, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	return f, nil
}

func (d *Dir) file(f *os.File, name string) *osFile {
	return &osFile{f, filepath.Join(d.path, name)}
}

// claim locks f, which must be what a name stands for, also when that is done.
func (d *Dir) claim(f *os.File, name string, writing bool) error {
	path := filepath.Join(d.path, name)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is no regular file", path, ErrDamaged)
	}
	if err := lockFile(f, writing); errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%s: another mount or command uses the overlay: %w", path, syscall.EBUSY)
	} else if err != nil {
		return fmt.Errorf("%s: locking: %w", path, err)
	}
	if now, err := d.root.Lstat(name); err != nil || !os.SameFile(info, now) {
		return fmt.Errorf("%s: it was discarded just now: %w", path, syscall.EBUSY)
	}
	return nil
}

// Entry is an overlay of a directory.
type Entry struct {
	Name      string // of the file
	Allocated int64  // bytes on the disk
	// Err is why the rest is not known.
	Err error
	Identity
	Created time.Time
	InUse   bool // by others; Usage is then what it was at the last flush
	Usage   Usage
}

// Entries are all overlays, in the order of the names that their VGs and LVs had.
func (d *Dir) Entries() ([]Entry, error) {
	all, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	var entries []Entry
	for _, e := range all {
		if strings.HasSuffix(e.Name(), suffix) {
			entries = append(entries, d.entry(e.Name()))
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		for _, c := range []int{strings.Compare(a.VGName, b.VGName), strings.Compare(a.LVName, b.LVName)} {
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a.Name, b.Name)
	})
	return entries, nil
}

func (d *Dir) entry(name string) Entry {
	e := Entry{Name: name}
	f, err := d.openFile(name, os.O_RDONLY)
	if err != nil {
		e.Err = err
		return e
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		e.Allocated = info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	if err := d.claim(f, name, false); errors.Is(err, syscall.EBUSY) {
		e.InUse = true
	} else if err != nil {
		e.Err = err
		return e
	}
	o, err := Open(d.file(f, name), false)
	if err != nil {
		e.Err = err
		return e
	}
	e.Identity, e.Created = o.Identity(), o.head.created
	e.Usage, e.Err = o.Usage()
	return e
}

// Discard removes an overlay with all that it holds. Its error wraps syscall.EBUSY if others use it.
func (d *Dir) Discard(name string) error {
	if !strings.HasSuffix(name, suffix) || strings.Contains(name, "/") {
		return fmt.Errorf("%s: %q is no name of an overlay", d.path, name)
	}
	f, err := d.lock(name, true)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := d.root.Remove(name); err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	return d.sync()
}
