package blockdev

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
)

// With this in the environment the test binary claims a device, and holds it until its standard input ends.
const claimEnv = "BLOCKDEV_TEST_CLAIM"

func TestMain(m *testing.M) {
	path := os.Getenv(claimEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	d, err := Open(path, Options{})
	if err == nil {
		err = d.Claim()
	}
	fmt.Println(err)
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// claimElsewhere claims path in another process, and returns what releases it.
func claimElsewhere(t *testing.T, path string) (pid int, release func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), claimEnv+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "<nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	release = func() {
		in.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(release)
	return cmd.Process.Pid, release
}

// asNobody runs f with the file permissions of an ordinary user.
func asNobody(t *testing.T, f func()) {
	testenv.NeedRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestAFileClaimedByAnotherProcessIsBusyAndTheProcessNamed(t *testing.T) {
	path := writeImage(t, noise(4096))
	d, _ := openForTest(t, path, Options{})
	pid, release := claimElsewhere(t, path)

	err := d.Claim()
	if !errors.Is(err, ErrBusy) || !errors.Is(err, unix.EBUSY) {
		t.Errorf("%v; want ErrBusy", err)
	}
	if want := fmt.Sprintf("%s: in use: locked by process %d (", path, pid); err != nil && !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v; want %s...", err, want)
	}
	if users := d.InUse(); len(users) != 1 || users[0].Release != fmt.Sprintf("kill %d", pid) {
		t.Errorf("InUse: %v", users)
	}
	if _, err := d.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Errorf("reading: %v", err)
	}

	release()
	claimForTest(t, d)
	if users := d.InUse(); len(users) != 0 {
		t.Errorf("InUse while claimed by ourselves: %v", users)
	}
}

func TestTwoDevicesOfOneProcessDoNotClaimOneFile(t *testing.T) {
	path := writeImage(t, noise(4096))
	a, _ := openForTest(t, path, Options{})
	b, _ := openForTest(t, path, Options{})
	claimForTest(t, a)
	if err := b.Claim(); !errors.Is(err, ErrBusy) {
		t.Errorf("%v; want ErrBusy", err)
	}
}

func TestAnImageThatQEMUWritesIsBusyAndAClaimKeepsQEMUOut(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip(err)
	}
	path := writeImage(t, noise(1<<20))
	d, _ := openForTest(t, path, Options{})

	qemu := exec.Command("qemu-io", "-f", "raw", path)
	in, err := qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "read 0 512")
	if _, err := bufio.NewReader(out).ReadString(')'); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(); !errors.Is(err, ErrBusy) {
		t.Errorf("while QEMU has the image open: %v; want ErrBusy", err)
	}
	in.Close()
	_ = qemu.Wait()

	claimForTest(t, d)
	if said, err := exec.Command("qemu-io", "-f", "raw", "-c", "write 0 512", path).CombinedOutput(); err == nil || !strings.Contains(string(said), "lock") {
		t.Errorf("QEMU writes to a claimed image: %v, %s", err, said)
	}
}

func TestAReadOnlyFileIsReadButNotClaimed(t *testing.T) {
	path := writeImage(t, noise(4096))
	if err := errors.Join(os.Chmod(path, 0o444), os.Chmod(filepath.Dir(path), 0o755), os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		d, err := Open(path, Options{})
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		if err := d.Claim(); !errors.Is(err, ErrReadOnlyDevice) || !errors.Is(err, unix.EROFS) {
			t.Errorf("Claim: %v; want ErrReadOnlyDevice", err)
		}
		if _, err := d.ReadAt(make([]byte, 4096), 0); err != nil {
			t.Errorf("ReadAt: %v", err)
		}
	})
}

func TestWithoutPermissionOpenSaysSo(t *testing.T) {
	path := writeImage(t, noise(4096))
	loop := attach(t, path, 512)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if _, err := Open(path, Options{}); !errors.Is(err, fs.ErrPermission) || err.Error() != path+": permission denied" {
			t.Errorf("%v", err)
		}
		if _, err := Open(loop, Options{}); !errors.Is(err, fs.ErrPermission) || err.Error() != loop+": permission denied; reading a disk takes root, or its group" {
			t.Errorf("%v", err)
		}
	})
}

