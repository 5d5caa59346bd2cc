package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A mount in the background is this program, started again in a session of its own. It
// shares standard error with the process that the user waits for until the mount
// answers, then writes one byte to a pipe and lets go of everything. The pipe goes both
// ways: until then it asks for passphrases, which only the other process has a terminal for.

// readyEnv tells the background process which descriptor the pipe is.
const readyEnv = "LVM2FS_READY_FD"

// exitStatus is the exit code of a background process that has said itself why.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// startInBackground runs this command line again in the background, and returns once
// the mount answers, or with what the process there ended with.
func startInBackground(a *app, mountpoint string) error {
	before, err := os.Stat(mountpoint)
	if err != nil {
		return err
	}
	process, err := runInBackground(a)
	if err != nil {
		return err
	}
	after, err := os.Stat(mountpoint)
	if err == nil && os.SameFile(before, after) {
		err = errors.New("it is gone already")
	}
	if err != nil {
		_ = process.Signal(syscall.SIGTERM)
		return fmt.Errorf("the mount at %s does not answer: %w", mountpoint, err)
	}
	return nil
}

// runInBackground runs this command line again in the background, and returns once the process there says that it is
// ready, or with what it ended with.
func runInBackground(a *app) (*os.Process, error) {
	self, err := executable()
	if err != nil {
		return nil, err
	}
	ready, readyChild, err := pipeBothWays()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	cmd := &exec.Cmd{
		Path:        self,
		Args:        append([]string{os.Args[0]}, a.args...),
		Env:         append(os.Environ(), readyEnv+"=3"),
		Stderr:      a.stderr,
		ExtraFiles:  []*os.File{readyChild},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	closeOnExec()
	// Not the terminal's process group any more, the child hears of ^C from here.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(interrupted)
	err = cmd.Start()
	readyChild.Close()
	if err != nil {
		return nil, err
	}
	answered := make(chan bool, 1)
	go func() { answered <- attendChild(ready, a.ask) }()
	select {
	case <-interrupted:
		signal.Stop(interrupted) // a second one ends this process as usual
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		<-answered // a question that was on the terminal is off it
		return nil, errInterrupted
	case ok := <-answered:
		if !ok {
			return nil, ending(cmd.Wait())
		}
	}
	return cmd.Process, nil
}

// pipeBothWays is a pipe to this process and one to its child.
func pipeBothWays() (ours, childs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("a pipe to the background process: %w", err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	return os.NewFile(uintptr(fds[0]), "ready"), os.NewFile(uintptr(fds[1]), "ready"), nil
}

// closeOnExec keeps descriptors of whoever started us out of the background process: a
// lock or a pipe would otherwise live as long as the mount.
func closeOnExec() {
	const enough = 4096
	for fd := 3; fd < enough; fd++ {
		syscall.CloseOnExec(fd)
	}
}

// ending explains the end of a background process that never got ready.
func ending(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exitStatus(exit.ExitCode())
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("the background process stopped before the mount answered: %w", err)
}

// executable is the path of this program, because ps shows its name for the background
// process. If the file of the program is gone or replaced, it is /proc/self/exe, whose
// name says nothing.
func executable() (string, error) {
	path, err := os.Executable()
	const self = "/proc/self/exe"
	running, errRunning := os.Stat(self)
	if errRunning != nil {
		return path, err
	}
	if err == nil {
		if file, err := os.Stat(path); err == nil && os.SameFile(file, running) {
			return path, nil
		}
	}
	return self, nil
}

// readyPipe is the pipe of a background process, nil in any other.
func readyPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	_ = os.Unsetenv(readyEnv)
	if err != nil || fd < 3 {
		return nil
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}

// detach lets go of the user's terminal and directory, and tells the waiting process
// that the mount answers. It fails if nobody waits any more.
func detach(a *app, ready *os.File, log logDestination) error {
	defer ready.Close()
	if err := os.Chdir("/"); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	log.use(a)
	// What the runtime says of a crash goes to the log file too.
	crash := null
	if log.file != nil {
		crash = log.file
	}
	for fd, f := range []*os.File{null, null, crash} {
		if err := duplicate(int(f.Fd()), fd); err != nil {
			return err
		}
	}
	if _, err := ready.Write([]byte{saysReady}); err != nil {
		return fmt.Errorf("the process that started the mount is gone: %w", err)
	}
	return nil
}
