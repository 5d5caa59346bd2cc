package blockdev

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lvm2fs/mapping"
)

// Options change how a device is opened. The zero value is fit for use.
type Options struct {
	// Name is what messages call the device. The default is its path.
	Name string
	// Direct goes past the page cache (O_DIRECT). Linux only.
	Direct bool
}

// Device is an open file or disk.
type Device struct {
	path string
	name string

	absolute string      // the path; "" of what the system did not open
	info     fs.FileInfo // when it was opened: which file or device it is
	isFile   bool
	sector   int64
	hole     int64

	r     backing
	state atomic.Pointer[geometry]
	// reopen opens for writing what r is open on: as exclusively as can be, unless the claim is shared.
	reopen func(shared bool) (backing, error)
	// shared says whether somebody keeps others out for us too; nil: nobody does.
	shared func() bool

	// claim guards the fields below, and is held by all who use w. Only the number of claims may be read
	// without it.
	claim  sync.RWMutex
	w      backing // nil while there is no claim
	claims atomic.Int64
	closed bool

	// flushing is held while w is flushed. The system tells only one of those who flush a descriptor of
	// bytes that it could not write, so the error is remembered here for the others.
	flushing sync.Mutex
	lost     error // since w was opened

	// sizing is held while the size is asked for or changed, and noted.
	sizing sync.Mutex

	// sectors is held for writing by a read-modify-write and for reading by a write
	// of whole sectors.
	sectors sync.RWMutex
}

var _ mapping.WritableDevice = (*Device)(nil)

// Open opens a device or an image file for reading. It refuses what is neither
// (ErrDirectory, ErrNotDisk, ErrNoMedium); other errors wrap the system's
// (fs.ErrNotExist, fs.ErrPermission, ...). Each names the path.
func Open(path string, opts Options) (*Device, error) {
	name := opts.Name
	if name == "" {
		name = path
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(name, 0, err)
	}
	// Before opening, for opening a FIFO waits for a writer.
	if err := refuse(info.Mode()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f, err := openDescriptor(path, os.O_RDONLY|directFlag(opts.Direct))
	if err != nil {
		return nil, openError(name, info.Mode(), err)
	}
	d, err := newOSDevice(f, path, name, opts)
	if err != nil {
		f.Close()
		return nil, openError(name, info.Mode(), err)
	}
	return d, nil
}

func newOSDevice(f *os.File, path, name string, opts Options) (*Device, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := refuse(info.Mode()); err != nil {
		return nil, err
	}
	// The claim comes later, when the working directory may be another.
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	isFile := info.Mode().IsRegular()
	d, err := newDevice(&osFile{f, isFile, opts.Direct}, name, isFile)
	if err != nil {
		return nil, err
	}
	d.path, d.absolute = path, absolute
	d.info = info
	d.reopen = func(shared bool) (backing, error) {
		open := openExclusively
		if shared {
			open = openShared
		}
		w, err := open(absolute, isFile, directFlag(opts.Direct))
		if err != nil {
			return nil, err
		}
		if now, err := w.Stat(); err != nil || !sameMedium(info, now) {
			w.Close()
			return nil, fmt.Errorf("%w: the path names something else", ErrChanged)
		}
		return &osFile{w, isFile, opts.Direct}, nil
	}
	return d, nil
}

func newDevice(r backing, name string, isFile bool) (*Device, error) {
	g, err := r.geometry()
	if err != nil {
		return nil, err
	}
	if !isFile && g.size == 0 {
		return nil, ErrNoMedium
	}
	if g.sector < 1 || g.sector > maxSector || g.sector&(g.sector-1) != 0 {
		return nil, fmt.Errorf("sectors of %d bytes: %w", g.sector, errors.ErrUnsupported)
	}
	d := &Device{name: name, isFile: isFile, sector: g.sector, hole: max(g.hole, g.sector), r: r}
	d.state.Store(&g)
	return d, nil
}

// refuse says why what has this mode is no device to read from.
func refuse(mode fs.FileMode) error {
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return ErrDirectory
	case mode&fs.ModeNamedPipe != 0:
		return fmt.Errorf("is a FIFO, %w", ErrNotDisk)
	case mode&fs.ModeSocket != 0:
		return fmt.Errorf("is a socket, %w", ErrNotDisk)
	case mode&fs.ModeDevice != 0 && isDiskType(mode):
		return nil
	case mode&fs.ModeCharDevice != 0:
		return fmt.Errorf("is a character device, %w", ErrNotDisk)
	case mode&fs.ModeDevice != 0:
		return fmt.Errorf("is a block device, %w", ErrNotDisk)
	}
	return ErrNotDisk
}

// Name is what messages call the device.
func (d *Device) Name() string { return d.name }

// Path is the path given to Open.
func (d *Device) Path() string { return d.path }

// Size is the length in bytes when the device was opened or last refreshed.
func (d *Device) Size() int64 { return d.state.Load().size }

// SectorSize is what offset, length and memory address of an access must be a multiple
// of to need no copy: 1 for image files and Linux block devices, the logical sector
// size of what takes only whole sectors.
func (d *Device) SectorSize() int { return int(d.sector) }

// IsFile tells an image file from a device.
func (d *Device) IsFile() bool { return d.isFile }

// ModTime is when an image file was last changed, as of Open or Refresh. It is the zero
// time for a device, which remembers none.
func (d *Device) ModTime() time.Time { return d.state.Load().modTime }

