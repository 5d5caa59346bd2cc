//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"lvm2fs/internal/test/testpv"
)

// thinSize is the size of a thin volume in bytes.
const thinSize = 128 * mib

// thinWritesDisk makes a disk in memory with a linear volume and a pool. In the pool are a volume thin1 that is
// fully provisioned, and two that are not at all.
func (b *bench) thinWritesDisk() (string, error) {
	const chunks, all = thinSize / testpv.ThinChunk, 4 * thinSize / testpv.ThinChunk
	var full []testpv.ThinMapping
	for i := range chunks {
		full = append(full, testpv.ThinMapping{Chunk: i, Data: i})
	}
	source, metadata := b.temp("writes.xml"), b.temp("writes.meta")
	f, err := os.Create(source)
	if err != nil {
		return "", err
	}
	err = errors.Join(testpv.WriteThinXML(f, all, full, nil, nil), f.Close(), os.WriteFile(metadata, make([]byte, 8*mib), 0o600))
	if err != nil {
		return "", err
	}
	if _, err := run("thin_restore", "-i", source, "-o", metadata); err != nil {
		return "", err
	}
	content, err := os.ReadFile(metadata)
	if err != nil {
		return "", err
	}
	dir, err := b.memoryDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "thinwrites.img")
	b.removeLater(path)
	if _, err := testpv.WriteThinDisk(path, content, all, chunks, chunks, chunks); err != nil {
		return "", err
	}
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	info, err := out.Stat()
	if err == nil { // all pages are there before anything is measured
		err = syscall.Fallocate(int(out.Fd()), 0, 0, info.Size())
	}
	return path, errors.Join(err, out.Close())
}

// thinWrites measures writes to thin volumes against writes to a linear LV of the same disk, in turn. It also measures
// a flush that has to commit a new chunk.
func (b *bench) thinWrites() error {
	heading("Writing thin volumes, on a disk in memory, against linear, MiB/s (median of turns)")
	if _, err := exec.LookPath("thin_restore"); err != nil {
		fmt.Println("  skipped: thin_restore (thin-provisioning-tools) is not there")
		return nil
	}
	for _, c := range []struct {
		name, lv string
		piece    int64
		random   bool
		wanted   float64
	}{
		{"provisioned, writes of 1 MiB", "thin1", mib, false, 0.8},
		{"provisioned, writes of 4 KiB", "thin1", 4 << 10, false, 0.8},
		{"provisioned, writes of 4 KiB in random order", "thin1", 4 << 10, true, 0.8},
		{"provisioning, writes of 1 MiB", "thin2", mib, false, 0.5},
		{"provisioning, writes of 4 KiB", "thin2", 4 << 10, false, 0.5},
	} {
		all := &turns{}
		for range 3 {
			if err := b.scope(func() error { return b.writeThin(c.lv, c.piece, c.random, all) }); err != nil {
				return err
			}
		}
		all.goal(c.name, c.wanted)
	}
	return b.scope(b.thinFlushes)
}

func (b *bench) writeThin(lv string, piece int64, random bool, into *turns) error {
	image, err := b.thinWritesDisk()
	if err != nil {
		return err
	}
	m, err := b.startDaemon("vg/plain", b.program, "-f", image)
	if err != nil {
		return err
	}
	const turn = thinSize / 16
	for start := int64(0); start < thinSize; start += turn {
		var offs []int64
		for off := start; off < start+turn; off += piece {
			offs = append(offs, off)
		}
		if random {
			rand.Shuffle(len(offs), func(i, j int) { offs[i], offs[j] = offs[j], offs[i] })
		}
		linear, err := writePieces(m.file, piece, offs)
		if err != nil {
			return err
		}
		thin, err := writePieces(sibling(m.file, lv), piece, offs)
		if err != nil {
			return err
		}
		into.speeds, into.ratios = append(into.speeds, thin), append(into.ratios, thin/linear)
	}
	return nil
}

// thinFlushes measures a write to a new chunk with the flush behind it.
func (b *bench) thinFlushes() error {
	const each = 48
	image, err := b.thinWritesDisk()
	if err != nil {
		return err
	}
	m, err := b.startDaemon("vg/thin2", b.program, "-f", image)
	if err != nil {
		return err
	}
	next, alone := int64(0), 0.0
	for _, writers := range []int64{1, 4, 16} {
		done := make(chan error)
		start := time.Now()
		for w := range writers {
			go func() { done <- flushEach(m.file, next+w*each, each) }()
		}
		var failed error
		for range writers {
			failed = errors.Join(failed, <-done)
		}
		if failed != nil {
			return failed
		}
		next += writers * each
		took := time.Since(start).Seconds() * 1000 / each
		if alone == 0 {
			alone = took
		}
		row(fmt.Sprintf("a new chunk flushed, by each of %d writers", writers), took, "ms", alone, "of one alone")
	}
	return nil
}

// flushEach writes to n new chunks of a file, and flushes it behind each.
func flushEach(path string, chunk, n int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range n {
		if _, err := f.WriteAt(make([]byte, 4096), (chunk+i)*testpv.ThinChunk); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}
