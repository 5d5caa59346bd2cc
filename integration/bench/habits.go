//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// habitRounds is how often each command is run on each mount, in turn.
const habitRounds = 3

// wayOfReading is what the kernel does with what is read.
type wayOfReading struct {
	name      string
	options   []string
	readAhead int // KiB; 0: as the program sets it. Other users than root have 128
}

var waysOfReading = []wayOfReading{
	{"default", nil, 0},
	{"default, read-ahead of 128 KiB", nil, 128},
	{"direct_io", []string{"-o", "direct_io"}, 0},
	{"kernel_cache", []string{"-o", "kernel_cache"}, 0},
}

// habit is something that is done with the file of an LV.
type habit struct {
	name string
	do   func(b *bench, file string) (time.Duration, error)
}

func command(args ...string) func(b *bench, file string) (time.Duration, error) {
	return func(b *bench, file string) (time.Duration, error) {
		out := b.temp("out")
		defer os.Remove(out)
		args := slices.Clone(args)
		for i, a := range args {
			switch a {
			case "FILE":
				args[i] = file
			case "if=FILE":
				args[i] = "if=" + file
			case "OUT":
				args[i] = out
			}
		}
		return timed(args[0], args[1:]...)
	}
}

func dd(size string, total int64) habit {
	do := command("dd", "if=FILE", "of=/dev/null", "bs="+size, "iflag=count_bytes", "count="+strconv.FormatInt(total, 10))
	return habit{"dd bs=" + size, do}
}

// onLoop reads a loop device on the file.
func onLoop(name string, flags ...string) habit {
	return habit{name, func(b *bench, file string) (took time.Duration, err error) {
		err = b.scope(func() error {
			loop, err := b.attach(file, append(flags, "--read-only")...)
			if err != nil {
				return err
			}
			took, err = timed("dd", "if="+loop, "of=/dev/null", "bs=64k", "count=1024")
			return err
		})
		return took, err
	}}
}

func randomly(jobs int) habit {
	each := int64(32*mib) / int64(jobs)
	return habit{fmt.Sprintf("random 4 KiB, %d jobs", jobs), func(_ *bench, file string) (time.Duration, error) {
		return timed("fio", "--name=random", "--filename="+file, "--rw=randread", "--bs=4k", "--ioengine=psync", "--readonly", "--invalidate=0", "--thread",
			"--numjobs="+strconv.Itoa(jobs), fmt.Sprint("--size=", each), fmt.Sprint("--offset_increment=", each))
	}}
}

// habits are those of the programs that this machine has.
func habits() (all []habit) {
	all = []habit{
		dd("512", 8*mib), dd("4k", 32*mib), dd("64k", 64*mib), dd("1M", 64*mib),
		randomly(1), randomly(4), randomly(16),
		onLoop("losetup"), onLoop("losetup --direct-io=on", "--direct-io=on"),
	}
	for _, args := range [][]string{
		{"cp", "--sparse=never", "FILE", "OUT"},
		{"sha256sum", "FILE"},
		{"strings", "-n", "100", "FILE"},
		{"rg", "--mmap", "-c", "-a", "lvm2fs", "FILE"},
		{"qemu-img", "convert", "-f", "raw", "-O", "raw", "FILE", "OUT"},
		{"e2fsck", "-fn", "FILE"},
		{"debugfs", "-R", "ls -l /", "FILE"},
	} {
		if exists(args[0]) {
			all = append(all, habit{args[0], command(args...)})
		}
	}
	return all
}

// habitSize is the size in bytes of the LV that is read.
const habitSize = 64 * mib

