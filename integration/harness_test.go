// Package integration tests the built program on what this machine's kernel gives: FUSE, loop
// devices, the file systems on them, and lvm2 itself.
package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// program is the lvm2fs under test.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lvm2fs-program-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	program = filepath.Join(dir, "lvm2fs")
	if err == nil {
		// Under the race detector the program under test has it too.
		build := exec.Command("go", "build", fmt.Sprintf("-race=%v", raceDetector), "-o", program, "..")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building lvm2fs:", err)
		os.Exit(1)
	}
	status := m.Run()
	if left := mountsOfThisRun(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: mounts left behind:", left)
		status = 1
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// person is who runs a test: root, or a user without any rights.
type person struct {
	name     string
	uid, gid int
}

// people are those that this process can be: as root, root and an ordinary user.
func people() []person {
	me := person{"ordinary user", os.Getuid(), os.Getgid()}
	if os.Getuid() != 0 {
		return []person{me}
	}
	me.name = "root"
	if !canBecome {
		return []person{me}
	}
	return []person{me, {"ordinary user", 65534, 65534}}
}

// me is the first of people.
func me() person { return people()[0] }

// asEach runs a test as everybody that this process can be. Where testenv says so, an ordinary user must be among
// them.
func asEach(t *testing.T, test func(t *testing.T, who person)) {
	for _, who := range people() {
		t.Run("as "+strings.ReplaceAll(who.name, " ", "_"), func(t *testing.T) {
			if who.uid != 0 {
				testenv.NeedTools(t, "fusermount3")
			}
			test(t, who)
		})
	}
}

// tempDir is a directory of who that everybody can reach; t.TempDir is not.
func (who person) tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lvm2fs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, who.uid, who.gid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unpack gives the disks of a case as files of who.
func (who person) unpack(t *testing.T, c *testimages.Case) []string {
	t.Helper()
	disks := c.UnpackTo(t, who.tempDir(t))
	for _, d := range disks {
		if err := os.Chown(d, who.uid, who.gid); err != nil {
			t.Fatal(err)
		}
	}
	return disks
}

// keyFile is a file with the passphrase of a case, for who alone.
func (who person) keyFile(t *testing.T, c *testimages.Case) string {
	t.Helper()
	path := filepath.Join(who.tempDir(t), "key")
	if err := errors.Join(os.WriteFile(path, []byte(c.Extra.Passphrase), 0o600), os.Chown(path, who.uid, who.gid)); err != nil {
		t.Fatal(err)
	}
	return path
}

// result is what a finished program left.
type result struct {
	stdout, stderr string
	code           int
}

// aboutTheDisks is what a mount said on standard error, without the line that this machine has no system log.
func (r result) aboutTheDisks() string {
	return regexp.MustCompile(`(?m)^.*--log-file.*\n`).ReplaceAllString(r.stderr, "")
}

// run runs a program to its end.
func (who person) run(t *testing.T, name string, args ...string) result {
	t.Helper()
	cmd := who.command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 2 * time.Second
	err := runWithin(cmd, 25*time.Minute)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that has to succeed, and gives its standard output.
func (who person) must(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := who.run(t, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: exit %d\n%s%s", name, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func runWithin(cmd *exec.Cmd, limit time.Duration) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait()
}

func (who person) command(name string, args ...string) *exec.Cmd {
	if path, err := exec.LookPath(name); err == nil {
		name = path
	} else if path := filepath.Join("/usr/sbin", name); !strings.Contains(name, "/") {
		name = path
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "HOME=/nonexistent", "LC_ALL=C")
	who.become(cmd)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// Whoever runs the tests is not to be asked for passphrases.
	cmd.SysProcAttr.Setsid = true
	return cmd
}

// mount mounts in the background, as a user does, and unmounts when the test ends. It
// returns the mountpoint. Flags come first in args.
func (who person) mount(t *testing.T, args ...string) string {
	t.Helper()
	testenv.NeedFUSE(t)
	dir := who.mountpoint(t)
	who.must(t, program, append(args, dir)...)
	if !isMounted(dir) {
		t.Fatalf("lvm2fs returned 0, but %s is not mounted", dir)
	}
	t.Cleanup(func() {
		if !isMounted(dir) {
			return
		}
		if r := who.run(t, program, "umount", dir); r.code != 0 {
			t.Errorf("umount: exit %d\n%s", r.code, r.stderr)
		}
	})
	return dir
}

// mountpoint is an empty directory that is unmounted by force at the end of the test.
func (who person) mountpoint(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(who.tempDir(t), "mnt")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, who.uid, who.gid)); err != nil {
		t.Fatal(err)
	}
	mountpoints.Lock()
	mountpoints.dirs = append(mountpoints.dirs, dir)
	mountpoints.Unlock()
	t.Cleanup(func() {
		if isMounted(dir) {
			t.Errorf("%s is still mounted", dir)
			forceUnmount(dir)
		}
	})
	return dir
}

// mountpoints are those that this run has used.
var mountpoints struct {
	sync.Mutex
	dirs []string
}

func mountsOfThisRun() (left []string) {
	mountpoints.Lock()
	defer mountpoints.Unlock()
	for _, dir := range mountpoints.dirs {
		if isMounted(dir) {
			left = append(left, dir)
			forceUnmount(dir)
		}
	}
	return left
}

// isMounted says whether something is mounted at dir, even if it is dead.
func isMounted(dir string) bool {
	above, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return false
	}
	// The mounting user may be the only one who is let in.
	at, err := os.Lstat(dir)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return at.Sys().(*syscall.Stat_t).Dev != above.Sys().(*syscall.Stat_t).Dev
}

// waitFor waits until what is said holds; false if it does not within the limit.
func waitFor(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
