//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"lvm2fs/internal/test/testpv"
)

// snapshotSize is the size of an origin in bytes.
const snapshotSize = 128 * mib

// snapshotDisk makes a disk, in memory where the system has files there, with a linear LV, and one with a snapshot
// of a chunk size that has room for all of it.
func (b *bench) snapshotDisk(chunk int64) (string, error) {
	const extent = testpv.ExtentSize
	extents, store := int(snapshotSize/extent), int((snapshotSize+snapshotSize/64+8*chunk)/extent)
	text := testpv.VG{Name: "bench", Seqno: 1, PVs: []string{"disk"}, PVExtents: 2*extents + store, LVs: []testpv.LV{
		{Name: "linear", Segments: []string{testpv.Linear(0, extents, "pv0", 0)}},
		{Name: "origin", Segments: []string{testpv.Linear(0, extents, "pv0", extents)}},
		{Name: "snap", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, store, "pv0", 2*extents)}},
		{Name: "snapshot0", Segments: []string{fmt.Sprintf("start_extent = 0\nextent_count = %d\ntype = \"snapshot\"\nchunk_size = %d\norigin = \"origin\"\ncow_store = \"snap\"", extents, chunk/512)}},
	}}.Text()
	head := testpv.New("disk", testpv.UUID("disk"), testpv.DataStart, text)
	dir, err := b.memoryDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "snapshots.img")
	b.removeLater(path)
	if err := os.WriteFile(path, head.Bytes, 0o600); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	// All pages are there before anything is measured.
	return path, errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, testpv.DataStart+int64(2*extents+store)*extent), f.Close())
}

// snapshots measures writes to the origin of a snapshot against writes to a linear LV of the same disk, in turn. First
// the chunks have to be copied, then not any more.
func (b *bench) snapshots() error {
	const rounds = 3
	heading("Writing the origin of a snapshot, on a disk in memory, against linear, MiB/s (median of turns)")
	for _, chunk := range []int64{4 << 10, 64 << 10, 512 << 10} {
		for _, size := range []int64{mib, 4 << 10} {
			all := map[string]*turns{"copied out": {}, "others": {}}
			for range rounds {
				if err := b.scope(func() error { return b.writeOrigin(chunk, size, all["copied out"], all["others"]) }); err != nil {
					return err
				}
			}
			name := fmt.Sprintf("chunks of %d KiB, writes of %d KiB, ", chunk>>10, size>>10)
			all["copied out"].goal(name+"copied out", 0.3)
			all["others"].goal(name+"others", 0.9)
		}
	}
	return nil
}

// turns are the speeds of writes, MiB/s, and their ratios to those to the linear LV.
type turns struct{ speeds, ratios []float64 }

func (t *turns) goal(name string, wanted float64) {
	speed := median(t.speeds)
	goal(name, speed, "MiB/s", speed/median(t.ratios), "of linear", wanted)
}

// writeOrigin writes the origin of a new snapshot twice, in pieces.
func (b *bench) writeOrigin(chunk, piece int64, copied, others *turns) error {
	image, err := b.snapshotDisk(chunk)
	if err != nil {
		return err
	}
	m, err := b.startDaemon("bench/origin", b.program, "-f", image)
	if err != nil {
		return err
	}
	const turn = snapshotSize / 16
	for _, into := range []*turns{copied, others} {
		for off := int64(0); off < snapshotSize; off += turn {
			linear, err := writePart(sibling(m.file, "linear"), piece, off, turn)
			if err != nil {
				return err
			}
			origin, err := writePart(m.file, piece, off, turn)
			if err != nil {
				return err
			}
			into.speeds, into.ratios = append(into.speeds, origin), append(into.ratios, origin/linear)
		}
	}
	return nil
}

// writePart writes n bytes of a file from off in pieces one after the other, flushes it, and gives MiB/s.
func writePart(path string, piece, off, n int64) (float64, error) {
	pieces := make([]int64, 0, n/piece)
	for at := off; at < off+n; at += piece {
		pieces = append(pieces, at)
	}
	return writePieces(path, piece, pieces)
}

// writePieces writes pieces of a file that begin at offs, flushes it, and gives MiB/s.
func writePieces(path string, piece int64, offs []int64) (float64, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p := make([]byte, piece)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	start := time.Now()
	for _, at := range offs {
		if _, err := f.WriteAt(p, at); err != nil {
			return 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return float64(piece*int64(len(offs))) / mib / time.Since(start).Seconds(), nil
}
