package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// daemonOf is the process behind a mount.
func daemonOf(t *testing.T, dir string) int {
	t.Helper()
	value := make([]byte, 32)
	n, err := unix.Getxattr(dir, "user.lvm2.pid", value)
	if err != nil {
		t.Fatalf("user.lvm2.pid of %s: %v", dir, err)
	}
	pid, err := strconv.Atoi(string(value[:n]))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// isRunning says whether a process has not ended, even if nobody has asked for its status.
func isRunning(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		return !bytes.Contains(state, []byte(") Z "))
	}
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestMountingInTheBackgroundReturnsOnceTheMountAnswers(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		disks := who.unpack(t, c)
		dir := who.mountpoint(t)
		testenv.NeedFUSE(t)
		r := who.run(t, program, append(disks, dir)...)
		if r.code != 0 || r.stdout+r.aboutTheDisks() != "" {
			t.Fatalf("exit %d, %q%q; want 0 and silence", r.code, r.stdout, r.stderr)
		}
		err := who.do(func() error { _, err := os.Stat(filepath.Join(dir, c.Tree()[0])); return err })
		if err != nil {
			t.Errorf("right after: %v", err)
		}
		who.must(t, program, "umount", dir)
		if isMounted(dir) {
			t.Error("still mounted after umount")
		}
	})
}

// The harness waits for both pipes to end: a mount that kept one would hang its caller.
func TestAMountInTheBackgroundLetsGoOfItsCaller(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	who := me()
	disk := who.unpack(t, c)[0]
	dir := who.mountpoint(t)
	testenv.NeedFUSE(t)

	// A relative name, from a directory that goes away.
	start := who.tempDir(t)
	if err := os.Link(disk, filepath.Join(start, "disk.img")); err != nil {
		t.Fatal(err)
	}
	held, holder, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	cmd := who.command(program, "disk.img", dir)
	cmd.Dir = start
	cmd.ExtraFiles = []*os.File{holder}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = runWithin(cmd, time.Minute)
	holder.Close()
	if err != nil {
		t.Fatalf("%v: %s", err, output.String())
	}
	defer who.must(t, program, "umount", dir)

	ended := make(chan error, 1)
	go func() {
		_, err := held.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != io.EOF {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a descriptor of the caller is still open in the background")
	}
	pid := daemonOf(t, dir)
	if runtime.GOOS == "linux" {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if err != nil || cwd != "/" {
			t.Errorf("its directory is %q, %v", cwd, err)
		}
	}
	mine, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	if session, err := unix.Getsid(pid); err != nil || session == mine {
		t.Errorf("it is in session %d, %v; mine is %d", session, err, mine)
	}
	if _, err := os.ReadFile(filepath.Join(dir, c.Tree()[0])); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfTheBackgroundProcessAreThoseOfTheCommand(t *testing.T) {
	testenv.Long(t)
	zeros := filepath.Join(me().tempDir(t), "zeros.img")
	if err := errors.Join(os.WriteFile(zeros, nil, 0o644), os.Truncate(zeros, 4<<20)); err != nil {
		t.Fatal(err)
	}
	asEach(t, func(t *testing.T, who person) {
		foreground := who.run(t, program, "-f", zeros, who.mountpoint(t))
		background := who.run(t, program, zeros, who.mountpoint(t))
		if background != foreground || background.code != 1 || !strings.HasPrefix(background.stderr, "lvm2fs: no volume group found") {
			t.Errorf("in the background %+v, in the foreground %+v", background, foreground)
		}
	})
}

func TestAMountIsGoneWhenItsStarterWasInterrupted(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	who := me()
	disks := who.unpack(t, c)
	testenv.NeedFUSE(t)
	for _, wait := range []time.Duration{0, 3, 10, 30, 100} {
		dir := who.mountpoint(t)
		cmd := who.command(program, append(slices.Clone(disks), dir)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		cmd.Process.Signal(syscall.SIGTERM)
		err := cmd.Wait()
		if err == nil {
			// The mount was faster than the signal.
			who.must(t, program, "umount", dir)
			continue
		}
		if !waitFor(5*time.Second, func() bool { return !isMounted(dir) }) {
			t.Errorf("interrupted after %d ms (%v), and yet mounted", wait, err)
		}
	}
}

func TestTheEndOfTheBackgroundProcessIsReported(t *testing.T) {
	testenv.NeedFUSE(t)
	who := people()[len(people())-1]
	if runtime.GOOS != "linux" || who.uid == 0 {
		t.Skip("only an ordinary user on Linux mounts by a program that the test can replace")
	}
	bin := who.tempDir(t)
	for _, name := range []string{"fusermount3", "fusermount"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nkill -KILL $PPID\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := testimages.Load(t, "meta-wrap")
	dir := who.mountpoint(t)
	cmd := who.command(program, append(who.unpack(t, c), dir)...)
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := runWithin(cmd, time.Minute)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 ||
		stderr.String() != "lvm2fs: the background process stopped before the mount answered: signal: killed\n" {
		t.Errorf("%v: %q", err, stderr.String())
	}
}

func TestAMountpointThatIsTakenIsRefused(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		disks := who.unpack(t, c)
		dir := who.mount(t, disks...)
		r := who.run(t, program, append(disks, dir)...)
		if r.code != 1 || !strings.Contains(r.stderr, "is a mount of lvm2fs already") {
			t.Errorf("exit %d, %q", r.code, r.stderr)
		}
	})
}

func TestUmountWaitsForTheProcessToEnd(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		dir := who.mount(t, who.unpack(t, c)...)
		var pid int
		if err := who.do(func() error { pid = daemonOf(t, dir); return nil }); err != nil {
			t.Fatal(err)
		}
		who.must(t, program, "umount", dir)
		if isRunning(pid) {
			t.Errorf("process %d runs after umount", pid)
		}
	})
}

