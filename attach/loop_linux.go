package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Loop says what a loop device is to be made of. Offsets and sizes are in bytes.
type Loop struct {
	File      *os.File // may be closed afterwards: the device keeps what it is open on, and its locks
	Offset    int64    // a multiple of 512
	Size      int64    // 0: up to the end of the file
	BlockSize int      // the logical block size, a power of two from 512 to 4096
	ReadOnly  bool
	Partition bool   // make devices of the partitions in it
	Mark      string // what tells the device from others', at most 63 bytes
}

// maxMark is the room for a mark, without the zero that ends it.
const maxMark = 63

// maxTries bounds how often another may take the free device that the kernel has just named.
const maxTries = 64

// Configure makes a loop device. It uses direct I/O if what lies beneath takes that with such an offset and block size.
// intend is told the path of the device before it is made. If it fails, no device is made.
// (docs/format/10-block-devices.md, section 1)
func (l *Loop) Configure(intend func(device string) error) (device string, err error) {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("/dev/loop-control: %w (modprobe loop)", err)
	}
	defer unix.Close(control)
	for range maxTries {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("a free loop device: %w", err)
		}
		device := fmt.Sprintf("/dev/loop%d", n)
		if err := intend(device); err != nil {
			return "", err
		}
		err = l.configure(device)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return "", fmt.Errorf("a free loop device: others take all of them: %w", unix.EBUSY)
}

func (l *Loop) configure(device string) error {
	loop, err := openLoop(device, l.ReadOnly)
	if err != nil {
		return err
	}
	defer loop.Close()
	config := unix.LoopConfig{Fd: uint32(l.File.Fd()), Size: uint32(l.BlockSize)}
	config.Info.Offset = uint64(l.Offset)
	config.Info.Sizelimit = uint64(l.Size)
	config.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	copy(config.Info.File_name[:maxMark], l.Mark)
	if l.ReadOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	if l.Partition {
		config.Info.Flags |= unix.LO_FLAGS_PARTSCAN
	}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	if l.ReadOnly {
		return nil
	}
	// It may have been made read-only when it was made of something else.
	if err := setReadOnly(loop, false); err != nil {
		return errors.Join(err, unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0))
	}
	return nil
}

// openLoop waits for the node of a device that was made just now.
func openLoop(device string, readOnly bool) (*os.File, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	for wait := time.Millisecond; ; wait *= 2 {
		f, err := os.OpenFile(device, flags|unix.O_CLOEXEC, 0)
		if err == nil || !errors.Is(err, os.ErrNotExist) || wait > 500*time.Millisecond {
			return f, err
		}
		time.Sleep(wait)
	}
}

// LoopStatus is what a loop device is made of.
type LoopStatus struct {
	Mark      string
	Offset    int64
	SizeLimit int64
	ReadOnly  bool
	DirectIO  bool
	Partition bool
	Autoclear bool // it goes when the last who has it open closes it
}

// IsMadeOf says whether a loop device has this mark and this backing file. When the process behind the file is gone, the
// mark cannot be had either; then the file alone tells.
func IsMadeOf(device, mark, backing string) bool {
	if Backing(device) != backing {
		return false
	}
	status, err := Status(device)
	return err == nil && status.Mark == mark || err != nil && !errors.Is(err, ErrNotAttached)
}

// Backing is what the kernel calls the file of a loop device; "" if it has none.
func Backing(device string) string {
	text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(device), "loop/backing_file"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), " (deleted)")
}

// Status is that of a loop device; ErrNotAttached if it is made of nothing.
func Status(device string) (LoopStatus, error) {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) {
			return LoopStatus{}, ErrNotAttached
		}
		return LoopStatus{}, err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOTTY):
		return LoopStatus{}, ErrNotAttached
	case err != nil:
		return LoopStatus{}, fmt.Errorf("%s: %w", device, err)
	}
	has := func(flag uint32) bool { return info.Flags&flag != 0 }
	return LoopStatus{
		Mark:      unix.ByteSliceToString(info.File_name[:]),
		Offset:    int64(info.Offset),
		SizeLimit: int64(info.Sizelimit),
		ReadOnly:  has(unix.LO_FLAGS_READ_ONLY),
		DirectIO:  has(unix.LO_FLAGS_DIRECT_IO),
		Partition: has(unix.LO_FLAGS_PARTSCAN),
		Autoclear: has(unix.LO_FLAGS_AUTOCLEAR),
	}, nil
}

