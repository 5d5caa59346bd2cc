package blockdev

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openDescriptor opens path outside of Go's poller, which has nothing to offer to disks.
func openDescriptor(path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		// Only O_EXLOCK needed O_NONBLOCK.
		if flags&unix.O_NONBLOCK != 0 {
			if err := unix.SetNonblock(fd, false); err != nil {
				unix.Close(fd)
				return nil, &fs.PathError{Op: "open", Path: path, Err: err}
			}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

func (f *osFile) fileGeometry() (geometry, error) {
	info, err := f.Stat()
	if err != nil {
		return geometry{}, err
	}
	return geometry{size: info.Size(), sector: 1, hole: 1, modTime: info.ModTime()}, nil
}

func (f *osFile) ioctlInt(request uint) (int64, error) {
	n, err := unix.IoctlGetInt(int(f.Fd()), request)
	return int64(n), err
}
