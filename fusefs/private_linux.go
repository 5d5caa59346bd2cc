package fusefs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// MountPrivate mounts the tree of cfg in no directory. Its root is open as descriptor fd, through which, and through
// /proc/PID/fd, it is reached; so nobody else than root comes near, and nothing is left to unmount when this process dies. The
// mount ends when its root, by Unmount, and all files of it are closed. It takes root, and Linux 5.2.
func MountPrivate(cfg Config, fd int) (*Server, error) {
	s := newServer("", cfg)
	mo := s.mountOptions("linux")
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/fuse: %w", err)
	}
	root, err := detachedMount(dev, mo)
	if err == nil {
		err = unix.Dup3(root, fd, unix.O_CLOEXEC)
		unix.Close(root)
	}
	if err != nil {
		unix.Close(dev)
		return nil, fmt.Errorf("a private mount: %w", err)
	}
	// The fuse package takes a connection that is mounted already by this name.
	s.fuse, err = fuse.NewServer(&gate{fs.NewNodeFS(s.root, s.nodeOptions()), s}, fmt.Sprintf("/dev/fd/%d", dev), mo)
	if err != nil {
		unix.Close(fd) // the package has closed dev
		return nil, fmt.Errorf("a private mount: %w", err)
	}
	s.private = os.NewFile(uintptr(fd), "private mount")
	go s.serve()
	return s, nil
}

// detachedMount mounts the FUSE connection dev, but in no directory.
func detachedMount(dev int, mo *fuse.MountOptions) (root int, err error) {
	ctx, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ctx)
	options := [][2]string{
		{"source", mo.FsName},
		{"subtype", mo.Name},
		{"fd", strconv.Itoa(dev)},
		{"rootmode", strconv.FormatInt(unix.S_IFDIR, 8)},
		{"user_id", strconv.Itoa(os.Geteuid())},
		{"group_id", strconv.Itoa(os.Getegid())},
		{"max_read", strconv.Itoa(mo.MaxWrite)},
	}
	for _, o := range options {
		if err := unix.FsconfigSetString(ctx, o[0], o[1]); err != nil {
			return 0, fmt.Errorf("%s=%s: %w", o[0], o[1], errors.Join(err, complaint(ctx)))
		}
	}
	for _, o := range mo.Options {
		if err := unix.FsconfigSetFlag(ctx, o); err != nil {
			return 0, fmt.Errorf("%s: %w", o, errors.Join(err, complaint(ctx)))
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return 0, errors.Join(err, complaint(ctx))
	}
	return unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// complaint is what the kernel has to say about a mount in the making; nil for nothing.
func complaint(ctx int) error {
	text := make([]byte, 1024)
	n, err := unix.Read(ctx, text)
	if err != nil || n <= 2 {
		return nil
	}
	return errors.New(strings.TrimSpace(string(text[2:n]))) // "e " precedes it
}
