//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"lvm2fs/internal/test/testimages"
)

// cached measures LVs of the other kinds that the collection of images has (cached, checksummed, deduplicated) against
// a linear LV. They are small, so each is read over and over.
func (b *bench) cached() error {
	heading("Cached, checksummed and deduplicated LVs of the images, against linear, MiB/s (median of %d)", rounds)
	linear, err := b.mountLV("bench/lv", b.image)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name, image, lv string
		wanted          float64 // 0 where the ratio is only reported
		cost            string  // what it takes its time for
	}{
		{"cache, writethrough", "cache-wt", "vg_cachewt/wtpool1", 0.8, ""},
		{"cache, cachevol", "cache-wt", "vg_cachewt/wtvol2", 0.8, ""},
		{"cache, dirty, writeback", "cache-dirty", "vg_cache_dirty/wbpool1", 0.8, ""},
		{"writecache, blocks of 4096", "writecache", "vg_wc/wc4k", 0, ""},
		{"writecache, blocks of 512", "writecache", "vg_wc/wc512", 0, ""},
		{"integrity under raid1, journal", "integrity", "vg_integ/r1j", 0, "checking"},
		{"integrity under raid1, bitmap", "integrity", "vg_integ/r1b", 0, "checking"},
		{"integrity under raid5, journal", "integrity", "vg_integ/r5j", 0, "checking"},
		{"vdo, compressed and deduplicated", "vdo", "vg_vdo/vol", 0, ""},
		{"vdo, as it is", "vdo-plain", "vg_vdop/vol", 0, ""},
	} {
		err := b.scope(func() error {
			archive := filepath.Join(b.images, c.image, "disks.tar.zst")
			if _, err := os.Stat(archive); err != nil {
				fmt.Printf("  %s: skipped: no image %s (LVM2FS_IMAGES)\n", c.name, c.image)
				return nil
			}
			dir, err := b.mkdir(c.image)
			if err != nil {
				return err
			}
			b.removeLater(dir)
			if err := testimages.Extract(archive, dir); err != nil {
				return err
			}
			disks, err := filepath.Glob(filepath.Join(dir, "*.img"))
			if err != nil {
				return err
			}
			m, err := b.mountLV(c.lv, disks...)
			if err != nil {
				return err
			}
			info, err := os.Stat(m.file)
			if err != nil {
				return err
			}
			speed, err := race(info.Size(), linear, m)
			if err != nil {
				return err
			}
			if c.wanted > 0 {
				speed.goal(c.name, 1, 0, "of linear", c.wanted)
				return nil
			}
			note := "of linear"
			if c.cost != "" {
				seconds := func(speed float64) float64 { return 1024 / speed }
				note += fmt.Sprintf("; %s costs %.2f s/GiB", c.cost, seconds(speed.of(1))-seconds(speed.of(0)))
			}
			row(c.name, speed.of(1), "MiB/s", speed.of(1)/speed.ratio(1, 0), note)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
