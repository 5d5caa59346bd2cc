//go:build linux

package main

import (
	"fmt"

	"lvm2fs/internal/test/testpv"
)

const (
	stripeSize = 64 << 10
	stripes    = 4 // of data, in all but the mirrors
)

// legSize is how much of each array lies on one disk.
func (b *bench) legSize() int64 { return b.size / 16 }

// arrays are the RAID types, with as many legs as make the stripes.
func (b *bench) array(typ string) testpv.RAID {
	r := testpv.RAID{Type: typ, VG: typ, Legs: stripes, LegSize: b.legSize(), Stripe: stripeSize}
	switch typ {
	case "raid1":
		r.Legs, r.Stripe = 2, 0
	case "raid4", "raid5_ls":
		r.Legs++
	case "raid6_zr":
		r.Legs += 2
	}
	return r
}

// makeArray writes the disks of an array, which go with the scope.
func (b *bench) makeArray(typ string) (disks []string, err error) {
	dir, err := b.mkdir(typ)
	if err != nil {
		return nil, err
	}
	b.removeLater(dir)
	return b.array(typ).Write(dir)
}

// mountLV mounts disks, read-only, and gives the file of one LV. The kernel keeps no pages, for it is lvm2fs that is measured.
func (b *bench) mountLV(lv string, args ...string) (*mounted, error) {
	return b.startDaemon(lv, b.program, append([]string{"-f", "-r", "-o", "direct_io"}, args...)...)
}

// raid measures arrays against plain LVs on the same disks, and those that lack disks against whole ones.
func (b *bench) raid() error {
	heading("RAID, sequential reads of 1 MiB, %d stripes of 64 KiB, MiB/s (median of %d)", stripes, rounds)
	for _, c := range []struct {
		typ      string
		wanted   float64 // of the plain LV
		lost     int     // disks that are then taken away
		degraded float64 // wanted then, of the whole array
	}{
		{"raid0", 0.8, 0, 0},
		{"raid1", 1, 0, 0},
		{"raid4", 0.8, 0, 0},
		{"raid5_ls", 0.8, 1, 0.5},
		{"raid6_zr", 0.8, 2, 0.25},
		{"raid10", 0.8, 0, 0},
	} {
		err := b.scope(func() error {
			disks, err := b.makeArray(c.typ)
			if err != nil {
				return err
			}
			whole, err := b.mountLV(c.typ+"/lv", disks...)
			if err != nil {
				return err
			}
			files := []*mounted{{file: sibling(whole.file, "plain")}, whole}
			if c.lost > 0 {
				degraded, err := b.mountLV(c.typ+"/lv", disks[c.lost:]...)
				if err != nil {
					return err
				}
				files = append(files, degraded)
			}
			array := b.array(c.typ)
			speed, err := race(array.Size(), files...)
			if err != nil {
				return err
			}
			plain := "linear"
			if n := array.PlainStripes(); n > 1 {
				plain = fmt.Sprintf("%d stripes", n)
			}
			row(plain, speed.of(0), "MiB/s", 0, "")
			speed.goal(c.typ, 1, 0, "of "+plain, c.wanted)
			if c.lost > 0 {
				speed.goal(fmt.Sprintf("%s, %d of %d disks missing", c.typ, c.lost, len(disks)), 2, 1, "of whole", c.degraded)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return b.degradedWrites()
}

// degradedWrites measures writes, in order, to arrays that lack legs against those to whole ones, with legs in the page
// cache.
func (b *bench) degradedWrites() error {
	const times, unit = 3, "MB/s-undisturbed"
	heading("RAID 6 of 6 legs, sequential writes, MB/s (best of %d)", times)
	for _, size := range []string{"4K", "64K", "1024K"} {
		name := "BenchmarkWriteFiles/write=" + size + "/"
		whole, err := b.benchmark("./raid", name+"raid6", unit, times)
		if err != nil {
			return err
		}
		row(size+", whole", whole, "MB/s", 0, "")
		for _, lost := range []string{"one", "two"} {
			speed, err := b.benchmark("./raid", name+"raid6_"+lost+"_lost", unit, times)
			if err != nil {
				return err
			}
			goal(fmt.Sprintf("%s, %s lost", size, lost), speed, "MB/s", whole, "of whole", 0.5)
		}
	}
	return nil
}
