//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A block device and the one it is measured against are used in turn: blockRounds times each, for blockTurn.
const (
	blockRounds = 7
	blockTurn   = 500 * time.Millisecond
)

// workload is a way to use a block device. It has goals, as parts of the speed of a loop device with an offset: one
// for a contiguous LV, and one for an LV that a process serves.
type workload struct {
	name           string
	rw, size       string
	depth          int
	direct, served float64
}

var workloads = []workload{
	{"read 1 MiB, depth 4", "read", "1m", 4, 0.97, 0.6},
	{"write 1 MiB, depth 4", "write", "1m", 4, 0.97, 0.6},
	{"random read 4 KiB, depth 16", "randread", "4k", 16, 0.97, 0.9},
	{"random write 4 KiB, depth 16", "randwrite", "4k", 16, 0.97, 0.9},
}

// blockWay makes a block device of the LV. served says which of the two goals count.
type blockWay struct {
	name   string
	served bool
	goals  bool
	open   func(image string) (*mounted, error)
}

// blockWays are those that are here. offset is where the LV is in its image.
func (b *bench) blockWays(offset []string) []blockWay {
	onFile := func(flags ...string) func(string) (*mounted, error) {
		return func(image string) (*mounted, error) {
			m, err := b.startDaemon(filepath.Join("bench", "lv"), b.program, "-f", image)
			if err == nil {
				m.file, err = b.attach(m.file, flags...)
			}
			return m, err
		}
	}
	ways := []blockWay{
		{"attach, contiguous", false, true, func(image string) (*mounted, error) { return b.attachLV(image) }},
		{"attach, forced through a process", true, true, func(image string) (*mounted, error) { return b.attachLV(image, "--mounted") }},
		{"losetup --direct-io=on on the file", true, false, onFile("--direct-io=on")},
		{"losetup on the file", true, false, onFile()},
	}
	if exists("bindfs") { // the same way round through a process that is not in Go, which tells what that way costs
		ways = append(ways, blockWay{"losetup --direct-io=on on a file of bindfs", true, false, func(image string) (*mounted, error) {
			m, err := b.startDaemon(filepath.Base(image), "bindfs", "-f", "--multithreaded", filepath.Dir(image))
			if err == nil {
				m.file, err = b.attach(m.file, append([]string{"--direct-io=on"}, offset...)...)
			}
			return m, err
		}})
	}
	return ways
}