func TestAReadOnlyDeviceIsReadButNotClaimed(t *testing.T) {
	d, _ := openForTest(t, attach(t, writeImage(t, noise(8192)), 512, "--read-only"), Options{})
	if err := d.Claim(); !errors.Is(err, ErrReadOnlyDevice) {
		t.Errorf("%v; want ErrReadOnlyDevice", err)
	}
	if _, err := d.ReadAt(make([]byte, 8192), 0); err != nil {
		t.Error(err)
	}
}

func TestAClaimedDeviceIsNotClaimedTwice(t *testing.T) {
	loop := attach(t, writeImage(t, noise(8192)), 512)
	a, _ := openForTest(t, loop, Options{})
	b, _ := openForTest(t, loop, Options{})
	if !a.Same(b) || a.IsFile() || !a.ModTime().IsZero() {
		t.Errorf("%v %v %v", a.Same(b), a.IsFile(), a.ModTime())
	}
	if err := a.Claim(); err != nil {
		t.Fatal(err)
	}
	if err := b.Claim(); !errors.Is(err, ErrBusy) {
		t.Errorf("%v; want ErrBusy", err)
	}
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	claimForTest(t, b)
}

func TestALoopDeviceWithoutAFileHasNoMedium(t *testing.T) {
	testenv.NeedLoop(t)
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	// A loop device of our own, to which nobody attaches a file.
	n := 10000 + os.Getpid()%10000
	loop := fmt.Sprintf("/dev/loop%d", n)
	if err := unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_ADD, n); err != nil {
		t.Skipf("needs a new loop device: %v", err)
	}
	defer func() { _ = unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_REMOVE, n) }()
	if _, err := os.Stat(loop); err != nil {
		t.Skipf("needs a /dev that shows new devices: %v", err)
	}
	if _, err := Open(loop, Options{}); !errors.Is(err, ErrNoMedium) || err.Error() != loop+": no medium in the device" {
		t.Errorf("%v; want ErrNoMedium", err)
	}
}

func TestAMountedDeviceAndItsFileAreBusyAndTheMountNamed(t *testing.T) {
	testenv.NeedTools(t, "mkfs.ext4", "mount", "umount")
	file := writeImage(t, make([]byte, 4<<20))
	loop := attach(t, file, 512)
	run(t, "mkfs.ext4", "-q", loop)
	dir := filepath.Join(t.TempDir(), "a mount point")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	device, _ := openForTest(t, loop, Options{})
	image, _ := openForTest(t, file, Options{})
	for _, d := range []*Device{device, image} {
		if users := d.InUse(); len(users) != 0 {
			t.Errorf("%s, not mounted, is in use: %v", d.Name(), users)
		}
	}

	run(t, "mount", loop, dir)
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	quoted := "'" + dir + "'"
	for _, c := range []struct {
		d    *Device
		want Holder
	}{
		{device, Holder{"mounted on " + quoted, "umount " + quoted}},
		{image, Holder{"attached to " + filepath.Base(loop) + ", mounted on " + quoted, "umount " + quoted + " && losetup -d " + loop}},
	} {
		if users := c.d.InUse(); len(users) != 1 || users[0] != c.want {
			t.Errorf("%s: %q; want %q", c.d.Name(), users, c.want)
		}
		err := c.d.Claim()
		if want := c.d.Name() + ": in use: " + c.want.What + " (release it with: " + c.want.Release + ")"; !errors.Is(err, ErrBusy) || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}

	run(t, "umount", dir)
	for _, d := range []*Device{device, image} {
		if err := d.Claim(); err != nil {
			t.Errorf("after umount: %v", err)
		}
		if err := d.Release(); err != nil {
			t.Error(err)
		}
	}
}

// A write to the file under a loop device goes past the pages that the open device has in the cache. A write by
// device-mapper does the same to a PV.
func TestRefreshAndClaimSeeWhatWasWrittenPastTheCache(t *testing.T) {
	for what, again := range map[string]func(d *Device) error{
		"Refresh": (*Device).Refresh,
		"Claim":   (*Device).Claim,
	} {
		file := writeImage(t, make([]byte, 1<<20))
		d, _ := openForTest(t, attach(t, file, 512), Options{})
		p := make([]byte, 4096)
		if _, err := d.ReadAt(p, 8192); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("new"), 8192); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if err := again(d); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ReadAt(p, 8192); err != nil || string(p[:3]) != "new" {
			t.Errorf("after %s the device reads %q, %v", what, p[:3], err)
		}
	}
}