// reading compares the ways of reading by what people do with the file of an LV, to say which way is the default and
// who should choose another. For each command it shows every way, as its time over that of the best.
func (b *bench) reading() error {
	heading("Ways of reading an ext4 of %d MiB, s, by the time of the best (median of %d)", habitSize/mib, habitRounds)
	image, start, err := b.makePV(habitSize)
	if err != nil {
		return err
	}
	b.removeLater(image)
	if err := b.fillExt4(image, start, habitSize, habitSize/2); err != nil {
		return err
	}
	var files []string
	var daemons []*mounted
	for _, w := range waysOfReading {
		m, err := b.startDaemon("bench/lv", b.program, append(append([]string{"-f"}, w.options...), image)...)
		if err != nil {
			return err
		}
		if err := setReadAhead(m.file, w.readAhead); err != nil {
			return err
		}
		files, daemons = append(files, m.file), append(daemons, m)
	}
	logs := make([]float64, len(files))
	all := habits()
	for _, h := range all {
		times := make([][]float64, len(files))
		for round := range habitRounds {
			for turn := range files {
				i := (turn + round) % len(files)
				took, err := h.do(b, files[i])
				if err != nil {
					return err
				}
				times[i] = append(times[i], took.Seconds())
			}
		}
		best := math.Inf(1)
		for i := range files {
			best = min(best, median(times[i]))
		}
		for i, w := range waysOfReading {
			row(h.name+": "+w.name, median(times[i]), "s", best, "")
			logs[i] += math.Log(median(times[i]) / best)
		}
	}
	for i, w := range waysOfReading {
		rss, err := daemons[i].rss()
		if err != nil {
			return err
		}
		row("all: "+w.name, math.Exp(logs[i]/float64(len(all))), "of best", 0, "")
		row("  memory of the process", rss, "KiB", 0, "")
	}
	return nil
}

// fillExt4 makes an ext4 with a tree and a large file, of size bytes together, in the LV of length bytes that begins at start of an image.
func (b *bench) fillExt4(image string, start, length, size int64) error {
	return b.scope(func() error {
		loop, err := b.attach(image, "--offset", fmt.Sprint(start), "--sizelimit", fmt.Sprint(length))
		if err != nil {
			return err
		}
		if _, err := run("mkfs.ext4", "-q", "-F", loop); err != nil {
			return err
		}
		dir, err := b.mountDevice(loop)
		if err != nil {
			return err
		}
		return makeTree(dir, size)
	})
}

// setReadAhead sets the read-ahead of a mount, in KiB. The kernel begins with 128; 0 leaves that.
func setReadAhead(file string, kib int) error {
	if kib == 0 {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	dev := info.Sys().(*syscall.Stat_t).Dev
	return os.WriteFile(fmt.Sprintf("/sys/class/bdi/0:%d/read_ahead_kb", dev&0xff|dev>>12&^0xff), []byte(strconv.Itoa(kib)), 0)
}

// attributes measures ls -l of a VG of many LVs against ls -l of as many files of bindfs, and each again right after:
// the kernel need not ask a second time for what it keeps.
func (b *bench) attributes() error {
	disks, err := b.extract("vg2000")
	if err != nil || disks == nil {
		return err
	}
	if !exists("bindfs") {
		heading("No bindfs, so no ls -l of 2000 LVs")
		return nil
	}
	heading("ls -l of 2000 LVs, against bindfs on as many files, s (median of %d)", habitRounds)
	lvs, err := b.startDaemon("vg_2000", b.program, append([]string{"-f", "-r"}, disks...)...)
	if err != nil {
		return err
	}
	ours := lvs.file
	names, err := os.ReadDir(ours)
	if err != nil {
		return err
	}
	source, err := b.mkdir("files")
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(source, n.Name()), nil, 0o600); err != nil {
			return err
		}
	}
	peer, err := b.startDaemon(names[0].Name(), "bindfs", "-f", source)
	if err != nil {
		return err
	}
	keeping, err := b.startDaemon("vg_2000", b.program, append([]string{"-f", "-r", "-o", "entry_timeout=1"}, disks...)...)
	if err != nil {
		return err
	}
	dirs := []string{filepath.Dir(peer.file), ours, keeping.file}
	var first, again [3][]float64
	for round := range habitRounds {
		for turn := range dirs {
			i := (turn + round) % len(dirs)
			time.Sleep(1100 * time.Millisecond) // longer than the kernel of either keeps anything
			for _, times := range []*[3][]float64{&first, &again} {
				took, err := timed("ls", "-l", dirs[i])
				if err != nil {
					return err
				}
				times[i] = append(times[i], took.Seconds())
			}
		}
	}
	for i, options := range []string{1: "", 2: " with entry_timeout=1"} {
		if i > 0 {
			row(fmt.Sprintf("ls -l of %d LVs%s", len(names), options), median(first[i]), "s", median(first[0]), "of the time of bindfs")
			row("  the same again", median(again[i]), "s", median(again[0]), "of the time of bindfs")
		}
	}
	return nil
}
