//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const mib = 1 << 20

func (b *bench) sequential() error {
	heading("Sequential read, dd bs=1M, MiB/s (best of 3); processor time of the daemon")
	var plain, ours [2]float64
	for i, w := range append(b.ways(), directWay) {
		var best [2]float64
		var cpu float64
		for range 3 {
			err := b.with(w, b.image, func(m *mounted) error {
				used := m.cpu()
				for pass := range best {
					took, err := timed("dd", "if="+m.file, "of=/dev/null", "bs=1M", "status=none", "iflag=skip_bytes,count_bytes",
						fmt.Sprint("skip=", m.skip), fmt.Sprint("count=", b.size))
					if err != nil {
						return err
					}
					best[pass] = max(best[pass], float64(b.size)/mib/took.Seconds())
					if pass == 0 {
						cpu = m.cpu() - used
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		switch i {
		case 0:
			plain = best
		case 1:
			ours = best
		}
		for pass, name := range []string{"first pass", "second pass"} {
			if w.name == directWay.name {
				goal(w.name+", "+name, best[pass], "MiB/s", plain[pass], "of the plain file", 0.3)
				continue
			}
			row(w.name+", "+name, best[pass], "MiB/s", plain[pass], "of the plain file")
			if i > 1 {
				row("  lvm2fs is", ours[pass], "MiB/s", best[pass], "of "+w.name)
			}
		}
		if i > 0 {
			row(w.name+", processor time, first pass", cpu/(float64(b.size)/(1<<30)), "s/GiB", 0, "")
		}
	}
	return nil
}

// randomRounds is how often each way is read at random, in turn with the others.
const randomRounds = 5

func (b *bench) random() error {
	heading("Random reads of 4 KiB, each block once, IOPS (medians of %d rounds, the ways in turn)", randomRounds)
	for _, jobs := range []int{1, 4, 16} {
		ways := append(b.ways(), directWay)
		iops := make([][]float64, len(ways))
		for round := range randomRounds {
			for turn := range ways {
				i := (turn + round) % len(ways)
				err := b.with(ways[i], b.image, func(m *mounted) error {
					n, err := b.fio(m, jobs)
					iops[i] = append(iops[i], n/1000)
					return err
				})
				if err != nil {
					return err
				}
			}
		}
		for i, w := range ways {
			row(fmt.Sprintf("%s, %d jobs", w.name, jobs), median(iops[i]), "k IOPS", median(iops[0]), "of the plain file")
			row("  spread", slices.Max(iops[i])-slices.Min(iops[i]), "k IOPS", median(iops[i]), "of the median")
			if i > 1 && w.name != directWay.name {
				for _, ours := range []int{1, len(ways) - 1} {
					goal(fmt.Sprintf("  %s, %d jobs", ways[ours].name, jobs), median(iops[ours]), "k IOPS", median(iops[ours])/ratio(iops[ours], iops[i]), "of "+w.name, 1.2)
				}
			}
		}
	}
	return nil
}

// fio reads every block of a quarter of the LV once, in random order.
func (b *bench) fio(m *mounted, jobs int) (float64, error) {
	each := b.size / 4 / int64(jobs)
	out, err := run("fio", "--name=random", "--filename="+m.file, "--rw=randread", "--bs=4k", "--ioengine=psync",
		"--readonly", "--invalidate=0", "--thread", "--group_reporting", "--output-format=json",
		"--numjobs="+strconv.Itoa(jobs), fmt.Sprint("--size=", each), fmt.Sprint("--offset=", m.skip), fmt.Sprint("--offset_increment=", each))
	if err != nil {
		return 0, err
	}
	var report struct {
		Jobs []struct {
			Read struct {
				IOPS float64 `json:"iops"`
			} `json:"read"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, fmt.Errorf("fio: %w", err)
	}
	if len(report.Jobs) != 1 {
		return 0, fmt.Errorf("fio reported %d jobs", len(report.Jobs))
	}
	return report.Jobs[0].Read.IOPS, nil
}

// fileSystem reads an ext4 through a loop device on the LV's file, and the same one
// through a loop device with an offset into the image.
func (b *bench) fileSystem() error {
	heading("ext4 on a loop device: on the LV's file, and with an offset into the image, s (best of 3)")
	image, start, err := b.makePV(b.size / 2)
	if err != nil {
		return err
	}
	offset := []string{"--offset", fmt.Sprint(start), "--sizelimit", fmt.Sprint(b.size / 2)}
	if err := b.fillExt4(image, start, b.size/2, b.size/2); err != nil {
		return err
	}
	sync()
	for _, work := range []struct {
		name    string
		command []string
	}{
		{"read the large file", []string{"sh", "-c", "cat large >/dev/null"}},
		{"read every file", []string{"sh", "-c", "find . -type f -exec cat {} + >/dev/null"}},
		{"stat every file", []string{"sh", "-c", "ls -lR . >/dev/null"}},
	} {
		var offsetTime float64
		for i, w := range b.ways() {
			best := time.Hour
			for range 3 {
				err := b.with(w, image, func(m *mounted) error {
					flags := []string{"--read-only"}
					if m.skip != 0 {
						flags = append(flags, offset...)
					}
					loop, err := b.attach(m.file, flags...)
					if err != nil {
						return err
					}
					dir, err := b.mountDevice(loop, "-o", "ro")
					if err != nil {
						return err
					}
					took, err := timed("env", append([]string{"-C", dir}, work.command...)...)
					best = min(best, took)
					return err
				})
				if err != nil {
					return err
				}
			}
			if i == 0 {
				offsetTime = best.Seconds()
				row(work.name+": with an offset", best.Seconds(), "s", 0, "")
			} else {
				row(work.name+": on the file of "+w.name, best.Seconds(), "s", offsetTime, "of the time with an offset")
			}
		}
	}
	return nil
}

// memory looks at what an idle mount holds, of a small image and of a huge one.
func (b *bench) memory() error {
	heading("Memory of an idle mount, KiB")
	huge, _, err := b.makePV(1 << 40)
	if err != nil {
		return err
	}
	for _, w := range b.ways()[1:] {
		var small float64
		for _, image := range []struct{ name, path string }{{filepath.Base(b.image), b.image}, {"1 TiB", huge}} {
			err := b.with(w, image.path, func(m *mounted) error {
				rss, err := m.rss()
				if image.path == huge {
					row(w.name+", image of 1 TiB", rss, "KiB", small, "of that of the small one")
				} else {
					small = rss
					row(fmt.Sprintf("%s, image of %d MiB", w.name, b.size>>20), rss, "KiB", 0, "")
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
