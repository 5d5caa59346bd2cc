package vdisk

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"lvm2fs/mapping"
)

// change is a sector of the tables that the file is still to get.
type change struct {
	data  [sectorSize]byte
	stage int
}

// sectorSize is what a disk writes as a whole, or not at all. No entry of a table lies in two.
const sectorSize = 512

// maxStages bounds the stages of a commit.
const maxStages = 3

// grower is a device that can be made longer, if it is a file.
type grower interface {
	IsFile() bool
	Grow(size int64) error
}

// grows says whether the file can be made longer.
func (t *table) grows() bool {
	g, ok := t.dev.(grower)
	return ok && g.IsFile()
}

// atChanged returns n bytes at off as they are to be.
func (t *table) atChanged(off, n int64) ([]byte, error) {
	first, last := off/sectorSize, (off+n-1)/sectorSize
	if c := t.changed[first]; c != nil && first == last {
		return c.data[off%sectorSize:][:n], nil
	}
	b, err := t.kept(off, n)
	if err != nil {
		return nil, err
	}
	mine := false
	for i := first; i <= last; i++ {
		c := t.changed[i]
		if c == nil {
			continue
		}
		if !mine {
			b, mine = bytes.Clone(b), true
		}
		from := max(off, i*sectorSize)
		copy(b[from-off:], c.data[from-i*sectorSize:])
	}
	return b, nil
}

// put has b be at off of the tables from now on, and of the file with the next commit: on stable storage before
// anything of a later stage is written.
func (t *table) put(off int64, b []byte, stage int) error {
	for len(b) > 0 {
		i, at := off/sectorSize, off%sectorSize
		n := min(sectorSize-at, int64(len(b)))
		c := t.changed[i]
		if c == nil {
			c = &change{stage: stage}
			if n < sectorSize {
				old, err := t.kept(i*sectorSize, min(sectorSize, t.dev.Size()-i*sectorSize))
				if err != nil {
					return err
				}
				copy(c.data[:], old)
			}
			if t.changed == nil {
				t.changed = map[int64]*change{}
			}
			t.changed[i] = c
		}
		copy(c.data[at:], b[:n])
		off, b = off+n, b[n:]
	}
	return nil
}

func (t *table) putU32(off int64, v uint32, stage int) error {
	b := make([]byte, 4)
	t.order.PutUint32(b, v)
	return t.put(off, b, stage)
}

func (t *table) putU64(off int64, v uint64, stage int) error {
	b := make([]byte, 8)
	t.order.PutUint64(b, v)
	return t.put(off, b, stage)
}

// writer is the file.
func (t *table) writer() (mapping.WritableDevice, error) {
	w, ok := t.dev.(mapping.WritableDevice)
	if !ok {
		return nil, fmt.Errorf("%s: %w", t.dev.Name(), mapping.ErrNotWritable)
	}
	return w, nil
}

// write writes data to the file.
func (t *table) write(p []byte, off int64) error {
	w, err := t.writer()
	if err != nil {
		return err
	}
	n, err := w.WriteAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	return err
}

// grow makes room for n bytes at the next multiple of align, and for tail behind them. What it gives was no part of
// the file before, and reads as zeros, if zeros says so.
func (t *table) grow(n, align, tail int64) (place int64, zeros bool, err error) {
	place = roundUp(t.end, align)
	zeros = place >= t.dev.Size()
	if err := t.extend(place + n + tail); err != nil {
		return 0, false, err
	}
	t.end = place + n
	return place, zeros, nil
}

// extend makes the file at least size bytes long.
func (t *table) extend(size int64) error {
	if size <= t.dev.Size() {
		return nil
	}
	if !t.grows() {
		return fmt.Errorf("%s: %w", t.dev.Name(), ErrNoSpace)
	}
	return t.dev.(grower).Grow(size)
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// sync has what was written be on stable storage.
func (t *table) sync() error {
	w, err := t.writer()
	if err != nil {
		return err
	}
	return w.Sync()
}

// commit has the file hold all changes: first what lies where nothing leads to yet, data too, and then stage by stage
// what leads there. A power cut at any moment leaves the tables as they were, or as they are to be, entry by entry.
func (t *table) commit() error {
	for stage := range maxStages {
		n, err := t.writeStage(stage)
		if err != nil {
			return err
		}
		if n == 0 && stage > 0 {
			continue
		}
		if err := t.sync(); err != nil {
			return err
		}
		for i, c := range t.changed {
			if c.stage == stage {
				t.pages.Delete(i * sectorSize / pageSize)
				delete(t.changed, i)
			}
		}
	}
	return nil
}

// writeStage writes the changes of one stage, and says how many there were.
func (t *table) writeStage(stage int) (int, error) {
	const maxRun = 1 << 20
	var sectors []int64
	for _, i := range slices.Sorted(maps.Keys(t.changed)) {
		if t.changed[i].stage == stage {
			sectors = append(sectors, i)
		}
	}
	for at := 0; at < len(sectors); {
		first := sectors[at]
		var run []byte
		for at < len(sectors) && len(run) < maxRun && sectors[at] == first+int64(len(run)/sectorSize) {
			run = append(run, t.changed[sectors[at]].data[:]...)
			at++
		}
		// The last sector of a file may be a part of one.
		run = run[:min(int64(len(run)), t.dev.Size()-first*sectorSize)]
		if err := t.write(run, first*sectorSize); err != nil {
			return 0, fmt.Errorf("a table of %d bytes at byte %d: %w", len(run), first*sectorSize, err)
		}
	}
	return len(sectors), nil
}

// forget drops what is kept of the file, which may have been changed since, and all changes.
func (t *table) forget() {
	t.pages.Clear()
	t.changed = nil
}

// apart fails if two of these places, in sectors, are less than length bytes apart.
func apart(places []uint32, length int64) error {
	slices.Sort(places)
	for i := 1; i < len(places); i++ {
		if int64(places[i]-places[i-1])*sectorSize < length {
			return damaged("what lies at byte %d overlaps what lies at byte %d", int64(places[i-1])*sectorSize, int64(places[i])*sectorSize)
		}
	}
	return nil
}
