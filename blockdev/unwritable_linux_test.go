package blockdev

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
)

// unwritable opens what cannot be written, wants to be told, and that a claim says the same.
func unwritable(t *testing.T, path, want string) {
	t.Helper()
	d, err := Open(path, Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	if err := d.Unwritable(); !errors.Is(err, ErrReadOnlyDevice) || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
	if err := d.Claim(); !errors.Is(err, ErrReadOnlyDevice) {
		t.Errorf("it can be claimed: %v", err)
	}
}

func writable(t *testing.T, path string) {
	t.Helper()
	d, err := Open(path, Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	if err := d.Unwritable(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Claim(), d.Unwritable()); err != nil {
		t.Error(err)
	}
}

func TestAFileThatThisUserMayNotWriteIsKnownWithoutAClaim(t *testing.T) {
	path := writeImage(t, noise(4096))
	if err := errors.Join(os.Chmod(path, 0o444), os.Chmod(filepath.Dir(path), 0o755), os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() { unwritable(t, path, "permission denied") })
	writable(t, path) // root may
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() { writable(t, path) })
}

func TestAReadOnlyMountIsKnownWithoutAClaim(t *testing.T) {
	testenv.NeedRoot(t)
	path := writeImage(t, noise(4096))
	on := t.TempDir()
	if err := unix.Mount(filepath.Dir(path), on, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(on, unix.MNT_DETACH) }()
	writable(t, filepath.Join(on, filepath.Base(path)))
	if err := unix.Mount("", on, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	unwritable(t, filepath.Join(on, filepath.Base(path)), "read-only file system")
	writable(t, path)
}

func TestAReadOnlyDeviceIsKnownWithoutAClaim(t *testing.T) {
	unwritable(t, attach(t, writeImage(t, noise(8192)), 512, "--read-only"), "set to be read-only")
	testenv.NeedTools(t, "blockdev")
	loop := attach(t, writeImage(t, noise(8192)), 512)
	writable(t, loop)
	run(t, "blockdev", "--setro", loop)
	unwritable(t, loop, "set to be read-only")
	run(t, "blockdev", "--setrw", loop)
	writable(t, loop)
}
