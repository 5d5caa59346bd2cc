package ggate

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// device is an open /dev/ggctl.
type device struct{ fd int }

// Open opens the system's /dev/ggctl. It fails with ErrNoModule where the module is not loaded; only root may.
func Open() (Control, error) {
	const path = "/dev/ggctl"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoModule
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &device{fd}, nil
}

func (d *device) Close() error { return unix.Close(d.fd) }

// ioctl may wait for as long as there is no request, so it is no RawSyscall.
func (d *device) ioctl(what string, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("geom_gate: %s: %w", what, errno)
		}
	}
}

func (d *device) Create(u *Unit) error {
	arg := newCreateArg(u)
	if err := d.ioctl("create", requestCreate, unsafe.Pointer(arg)); err != nil {
		return err
	}
	u.Number = arg.unit
	return nil
}

func (d *device) Modify(c *Changes) error {
	return d.ioctl("modify", requestModify, unsafe.Pointer(newModifyArg(c)))
}

func (d *device) Destroy(unit int32, force bool) error {
	return d.ioctl("destroy", requestDestroy, unsafe.Pointer(newDestroyArg(unit, force)))
}

func (d *device) Cancel(unit int32) error {
	return d.ioctl("cancel", requestCancel, unsafe.Pointer(newCancelArg(unit)))
}

func (d *device) Start(r *Request) error {
	arg := newIOArg(r)
	arg.length = int64(len(r.Data))
	if err := d.ioctl("start", requestStart, unsafe.Pointer(arg)); err != nil {
		return err
	}
	arg.into(r)
	return nil
}

func (d *device) Done(r *Request) error {
	return d.ioctl("done", requestDone, unsafe.Pointer(newIOArg(r)))
}
