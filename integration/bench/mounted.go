//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// way is one way to read the LV.
type way struct {
	name string
	open func(b *bench, image string) (*mounted, error)
}

// mounted is the LV as one way shows it.
type mounted struct {
	file string // the LV
	skip int64  // bytes in front of it in file
	pid  int    // of the daemon; 0 for none
}

// ways are those that are here: the first is the plain file, the second lvm2fs.
func (b *bench) ways() []way {
	ways := []way{
		{"plain file", func(b *bench, image string) (*mounted, error) { return &mounted{file: image, skip: b.start}, nil }},
		{"lvm2fs", func(b *bench, image string) (*mounted, error) {
			return b.startDaemon(filepath.Join("bench", "lv"), b.program, "-f", "-r", image)
		}},
	}
	if b.peer != "" {
		ways = append(ways, way{"vslvmmount", func(b *bench, image string) (*mounted, error) {
			return b.startDaemon("lvm1", b.peer, "-f", image)
		}})
	}
	return ways
}

// directWay is lvm2fs with nothing kept by the kernel.
var directWay = way{"lvm2fs -o direct_io", func(b *bench, image string) (*mounted, error) { return b.mountLV("bench/lv", image) }}

// startDaemon starts a program in the foreground, and waits until the file is there. The mountpoint is the last
// argument.
func (b *bench) startDaemon(file, program string, args ...string) (*mounted, error) {
	dir, err := b.mkdir("fuse")
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(program, "vslvmmount") {
		args = args[1:] // it knows no -f, and stays in the background by itself
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, append(args, dir)...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	b.later(func() {
		_, _ = run("umount", dir)
		<-ended
	})
	m := &mounted{file: filepath.Join(dir, file)}
	for range 500 {
		if _, err := os.Stat(m.file); err == nil {
			m.pid, err = daemonOf(program, dir)
			return m, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	return nil, fmt.Errorf("%s does not mount:\n%s", program, stderr.String())
}

// daemonOf finds the process that serves a mountpoint: a program may have forked.
func daemonOf(program, mountpoint string) (int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, name := range dirs {
		args, err := os.ReadFile(name)
		if err == nil && bytes.HasSuffix(args, []byte("\x00"+mountpoint+"\x00")) {
			return strconv.Atoi(filepath.Base(filepath.Dir(name)))
		}
	}
	return 0, fmt.Errorf("no process of %s at %s", program, mountpoint)
}

// cpu is the processor time that the daemon has used, in seconds.
func (m *mounted) cpu() float64 {
	if m.pid == 0 {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.pid))
	if err != nil {
		return 0
	}
	// Behind the name: state is field 0, utime 11, stime 12, in hundredths of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks float64
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseFloat(f, 64)
		ticks += n
	}
	return ticks / 100
}

// rss is the memory that the daemon holds, in KiB.
func (m *mounted) rss() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("no VmRSS in the status of process %d", m.pid)
}

// with opens the LV one way, freshly, so that FUSE's own cache is empty.
func (b *bench) with(w way, image string, f func(m *mounted) error) error {
	return b.scope(func() error {
		m, err := w.open(b, image)
		if err != nil {
			return err
		}
		return f(m)
	})
}

func exists(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func sync() { syscall.Sync() }
