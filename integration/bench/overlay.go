//go:build linux

package main

import (
	"math/rand/v2"
	"os"
	"time"
)

// overlay measures a mount with an overlay against one without.
func (b *bench) overlay() error {
	heading("An overlay, against a mount without (median of %d)", rounds)
	image, _, err := b.makePV(b.size / 2)
	if err != nil {
		return err
	}
	b.removeLater(image)
	changes, err := b.mkdir("changes")
	if err != nil {
		return err
	}
	b.removeLater(changes)
	return b.scope(func() error {
		over, err := b.startDaemon("bench/lv", b.program, "-f", "-o", "direct_io,overlay="+changes, image)
		if err != nil {
			return err
		}
		plain, err := b.startDaemon("bench/lv", b.program, "-f", "-o", "direct_io", image)
		if err != nil {
			return err
		}
		info, err := os.Stat(over.file)
		if err != nil {
			return err
		}
		size := info.Size()
		// The last eighth changes, the rest does not.
		quiet := size / 8 * 7
		files := []*mounted{plain, over}
		iops, err := raceWriting(quiet, size, files...)
		if err != nil {
			return err
		}
		speed, err := race(quiet, files...)
		if err != nil {
			return err
		}
		speed.goal("sequential reads of what has not changed", 1, 0, "of the mount without", 0.9)
		goal("random writes of 4 KiB", iops.of(1), "k IOPS", iops.of(1)/iops.ratio(1, 0), "of the mount without", 0.5)
		return nil
	})
}

// raceWriting writes random blocks of 4 KiB, between two offsets, to each file in turn. It returns thousands of writes
// a second. Each turn is flushed; that time is not counted.
func raceWriting(from, to int64, files ...*mounted) (speeds, error) {
	const block, turn = 4096, 1000
	all := make(speeds, len(files))
	p := make([]byte, block)
	for round := range rounds + 1 {
		for i, m := range files {
			f, err := os.OpenFile(m.file, os.O_RDWR, 0)
			if err != nil {
				return nil, err
			}
			start := time.Now()
			for range turn {
				p[rand.IntN(block)]++
				if _, err := f.WriteAt(p, from/block*block+rand.Int64N((to-from)/block)*block); err != nil {
					return nil, err
				}
			}
			took := time.Since(start)
			if err := f.Sync(); err != nil {
				return nil, err
			}
			if err := f.Close(); err != nil {
				return nil, err
			}
			if round > 0 {
				all[i] = append(all[i], turn/1000/took.Seconds())
			}
		}
	}
	return all, nil
}