// File is the descriptor for reading, if it can be read at any offset and length: for
// splice, copy_file_range and the like. It is not the caller's to close and lives until
// Close.
func (d *Device) File() (*os.File, bool) {
	f, ok := d.r.(*osFile)
	if !ok || d.sector != 1 {
		return nil, false
	}
	return f.File, true
}

// Info says which file or device it was when it was opened.
func (d *Device) Info() fs.FileInfo { return d.info }

// Same reports whether both are one file or one device, by whatever paths.
func (d *Device) Same(other mapping.Device) bool {
	o, ok := other.(*Device)
	return ok && (d == o || d.info != nil && o.info != nil && sameMedium(d.info, o.info))
}

// SamePath reports whether two paths lead to one file or device.
func SamePath(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func sameMedium(a, b fs.FileInfo) bool {
	if a.Mode().IsRegular() || b.Mode().IsRegular() {
		return os.SameFile(a, b)
	}
	return deviceNumber(a) == deviceNumber(b) && comparableNodes(a.Mode(), b.Mode())
}

// Refresh reads size and modification time again. Later reads see what was written to the
// disk by another way than this device.
func (d *Device) Refresh() error {
	d.sizing.Lock()
	defer d.sizing.Unlock()
	g, err := d.r.geometry()
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, bare(err))
	}
	d.r.forget()
	d.state.Store(&g)
	return nil
}

// Close ends all claims and closes the device. Accesses afterwards fail with
// os.ErrClosed.
func (d *Device) Close() error {
	d.claim.Lock()
	defer d.claim.Unlock()
	if d.closed {
		return fmt.Errorf("%s: %w", d.name, os.ErrClosed)
	}
	d.closed = true
	err := d.r.Close()
	if d.w != nil {
		err = errors.Join(d.w.Close(), err)
		d.w = nil
		d.claims.Store(0)
	}
	if err != nil {
		return fmt.Errorf("%s: closing: %w", d.name, bare(err))
	}
	return nil
}

// ReadAt reads len(p) bytes at off. It returns io.EOF only for a read that passes Size.
// Another error names the device and the first byte that could not be read; n bytes
// before that one are good. io.ErrUnexpectedEOF: the device ends before Size.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	size := d.Size()
	p, end := mapping.ClipRead(d.name, p, off, size)
	if len(p) == 0 {
		return 0, end
	}
	n, err := d.readSectors(p, off)
	if n == len(p) {
		return n, end
	}
	if err == io.EOF || err == nil {
		return n, d.fault(off+int64(n), fmt.Errorf("%s: %s: %w", d.name, d.shrunk(off+int64(n)), io.ErrUnexpectedEOF))
	}
	return n, d.fault(off+int64(n), fmt.Errorf("%s: reading %d bytes at byte %d: %w", d.name, len(p)-n, off+int64(n), bare(err)))
}

// shrunk says where the device ends, because there is nothing to read at off.
func (d *Device) shrunk(off int64) string {
	was := d.Size()
	// A failed read tells only where it was asked for, not where the device ends; and a disk may still give its old size.
	if g, err := d.r.geometry(); err == nil && g.size <= off {
		return fmt.Sprintf("ends at byte %d, although its size was %d; reading at byte %d", g.size, was, off)
	}
	return fmt.Sprintf("nothing to read at byte %d, although its size was %d", off, was)
}

// fault is the error of an access to the bytes from off on.
func (d *Device) fault(off int64, err error) error {
	return &mapping.Fault{Device: d.name, Offset: off, Err: err}
}

// WriteAt writes len(p) bytes at off. It fails with ErrNotClaimed outside of a claim,
// and with syscall.ENOSPC, having written nothing, where it would pass Size.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	d.claim.RLock()
	defer d.claim.RUnlock()
	if err := d.checkWrite(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := d.writeSectors(p, off)
	if n < len(p) {
		return n, d.fault(off+int64(n), fmt.Errorf("%s: writing %d bytes at byte %d: %w", d.name, len(p)-n, off+int64(n), bare(err)))
	}
	return n, nil
}

// checkWrite says why n bytes at off cannot be changed. The caller holds d.claim.
func (d *Device) checkWrite(off, n int64) error {
	if d.w == nil {
		return fmt.Errorf("%s: %w", d.name, d.notClaimed())
	}
	size := d.Size()
	if d.isFile {
		// A write past the end of a file that was cut short would make it grow, with
		// zeros where its bytes were.
		g, err := d.w.geometry()
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, bare(err))
		}
		if g.size < size {
			return fmt.Errorf("%s: %w: it has %d bytes and had %d", d.name, ErrChanged, g.size, size)
		}
	}
	return mapping.CheckWrite(d.name, off, n, size)
}

func (d *Device) notClaimed() error {
	if d.closed {
		return os.ErrClosed
	}
	return ErrNotClaimed
}

// Sync returns once all that was written is on stable storage. Once it has failed it goes on to fail, for all
// who have claimed the device, until the last one has released it.
func (d *Device) Sync() error {
	d.claim.RLock()
	defer d.claim.RUnlock()
	if d.w == nil {
		return fmt.Errorf("%s: %w", d.name, d.notClaimed())
	}
	d.flushing.Lock()
	defer d.flushing.Unlock()
	if d.lost != nil {
		return d.lost
	}
	if err := d.w.flush(); err != nil {
		d.lost = fmt.Errorf("%s: flushing: %w", d.name, bare(err))
	}
	return d.lost
}
