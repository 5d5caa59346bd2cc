//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"lvm2fs/internal/test/testimages"
)

// dump writes the LV out, and dd the same range.
func (b *bench) dump() error {
	heading("Writing the LV out, s (best of 3)")
	return b.scope(func() error { return b.dumpAgainstDD(b.dir, b.image) })
}

// reflink does so on file systems that can share blocks.
func (b *bench) reflink() error {
	for _, fs := range []string{"btrfs", "xfs"} {
		mkfs := "mkfs." + fs
		if !exists(mkfs) {
			continue
		}
		heading("Writing the LV out on %s, s (best of 3)", fs)
		err := b.scope(func() error {
			disk := b.temp(fs + ".img")
			if err := os.WriteFile(disk, nil, 0o600); err != nil {
				return err
			}
			b.later(func() { os.Remove(disk) })
			if err := os.Truncate(disk, 3*b.size+1<<30); err != nil {
				return err
			}
			if _, err := run(mkfs, "-q", disk); err != nil {
				return err
			}
			loop, err := b.attach(disk)
			if err != nil {
				return err
			}
			dir, err := b.mountDevice(loop)
			if err != nil {
				return err
			}
			image := filepath.Join(dir, "pv.img")
			if _, err := run("cp", b.image, image); err != nil {
				return err
			}
			return b.dumpAgainstDD(dir, image)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dumpAgainstDD also lets dd wait for the disk: dump waits too, before it gives a file its name.
func (b *bench) dumpAgainstDD(dir, image string) error {
	out := filepath.Join(dir, "out")
	dd := []string{
		"dd", "if=" + image, "of=" + filepath.Join(out, "lv"), "bs=1M", "status=none", "iflag=skip_bytes,count_bytes",
		fmt.Sprint("skip=", b.start), fmt.Sprint("count=", b.size),
	}
	commands := [][]string{dd, append(dd[:len(dd):len(dd)], "conv=fsync"), {b.program, "dump", "-C", out, image}, {b.program, "dump", "--no-sync", "-C", out, image}}
	best := make([]float64, len(commands))
	for range 3 {
		for i, c := range commands { // in turn, so that all see the same state of the caches
			if err := os.Mkdir(out, 0o755); err != nil {
				return err
			}
			sync()
			took, err := timed(c[0], c[1:]...)
			if err != nil {
				return err
			}
			if best[i] == 0 || took.Seconds() < best[i] {
				best[i] = took.Seconds()
			}
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	row("dd bs=1M", best[0], "s", 0, "")
	row("dd bs=1M conv=fsync", best[1], "s", 0, "")
	row("lvm2fs dump", best[2], "s", best[0], "of the time of dd")
	limit("lvm2fs dump", best[2], best[1], "of the time of dd conv=fsync", 1)
	limit("lvm2fs dump --no-sync", best[3], best[0], "of the time of dd", 1.1)
	return nil
}

// list shows a VG of 2000 LVs, and lvs does.
func (b *bench) list() error {
	disks, err := b.extract("vg2000")
	if err != nil || disks == nil {
		return err
	}
	heading("List of a VG of 2000 LVs, s (best of 5)")
	return b.scope(func() error {
		var loops []string
		for _, disk := range disks {
			loop, err := b.attach(disk, "--read-only")
			if err != nil {
				return err
			}
			loops = append(loops, loop)
		}
		lvs, ours, ourJSON := time.Hour, time.Hour, time.Hour
		for range 5 {
			start := time.Now()
			if _, err := lvm(loops, "lvs"); err != nil {
				return err
			}
			lvs = min(lvs, time.Since(start))
			took, err := timed(b.program, append([]string{"list"}, loops...)...)
			if err != nil {
				return err
			}
			ours = min(ours, took)
			start = time.Now()
			out, err := run(b.program, append([]string{"list", "--json"}, loops...)...)
			if err != nil {
				return err
			}
			ourJSON = min(ourJSON, time.Since(start))
			if !json.Valid([]byte(out)) {
				return fmt.Errorf("list --json gave no JSON")
			}
		}
		row("lvs", lvs.Seconds(), "s", 0, "")
		limit("lvm2fs list", ours.Seconds(), lvs.Seconds(), "of the time of lvs", 0.3)
		row("lvm2fs list --json", ourJSON.Seconds(), "s", lvs.Seconds(), "of the time of lvs")
		return nil
	})
}

// extract unpacks disks of the collection of images; nil if it is not there.
func (b *bench) extract(name string) (disks []string, err error) {
	archive := filepath.Join(b.images, name, "disks.tar.zst")
	if _, err := os.Stat(archive); err != nil {
		heading("No images, so nothing about %s (LVM2FS_IMAGES): %v", name, err)
		return nil, nil
	}
	dir, err := b.mkdir(name)
	if err != nil {
		return nil, err
	}
	b.removeLater(dir)
	if err := testimages.Extract(archive, dir); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.img"))
}
