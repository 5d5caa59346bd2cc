//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"lvm2fs/internal/testimages"
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

func (b *bench) dumpAgainstDD(dir, image string) error {
	out := filepath.Join(dir, "out")
	best := map[string]time.Duration{}
	// In turn, so that both see the same state of the caches.
	for range 3 {
		for _, c := range [][]string{
			{"dd", "if=" + image, "of=" + out, "bs=1M", "status=none", "iflag=skip_bytes,count_bytes", fmt.Sprint("skip=", b.start), fmt.Sprint("count=", b.size)},
			{b.program, "dump", "-C", out, image},
		} {
			if c[0] != "dd" {
				if err := os.Mkdir(out, 0o755); err != nil {
					return err
				}
			}
			sync()
			took, err := timed(c[0], c[1:]...)
			if err != nil {
				return err
			}
			if old, ok := best[c[0]]; !ok || took < old {
				best[c[0]] = took
			}
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	row("dd bs=1M", best["dd"].Seconds(), "s", 0, "")
	row("lvm2fs dump", best[b.program].Seconds(), "s", best["dd"].Seconds(), "of the time of dd")
	return nil
}

// list shows a VG of 2000 LVs, and lvs does.
func (b *bench) list() error {
	archive := filepath.Join(b.images, "vg2000", "disks.tar.zst")
	if _, err := os.Stat(archive); err != nil {
		heading("No images, so no list of 2000 LVs (LVM2FS_IMAGES): %v", err)
		return nil
	}
	heading("List of a VG of 2000 LVs, s (best of 5)")
	return b.scope(func() error {
		dir, err := b.mkdir("vg2000")
		if err != nil {
			return err
		}
		if err := testimages.Extract(archive, dir); err != nil {
			return err
		}
		disks, err := filepath.Glob(filepath.Join(dir, "*.img"))
		if err != nil {
			return err
		}
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
		row("lvm2fs list", ours.Seconds(), "s", lvs.Seconds(), "of the time of lvs")
		row("lvm2fs list --json", ourJSON.Seconds(), "s", lvs.Seconds(), "of the time of lvs")
		return nil
	})
}
