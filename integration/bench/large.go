//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lvm2fs/internal/test/testpv"
)

// largeSeconds is what list, mount and ls -l of a large VG are to take at most.
const largeSeconds = 2

// large looks at a VG of many LVs and at an LV of many segments.
func (b *bench) large() error {
	for _, c := range []struct {
		name string
		vg   testpv.VG
	}{
		{"a VG of 20 000 LVs", manyLVs(20_000)},
		{"an LV of 100 000 segments", manySegments(100_000)},
	} {
		heading("Start with %s, s (best of 3)", c.name)
		if err := b.scope(func() error { return b.largeVG(c.vg) }); err != nil {
			return err
		}
	}
	return nil
}

func manyLVs(count int) testpv.VG {
	vg := testpv.VG{Name: "large", Seqno: 1, PVs: []string{"sda"}, PVExtents: count}
	for i := range count {
		vg.LVs = append(vg.LVs, testpv.LV{Name: fmt.Sprintf("lv%05d", i), Segments: []string{testpv.Linear(0, 1, "pv0", i)}})
	}
	return vg
}

// manySegments has no two that lie one behind the other.
func manySegments(count int) testpv.VG {
	lv := testpv.LV{Name: "lv"}
	for i := range count {
		lv.Segments = append(lv.Segments, testpv.Linear(i, 1, "pv0", count-1-i))
	}
	return testpv.VG{Name: "large", Seqno: 1, PVs: []string{"sda"}, PVExtents: count, LVs: []testpv.LV{lv}}
}

func (b *bench) largeVG(vg testpv.VG) error {
	image := b.temp("large.img")
	b.removeLater(image)
	if err := os.WriteFile(image, vg.LargeDisk().Bytes, 0o600); err != nil {
		return err
	}
	list, mount, ls := time.Hour, time.Hour, time.Hour
	var listed, mounted float64 // KiB
	for range 3 {
		err := b.scope(func() error {
			cmd := exec.Command(b.program, "list", image)
			start := time.Now()
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("list: %w", err)
			}
			list = min(list, time.Since(start))
			listed = float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			start = time.Now()
			m, err := b.startDaemon("large", b.program, "-f", "-r", image)
			if err != nil {
				return err
			}
			mount = min(mount, time.Since(start))
			took, err := timed("ls", "-l", m.file)
			if err != nil {
				return err
			}
			ls = min(ls, took)
			mounted, err = m.rss()
			return err
		})
		if err != nil {
			return err
		}
	}
	limit("list", list.Seconds(), largeSeconds, "of what is wanted", 1)
	row("  memory", listed, "KiB", 0, "")
	limit("mount", mount.Seconds(), largeSeconds, "of what is wanted", 1)
	limit("ls -l", ls.Seconds(), largeSeconds, "of what is wanted", 1)
	row("  memory of the mount", mounted, "KiB", 0, "")
	return nil
}

// firstBytes looks at how long it takes to the first byte of an LV, and how often the kernel is asked for anything until then.
func (b *bench) firstBytes() error {
	heading("From the start of dump to its first byte (best of 5)")
	for _, pvs := range []int{1, 16} {
		vg := testpv.VG{Name: "vg", Seqno: 1}
		for i := range pvs {
			vg.PVs = append(vg.PVs, fmt.Sprintf("sd%c", 'a'+i))
		}
		vg.LVs = []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 1, fmt.Sprintf("pv%d", pvs-1), 0)}}}
		if err := b.scope(func() error { return b.firstByte(vg) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) firstByte(vg testpv.VG) error {
	args := []string{b.program, "dump", "-o", "-", "--lv", "vg/lv"}
	for _, d := range vg.Disks() {
		path := b.temp(d.Label)
		b.removeLater(path)
		if err := os.WriteFile(path, d.Bytes, 0o600); err != nil {
			return err
		}
		args = append(args, path)
	}
	best := time.Hour
	for range 5 {
		took, err := untilFirstByte(args)
		if err != nil {
			return err
		}
		best = min(best, took)
	}
	row(fmt.Sprintf("%d PVs", len(vg.PVs)), best.Seconds()*1000, "ms", 0, "")
	if !exists("strace") {
		return nil
	}
	counts := b.temp("strace")
	b.removeLater(counts)
	if _, err := run("strace", append([]string{"-f", "-c", "-o", counts}, args...)...); err != nil {
		return err
	}
	text, err := os.ReadFile(counts)
	if err != nil {
		return err
	}
	for _, call := range []string{"total", "pread64", "openat"} {
		row("  system calls, "+call, calls(string(text), call), "", 0, "")
	}
	return nil
}

// untilFirstByte is how long a program takes to write something.
func untilFirstByte(args []string) (time.Duration, error) {
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_, err = out.Read(make([]byte, 1))
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%s wrote nothing: %w", filepath.Base(args[0]), err)
	}
	_ = out.Close() // the rest is not wanted, so how it ends does not matter
	_ = cmd.Wait()
	return took, nil
}

// calls is the number of calls in the table that strace -c prints: % time, seconds, usecs/call, calls, errors if there are any, name.
func calls(table, name string) float64 {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) >= 5 && fields[len(fields)-1] == name {
			n, _ := strconv.ParseFloat(fields[3], 64)
			return n
		}
	}
	return 0
}
