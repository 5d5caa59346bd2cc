//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// inMemory runs the benchmarks of what is computed and not only moved, for their speed on one core.
func (b *bench) inMemory() error {
	const times = 3
	heading("Computing in memory, on one core, MB/s (best of %d)", times)
	for _, c := range []struct {
		pkg, benchmark, unit, name string
		wanted                     float64
	}{
		{"./raid", "BenchmarkRebuild/xor/64K", "MB/s", "a lost leg of raid5, rebuilt by XOR", 5000},
		{"./raid", "BenchmarkRebuild/raid6_two_lost/64K", "MB/s", "two lost legs of raid6, rebuilt", 2000},
		{"./layers/luks", "BenchmarkDecrypt/aes-xts-plain64-512-sector-512", "MB/s/core", "LUKS, aes-xts with 512 bits of key, decrypted", 1500},
		{"./layers/luks", "BenchmarkDecrypt/aes-xts-plain64-256-sector-512", "MB/s/core", "LUKS, aes-xts with 256 bits of key, decrypted", 1500},
	} {
		best, err := b.benchmark(c.pkg, c.benchmark, c.unit, times)
		if err != nil {
			return err
		}
		goal(c.name, best, "MB/s", c.wanted, "of what is wanted", 1)
	}
	return nil
}

// benchmark is the best of what a benchmark of a package tells in a unit.
func (b *bench) benchmark(pkg, benchmark, unit string, times int) (best float64, err error) {
	pattern := "^" + strings.ReplaceAll(benchmark, "/", "$/^") + "$"
	out, err := run("go", "test", "-run", "^$", "-bench", pattern, "-benchtime", "300ms", "-count", strconv.Itoa(times), pkg)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		for i := 1; i < len(fields); i++ {
			if fields[i] != unit || !strings.HasPrefix(fields[0], benchmark) {
				continue
			}
			speed, err := strconv.ParseFloat(fields[i-1], 64)
			if err != nil {
				return 0, err
			}
			best = max(best, speed)
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("%s tells nothing in %s:\n%s", benchmark, unit, out)
	}
	return best, nil
}