// Refit has a loop device cover its file, whose size has changed, whoever has it open.
func Refit(device string) error {
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("%s: its new size: %w", device, err)
	}
	return nil
}

// Resize has a loop device cover size bytes from offset, whoever has it open. What
// lies beyond the end of the file is not there: with an offset there, the device has no bytes, and all who use it get errors.
func Resize(device string, offset, size int64) error {
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	info.Offset, info.Sizelimit = uint64(offset), uint64(size)
	// Some kernels want no page of the device to be cached meanwhile.
	for wait := time.Millisecond; ; wait *= 2 {
		err = unix.IoctlLoopSetStatus64(int(f.Fd()), info)
		if !errors.Is(err, unix.EAGAIN) || wait > time.Second {
			break
		}
		time.Sleep(wait)
	}
	if err != nil {
		return fmt.Errorf("%s: its new size: %w", device, err)
	}
	return nil
}

// Exclusive opens a loop device so that nobody can mount it meanwhile. The error of one that is mounted, or held otherwise, is
// EBUSY.
func Exclusive(device string) (*os.File, error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	}
	return f, err
}

// Clear gives up what a loop device is made of, and returns when it is free. held is from Exclusive; Clear closes it. What
// was written to the device is on stable storage then. If that fails, the device is cleared all the same, and the error
// says so. ErrStillOpen: somebody has the device open, and it goes as soon as that ends.
func Clear(device string, held *os.File, limit time.Duration) error {
	fd := int(held.Fd())
	flushed := unix.Fsync(fd)
	if errors.Is(flushed, unix.EINVAL) || errors.Is(flushed, unix.EROFS) {
		flushed = nil
	}
	_ = setReadOnly(held, false) // for the next who makes something of it
	err := unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0)
	held.Close()
	if flushed != nil {
		flushed = fmt.Errorf("%s: what was written last is lost: %w", device, flushed)
	}
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return errors.Join(fmt.Errorf("%s: %w", device, err), flushed)
	}
	end := time.Now().Add(limit)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if _, err := Status(device); errors.Is(err, ErrNotAttached) {
			return flushed
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("%s: %w", device, ErrStillOpen), flushed)
		}
		time.Sleep(wait)
	}
}

// MakeClaim leaves of a loop device only what keeps the claim of its file: size bytes that cannot be written. held is from
// Exclusive.
func MakeClaim(device string, held *os.File, size int64) error {
	for _, p := range Partitions(device) {
		if err := dropPartition(held, p); err != nil {
			return err
		}
	}
	if err := setReadOnly(held, true); err != nil {
		return err
	}
	return Resize(device, 0, size)
}

// setReadOnly is about the device, not about what it is made of, and outlives that.
func setReadOnly(loop *os.File, readOnly bool) error {
	value := 0
	if readOnly {
		value = 1
	}
	if err := unix.IoctlSetPointerInt(int(loop.Fd()), unix.BLKROSET, value); err != nil {
		return fmt.Errorf("%s: whether it can be written: %w", loop.Name(), err)
	}
	return nil
}

// dropPartition takes away the device of a partition.
func dropPartition(disk *os.File, partition string) error {
	number, err := strconv.Atoi(partition[strings.LastIndexByte(partition, 'p')+1:])
	if err != nil {
		return err
	}
	part := unix.BlkpgPartition{Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_DEL_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return fmt.Errorf("%s: %w", partition, errno)
	}
	return nil
}

// Size is that of a block device in bytes.
func Size(device string) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(device), "size"))
	if err != nil {
		return 0, err
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return sectors * 512, err
}

// Partitions are the devices of the partitions of a disk.
func Partitions(device string) []string {
	name := filepath.Base(device)
	found, _ := filepath.Glob(filepath.Join("/sys/class/block", name, name+"p*"))
	for i, path := range found {
		found[i] = "/dev/" + filepath.Base(path)
	}
	return found
}
