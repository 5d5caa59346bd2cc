package integration

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
)

// daemon is an lvm2fs that was started in the foreground.
type daemon struct {
	dir    string // the mountpoint
	cmd    *exec.Cmd
	stderr *lockedBuffer
	ended  chan struct{}
}

// serve mounts in the foreground. The test ends it, or else it is unmounted.
func (who person) serve(t *testing.T, args ...string) *daemon {
	t.Helper()
	testenv.NeedFUSE(t)
	d := &daemon{dir: who.mountpoint(t), stderr: new(lockedBuffer), ended: make(chan struct{})}
	d.cmd = who.command(program, append(append([]string{"-f"}, args...), d.dir)...)
	d.cmd.Stderr = d.stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.cmd.Process.Signal(syscall.SIGTERM)
		if !d.hasEnded(10 * time.Second) {
			t.Errorf("lvm2fs does not end on SIGTERM")
			d.cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("standard error of lvm2fs:\n%s", d.stderr)
		}
	})
	if !waitFor(10*time.Second, func() bool { return isMounted(d.dir) || d.hasEnded(0) }) || d.hasEnded(0) {
		t.Fatalf("lvm2fs %s does not mount:\n%s", strings.Join(args, " "), d.stderr)
	}
	return d
}

func (d *daemon) hasEnded(within time.Duration) bool {
	select {
	case <-d.ended:
		return true
	case <-time.After(within):
		return false
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
