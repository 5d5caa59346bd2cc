//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"
)

// history reads a metadata area of 1 MiB that is full of texts, and searches a disk for texts at every sector.
func (b *bench) history() error {
	heading("Metadata of the past (best of 5)")
	return b.scope(func() error {
		full := b.temp("full.img")
		b.later(func() { os.Remove(full) })
		texts, err := b.fillRing(full)
		if err != nil {
			return err
		}
		took, err := bestOf(5, b.program, "history", full)
		if err != nil {
			return err
		}
		limit(fmt.Sprintf("history of %d texts", texts), took, 0.2, "of what is wanted", 1)
		cat, err := bestOf(5, "sh", "-c", "cat "+b.image+" >/dev/null")
		if err != nil {
			return err
		}
		carve, err := bestOf(5, b.program, "history", "--carve", b.image)
		if err != nil {
			return err
		}
		row("cat", float64(b.size)/mib/cat, "MiB/s", 0, "")
		goal("history --carve", float64(b.size)/mib/carve, "MiB/s", float64(b.size)/mib/cat, "of cat", 0.8)
		return nil
	})
}

var seqno = regexp.MustCompile(`seqno = \d+`)

// fillRing makes a copy of the image's first MiBs in which the metadata area is full of its text, with one seqno after the other.
func (b *bench) fillRing(path string) (texts int, err error) {
	const ring, end = 4096 + 512, 1 << 20
	disk := make([]byte, 4<<20)
	f, err := os.Open(b.image)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.ReadAt(disk, 0); err != nil {
		return 0, err
	}
	text, _, ok := bytes.Cut(disk[ring:end], []byte{0})
	if !ok || !seqno.Match(text) {
		return 0, errors.New("no text where the ring begins")
	}
	text = bytes.Clone(text)
	for at := ring; ; texts++ {
		next := seqno.ReplaceAll(text, fmt.Appendf(nil, "seqno = %d", texts+1))
		if at+len(next)+512 > end {
			return texts, os.WriteFile(path, disk, 0o600)
		}
		clear(disk[at : at+(len(next)/512+1)*512])
		copy(disk[at:], next)
		at += (len(next)/512 + 1) * 512
	}
}

// bestOf is the shortest of n times that a program takes, in seconds.
func bestOf(n int, name string, args ...string) (float64, error) {
	best := time.Duration(0)
	for range n {
		took, err := timed(name, args...)
		if err != nil {
			return 0, err
		}
		if best == 0 || took < best {
			best = took
		}
	}
	return best.Seconds(), nil
}
