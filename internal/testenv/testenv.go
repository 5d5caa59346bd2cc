// Package testenv says what a test needs from the machine it runs on.
//
// A test calls the Need functions first. Where the machine lacks something, the test is
// skipped with the reason; under LVM2FS_REQUIRE=1, or CI=true, it fails instead, so that
// a green run on a machine that should have everything means that everything ran.
// LVM2FS_REQUIRE=0 skips even under CI=true.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Required says whether a missing prerequisite is a failure.
func Required() bool {
	switch os.Getenv("LVM2FS_REQUIRE") {
	case "1":
		return true
	case "0":
		return false
	}
	return os.Getenv("CI") == "true"
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if Required() {
		t.Fatalf("required here (LVM2FS_REQUIRE, CI): "+format, args...)
	}
	t.Skipf(format, args...)
}

// NeedRoot is for tests that only root can run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root")
	}
}

// NeedTools is for tests that run other programs. Those of the administrator are found
// too where the PATH of an ordinary user lacks them.
func NeedTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if _, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err != nil {
			missing(t, "needs the program %s", name)
		}
	}
}

// NeedFUSE is for tests that mount.
func NeedFUSE(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		missing(t, "needs FUSE: %v", err)
	}
	f.Close()
	if runtime.GOOS == "linux" && os.Geteuid() != 0 {
		NeedTools(t, "fusermount3")
	}
}

// NeedLoop is for tests that make Linux loop devices.
func NeedLoop(t testing.TB) {
	t.Helper()
	NeedRoot(t)
	NeedTools(t, "losetup")
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		missing(t, "needs loop devices: %v", err)
	}
	f.Close()
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		missing(t, "needs a free loop device: %s", strings.TrimSpace(string(out)))
	}
}

// NeedImages is for tests over the whole collection of disks that the real kernel made;
// it returns their folder. testdata/ holds a few of them, which are always there.
func NeedImages(t testing.TB) string {
	t.Helper()
	dir := ImagesDir()
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		missing(t, "needs the shared images, looked for in %s (LVM2FS_IMAGES)", dir)
	}
	return dir
}

// ImagesDir is where the collection of images would be: LVM2FS_IMAGES, or
// shared/images beside the repository.
func ImagesDir() string {
	if dir := os.Getenv("LVM2FS_IMAGES"); dir != "" {
		return dir
	}
	return filepath.Join(Root(), "..", "shared", "images")
}

// NeedStates is NeedImages for the second folder of the collection: arrays, pools, caches and
// PVs in the middle of something.
func NeedStates(t testing.TB) string {
	t.Helper()
	dir := StatesDir()
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		missing(t, "needs the shared states of disks, looked for in %s (LVM2FS_STATES)", dir)
	}
	return dir
}

// StatesDir is where the second folder would be: LVM2FS_STATES, or shared/states beside the
// repository.
func StatesDir() string {
	if dir := os.Getenv("LVM2FS_STATES"); dir != "" {
		return dir
	}
	return filepath.Join(Root(), "..", "shared", "states")
}

// NeedVM is for tests that ask the real Linux kernel in a virtual machine; it returns the
// program that runs a script there: LVM2FS_VM, or shared/vm/run beside the repository.
func NeedVM(t testing.TB) string {
	t.Helper()
	run := os.Getenv("LVM2FS_VM")
	if run == "" {
		run = filepath.Join(Root(), "..", "shared", "vm", "run")
	}
	if _, err := exec.LookPath(run); err != nil {
		missing(t, "needs the virtual machine: %v (LVM2FS_VM)", err)
	}
	NeedTools(t, "qemu-system-x86_64")
	guest := os.Getenv("LVM2FS_VM_BUILD")
	if guest == "" {
		guest = "/var/tmp/lvm2fs-vm"
	}
	if _, err := os.Stat(filepath.Join(guest, "root.img")); err != nil {
		missing(t, "needs the guest of the virtual machine: %v", err)
	}
	return run
}

// Root is the root of the repository, above the package under test.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			panic("testenv: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}
