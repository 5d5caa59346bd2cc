// Package testenv says what a test needs from the machine it runs on.
//
// A test calls the Need functions first. Where the machine lacks something, the test is
// skipped with the reason; under LVM2FS_REQUIRE=1, or CI=true, it fails instead, so that
// a green run on a machine that should have everything means that everything ran.
// LVM2FS_REQUIRE=0 skips even under CI=true.
package testenv

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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

// Without says whether LVM2FS_WITHOUT names a thing: images, states, found, vm. Whoever runs the tests names there
// what is not to be had here. Tests that need it are then skipped in any case.
func Without(name string) bool {
	return slices.Contains(strings.Fields(os.Getenv("LVM2FS_WITHOUT")), name)
}

// need skips the test, or fails it, because of err, if that is not nil.
func need(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if Required() {
		t.Fatalf("required here (LVM2FS_REQUIRE, CI): %v", err)
	}
	t.Skip("SKIP: ", err)
}

// needShared is need for what lies beside the repository and takes its time.
func needShared(t testing.TB, name string, err error) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIP: -short does without ", name)
	}
	if err != nil && Without(name) {
		t.Skip("SKIP: ", err)
	}
	need(t, err)
}

// Long skips a test that takes more than a second, or a second of each processor, under -short.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIP: -short does without long tests")
	}
}

// Lack is a thing that tests need and this machine has not.
type Lack struct {
	Name string
	Err  error
}

// Lacks are the things that this machine has not, so that tests which need them are skipped. Programs are not among
// them: there are many.
func Lacks() []Lack {
	var lacks []Lack
	for _, l := range []Lack{
		{"root", root()},
		{"FUSE", fuse()},
		{"loop devices", loop()},
		{"images", folder(ImagesDir(), "LVM2FS_IMAGES")},
		{"states", folder(StatesDir(), "LVM2FS_STATES")},
		{"vm", vm()},
	} {
		if l.Err != nil {
			lacks = append(lacks, l)
		}
	}
	return lacks
}

// NeedRoot is for tests that only root can run.
func NeedRoot(t testing.TB) {
	t.Helper()
	need(t, root())
}

func root() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	return nil
}

// NeedTools is for tests that run other programs. The PATH of an ordinary user may lack those of the administrator;
// they are found all the same.
func NeedTools(t testing.TB, names ...string) {
	t.Helper()
	need(t, tools(names...))
}

func tools(names ...string) error {
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if _, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err != nil {
			return fmt.Errorf("needs the program %s", name)
		}
	}
	return nil
}

// NeedFUSE is for tests that mount.
func NeedFUSE(t testing.TB) {
	t.Helper()
	need(t, fuse())
}

func fuse() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("needs FUSE: %w", err)
	}
	f.Close()
	if runtime.GOOS == "linux" && os.Geteuid() != 0 {
		return tools("fusermount3")
	}
	return nil
}

// NeedLoop is for tests that make Linux loop devices.
func NeedLoop(t testing.TB) {
	t.Helper()
	need(t, loop())
}

func loop() error {
	if err := cmp.Or(root(), tools("losetup")); err != nil {
		return err
	}
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("needs loop devices: %w", err)
	}
	f.Close()
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		return fmt.Errorf("needs a free loop device: %s", strings.TrimSpace(string(out)))
	}
	return nil
}

// NeedImages is for tests over the whole collection of disks that the real kernel made;
// it returns their folder. testdata/ holds a few of them, which are always there.
func NeedImages(t testing.TB) string {
	t.Helper()
	needShared(t, "images", folder(ImagesDir(), "LVM2FS_IMAGES"))
	return ImagesDir()
}

// ImagesDir is where the collection of images would be: LVM2FS_IMAGES, or
// shared/images beside the repository.
func ImagesDir() string { return shared("LVM2FS_IMAGES", "images") }

// NeedStates is NeedImages for the second folder of the collection: arrays, pools, caches and
// PVs in the middle of something.
func NeedStates(t testing.TB) string {
	t.Helper()
	needShared(t, "states", folder(StatesDir(), "LVM2FS_STATES"))
	return StatesDir()
}

// StatesDir is where the second folder would be: LVM2FS_STATES, or shared/states beside the
// repository.
func StatesDir() string { return shared("LVM2FS_STATES", "states") }

func shared(env, name string) string {
	return cmp.Or(os.Getenv(env), filepath.Join(Root(), "..", "shared", name))
}

// folder says why a folder of the collection cannot be used.
func folder(dir, env string) error {
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		return fmt.Errorf("needs the collection of disks, looked for in %s (%s)", dir, env)
	}
	return nil
}

// NeedFound is NeedImages for the folder of disks on which an earlier version failed; it returns the folder.
func NeedFound(t testing.TB) string {
	t.Helper()
	dir := shared("LVM2FS_FOUND", "found")
	_, err := os.Stat(dir)
	if err != nil {
		err = fmt.Errorf("needs the disks that were found to fail: %w (LVM2FS_FOUND)", err)
	}
	needShared(t, "found", err)
	return dir
}

// NeedVM is for tests that ask the real Linux kernel in a virtual machine; it returns the
// program that runs a script there: LVM2FS_VM, or shared/vm/run beside the repository.
func NeedVM(t testing.TB) string {
	t.Helper()
	needShared(t, "vm", vm())
	return vmProgram()
}

func vmProgram() string { return shared("LVM2FS_VM", "vm/run") }

func vm() error {
	if _, err := exec.LookPath(vmProgram()); err != nil {
		return fmt.Errorf("needs the virtual machine: %w (LVM2FS_VM)", err)
	}
	if err := tools("qemu-system-x86_64"); err != nil {
		return err
	}
	guest := cmp.Or(os.Getenv("LVM2FS_VM_BUILD"), "/var/tmp/lvm2fs-vm")
	if _, err := os.Stat(filepath.Join(guest, "root.img")); err != nil {
		return fmt.Errorf("needs the guest of the virtual machine: %w", err)
	}
	return nil
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