func TestUmountOfABusyMountSaysWhoUsesIt(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		dir := who.mount(t, who.unpack(t, c)...)
		sleep := who.command("sleep", "60")
		sleep.Dir = dir
		if err := sleep.Start(); err != nil {
			t.Fatal(err)
		}
		r := who.run(t, program, "umount", dir)
		sleep.Process.Kill()
		sleep.Wait()
		want := fmt.Sprintf("sleep (process %d)", sleep.Process.Pid)
		if runtime.GOOS != "linux" {
			want = "busy"
		}
		if r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("exit %d, %q; want %q", r.code, r.stderr, want)
		}
	})
}

func TestTheLogFileHoldsWhatASIGHUPAndATERMDid(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		logFile := filepath.Join(who.tempDir(t), "log")
		dir := who.mount(t, append([]string{"--log-file", logFile}, who.unpack(t, c)...)...)
		var pid int
		if err := who.do(func() error { pid = daemonOf(t, dir); return nil }); err != nil {
			t.Fatal(err)
		}
		logged := func(what string) func() bool {
			return func() bool {
				text, err := os.ReadFile(logFile)
				return err == nil && strings.Contains(string(text), what)
			}
		}
		syscall.Kill(pid, syscall.SIGHUP)
		if !waitFor(5*time.Second, logged(" lvm2fs: metadata read again")) {
			t.Error("no word of the reload")
		}
		syscall.Kill(pid, syscall.SIGTERM)
		if !waitFor(5*time.Second, logged(" lvm2fs: unmounted")) {
			t.Error("no word of unmounting")
		}
		if !waitFor(5*time.Second, func() bool { return !isMounted(dir) }) {
			t.Error("still mounted")
		}
		if t.Failed() {
			text, _ := os.ReadFile(logFile)
			t.Logf("%s", text)
		}
	})
}

func TestRemountOfDamagedMetadataFailsAndKeepsTheOld(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		disks := who.unpack(t, c)
		dir := who.mount(t, disks...)
		who.must(t, program, "-o", "remount", dir)
		for _, disk := range disks {
			f, err := os.OpenFile(disk, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(make([]byte, 4096), 0)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		r := who.run(t, program, "-o", "remount", dir)
		if r.code != 1 || !strings.Contains(r.stderr, "old metadata") {
			t.Errorf("exit %d, %q", r.code, r.stderr)
		}
		err := who.do(func() error { _, err := os.Stat(filepath.Join(dir, c.Tree()[0])); return err })
		if err != nil {
			t.Errorf("the old tree is gone: %v", err)
		}
	})
}

func TestADeadMountIsNamedAsSuchAndTakenAwayByUmount(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		disks := who.unpack(t, c)
		dir := who.mount(t, disks...)
		var pid int
		if err := who.do(func() error { pid = daemonOf(t, dir); return nil }); err != nil {
			t.Fatal(err)
		}
		syscall.Kill(pid, syscall.SIGKILL)
		if !waitFor(5*time.Second, func() bool { return !isRunning(pid) }) {
			t.Fatal("it cannot be killed")
		}
		r := who.run(t, program, append(disks, dir)...)
		if r.code != 1 || !strings.Contains(r.stderr, "lvm2fs umount "+dir) {
			t.Errorf("mounting over it: exit %d, %q", r.code, r.stderr)
		}
		who.must(t, program, "umount", dir)
		who.must(t, program, append(disks, dir)...)
	})
}

func TestAMountWithATypeOfItsOwnIsKnownAllTheSame(t *testing.T) {
	who := me()
	dir := who.mount(t, append([]string{"-o", "subtype=other,fsname=disk"}, who.unpack(t, testimages.Load(t, "meta-wrap"))...)...)
	who.must(t, program, "-o", "remount", dir)
	who.must(t, program, "umount", dir)
}

func TestReadOnlyMountsAreReadOnly(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	who := me()
	for _, flags := range [][]string{{"-r"}, {"-o", "ro"}, {"-r", "-o", "rw"}} {
		dir := who.mount(t, append(slices.Clone(flags), who.unpack(t, c)...)...)
		_, err := os.OpenFile(filepath.Join(dir, c.Tree()[0]), os.O_WRONLY, 0)
		if !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EACCES) {
			t.Errorf("%v: opening for writing: %v", flags, err)
		}
	}
}

func TestOwnerAndUmaskAreWhatTheOptionsSay(t *testing.T) {
	testenv.NeedRoot(t)
	c := testimages.Load(t, "meta-wrap")
	who := me()
	dir := who.mount(t, append([]string{"-o", "uid=123,gid=456,umask=077"}, who.unpack(t, c)...)...)
	info, err := os.Stat(filepath.Join(dir, c.Tree()[0]))
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	if stat.Uid != 123 || stat.Gid != 456 || info.Mode().Perm() != 0o600 {
		t.Errorf("uid %d, gid %d, mode %v", stat.Uid, stat.Gid, info.Mode())
	}
}

func TestADeviceOptionAddsADevice(t *testing.T) {
	c := testimages.Load(t, "linear-multi")
	who := me()
	disks := who.unpack(t, c)
	if len(disks) < 2 {
		t.Fatal("one disk")
	}
	comma := filepath.Join(filepath.Dir(disks[1]), "a,b.img")
	if err := os.Rename(disks[1], comma); err != nil {
		t.Fatal(err)
	}
	options := []string{"device=" + strings.ReplaceAll(comma, ",", `\,`)}
	for _, disk := range disks[2:] {
		options = append(options, "device="+disk)
	}
	dir := who.mount(t, "-o", strings.Join(options, ","), disks[0])
	for _, name := range c.Tree() {
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