// attachLV has lvm2fs attach the LV, in a directory of the scope.
func (b *bench) attachLV(image string, flags ...string) (*mounted, error) {
	dir, err := b.mkdir("run")
	if err != nil {
		return nil, err
	}
	env := "LVM2FS_RUN_DIR=" + dir
	args := append([]string{env, b.program, "attach", "--lv", "bench/lv"}, flags...)
	out, err := run("env", append(args, image)...)
	if err != nil {
		return nil, err
	}
	b.later(func() {
		if _, err := run("env", env, b.program, "detach", "--all"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	list, err := run("env", env, b.program, "attach", "--list", "--json")
	if err != nil {
		return nil, err
	}
	var listed struct{ Attached []struct{ Process int } }
	if err := json.Unmarshal([]byte(list), &listed); err != nil || len(listed.Attached) != 1 {
		return nil, fmt.Errorf("attach --list shows %s: %w", list, err)
	}
	return &mounted{file: strings.Fields(out)[1], pid: listed.Attached[0].Process}, nil
}

// attached measures block devices of an LV against a loop device with an offset on its image. The image is in memory:
// on a disk, only one of them would bypass what the kernel caches of it.
func (b *bench) attached() error {
	heading("Block devices of an LV in memory, against a loop device with an offset on the image, both with direct I/O (median of %d)", blockRounds)
	dir, err := b.memoryDir()
	if err != nil {
		return err
	}
	image, start, err := b.makePVAt(filepath.Join(dir, "pv.img"), b.size)
	if err != nil {
		return err
	}
	b.removeLater(image)
	if _, err := run("dd", "if=/dev/urandom", "of="+image, "bs=1M", "conv=notrunc", "oflag=seek_bytes", fmt.Sprint("seek=", start), fmt.Sprint("count=", b.size/mib)); err != nil {
		return err
	}
	offset := []string{"--offset", fmt.Sprint(start), "--sizelimit", fmt.Sprint(b.size)}
	direct := append([]string{"--direct-io=on"}, offset...)
	for _, w := range b.blockWays(offset) {
		err := b.scope(func() error {
			native, err := b.attach(image, direct...)
			if err != nil {
				return err
			}
			m, err := w.open(image)
			if err != nil {
				return err
			}
			return b.raceBlocks(w, m, &mounted{file: native})
		})
		if err != nil {
			return err
		}
	}
	return b.attachedTree(image, direct)
}

// raceBlocks measures a block device against the native one, in every workload.
func (b *bench) raceBlocks(w blockWay, m, native *mounted) error {
	for _, load := range workloads {
		var speeds [2][]float64
		var ratios []float64
		var used, moved float64
		for round := range blockRounds {
			var got [2]blockFigures
			for turn := range 2 {
				i := (turn + round) % 2 // each is first as often
				d := []*mounted{native, m}[i]
				cpu := d.cpu()
				f, err := b.useBlocks(d.file, load.rw, load.size, load.depth)
				if err != nil {
					return err
				}
				got[i] = f
				speeds[i] = append(speeds[i], f.bytes/f.seconds)
				if i == 1 {
					used += d.cpu() - cpu
					moved += f.bytes
				}
			}
			ratios = append(ratios, got[1].bytes/got[1].seconds/(got[0].bytes/got[0].seconds))
		}
		ratio := median(ratios)
		wanted := load.direct
		if w.served {
			wanted = load.served
		}
		value := median(speeds[1]) / mib
		name := w.name + ": " + load.name
		if w.goals {
			goal(name, value, "MiB/s", value/ratio, "of native", wanted)
		} else {
			row(name, value, "MiB/s", value/ratio, "of native")
		}
		if m.pid != 0 && load.depth == 4 {
			row("  processor time", used/(moved/(1<<30)), "s/GiB", 0, "")
		}
	}
	var latency [2][]float64
	for range blockRounds {
		for i, d := range []*mounted{native, m} {
			f, err := b.useBlocks(d.file, "randread", "4k", 1)
			if err != nil {
				return err
			}
			latency[i] = append(latency[i], f.latency)
		}
	}
	row(w.name+": one random read of 4 KiB", median(latency[1])*1e6, "us", median(latency[0])*1e6, "of native")
	return nil
}

type blockFigures struct {
	bytes, seconds float64
	latency        float64 // mean, in seconds
}

// useBlocks uses a block device for a turn.
func (b *bench) useBlocks(device, rw, size string, depth int) (blockFigures, error) {
	out, err := run("fio", "--name=block", "--filename="+device, "--rw="+rw, "--bs="+size, "--ioengine=libaio", "--direct=1",
		"--iodepth="+strconv.Itoa(depth), "--time_based", fmt.Sprintf("--runtime=%dms", blockTurn.Milliseconds()), "--output-format=json")
	if err != nil {
		return blockFigures{}, err
	}
	type side struct {
		Bytes   float64 `json:"io_bytes"`
		Runtime float64 `json:"runtime"` // ms
		Latency struct {
			Mean float64 `json:"mean"`
		} `json:"clat_ns"`
	}
	var report struct{ Jobs []struct{ Read, Write side } }
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Jobs) != 1 {
		return blockFigures{}, fmt.Errorf("fio: %w\n%s", err, out)
	}
	s := report.Jobs[0].Read
	if strings.Contains(rw, "write") {
		s = report.Jobs[0].Write
	}
	if s.Bytes == 0 || s.Runtime == 0 {
		return blockFigures{}, fmt.Errorf("fio did nothing on %s", device)
	}
	return blockFigures{s.Bytes, s.Runtime / 1000, s.Latency.Mean / 1e9}, nil
}

// attachedTree reads an ext4 with one large file and 20 000 small ones on each.
func (b *bench) attachedTree(image string, offset []string) error {
	const small = 20000
	err := b.scope(func() error {
		loop, err := b.attach(image, offset...)
		if err != nil {
			return err
		}
		if _, err := run("mkfs.ext4", "-q", "-F", "-N", strconv.Itoa(2*small), loop); err != nil {
			return err
		}
		dir, err := b.mountDevice(loop)
		if err != nil {
			return err
		}
		if _, err := run("dd", "if=/dev/urandom", "of="+filepath.Join(dir, "large"), "bs=1M", fmt.Sprint("count=", b.size/4/mib)); err != nil {
			return err
		}
		for i := range small {
			sub := filepath.Join(dir, fmt.Sprint("d", i%100))
			if i < 100 {
				if err := os.Mkdir(sub, 0o755); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("f", i)), make([]byte, 100+i%9000), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	sync()
	for _, work := range []struct{ name, command string }{
		{"ext4, the large file", "cat large >/dev/null"},
		{fmt.Sprintf("ext4, every file of %d", small), "find . -type f -exec cat {} + >/dev/null"},
	} {
		for _, w := range b.blockWays(nil)[:2] {
			var ratios, times []float64
			for round := range 3 {
				var took [2]float64
				open := []func(string) (*mounted, error){
					func(image string) (*mounted, error) {
						loop, err := b.attach(image, append([]string{"--read-only"}, offset...)...)
						return &mounted{file: loop}, err
					},
					w.open,
				}
				for turn := range open {
					i := (turn + round) % 2 // each is first as often
					err := b.scope(func() error {
						m, err := open[i](image)
						if err != nil {
							return err
						}
						dir, err := b.mountDevice(m.file, "-o", "ro")
						if err != nil {
							return err
						}
						d, err := timed("env", "-C", dir, "sh", "-c", work.command)
						took[i] = d.Seconds()
						return err
					})
					if err != nil {
						return err
					}
				}
				ratios = append(ratios, took[1]/took[0])
				times = append(times, took[1])
			}
			limit(work.name+": "+w.name, median(times), median(times)/median(ratios), "of the native time", 1.25)
		}
	}
	return nil
}
