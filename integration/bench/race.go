//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Each file is read this often, in turn with the others: often and briefly, so that other work on the machine meets
// all of them alike.
const (
	rounds = 60
	turn   = 64 * mib
)

// speeds are what the files of a race were read with, in MiB/s, by file and round.
type speeds [][]float64

// race reads the first size bytes of files, or as much as they have, by 1 MiB in turn. Small ones are read
// over and over.
func race(size int64, files ...*mounted) (speeds, error) {
	all := make(speeds, len(files))
	at := make([]int64, len(files))
	for round := range rounds + 1 {
		for i, m := range files {
			speed, err := m.readOn(&at[i], size)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				all[i] = append(all[i], speed)
			}
		}
	}
	return all, nil
}

// of is the median speed of file i.
func (s speeds) of(i int) float64 { return median(s[i]) }

// ratio is the median of the speeds of file i by those of file j in the same round.
func (s speeds) ratio(i, j int) float64 { return ratio(s[i], s[j]) }

// ratio is the median, over the rounds, of what was measured of one by what was measured of the other.
func ratio(one, other []float64) float64 {
	ratios := make([]float64, len(one))
	for round := range ratios {
		ratios[round] = one[round] / other[round]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// goal prints a row for file i of a race, with its ratio to file j, which is to be at least so much.
func (s speeds) goal(name string, i, j int, note string, wanted float64) {
	goal(name, s.of(i), "MiB/s", s.of(i)/s.ratio(i, j), note, wanted)
}

// readOn reads on in the first size bytes of a file, from at, for one turn, and gives MiB/s.
func (m *mounted) readOn(at *int64, size int64) (float64, error) {
	f, err := os.Open(m.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p := make([]byte, mib)
	start := time.Now()
	for total := int64(0); total < turn; {
		if *at >= size {
			*at = 0
		}
		n, err := f.ReadAt(p[:min(mib, size-*at)], m.skip+*at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n == 0 && *at == 0 {
			return 0, fmt.Errorf("%s is empty", m.file)
		}
		*at += int64(n)
		if err != nil {
			*at = 0
		}
		total += int64(n)
	}
	return turn / mib / time.Since(start).Seconds(), nil
}

func sibling(path, name string) string { return filepath.Join(filepath.Dir(path), name) }

// removeLater removes a file or directory with the scope.
func (b *bench) removeLater(path string) { b.later(func() { os.RemoveAll(path) }) }
