package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"lvm2fs/mapping"
)

// base is a volume of runs of all kinds, and never written: it has no way to.
type base struct{ size int64 }

// baseRun is how long a run of it is, in bytes. It is no multiple of blocks.
const baseRun = 3*blockSize + sectorSize

var errLost = fmt.Errorf("this run is lost: %w", mapping.ErrMissing)

type baseDevice struct{ *base }

func (d baseDevice) Name() string { return "base" }

func (b *base) kind(off int64) mapping.Kind {
	return []mapping.Kind{mapping.Data, mapping.Zero, mapping.Computed, mapping.Data, mapping.Data, mapping.Missing, mapping.Zero}[off/baseRun%7]
}

func (b *base) Size() int64 { return b.size }

func (b *base) Map(off, max int64) (mapping.Extent, error) {
	e := mapping.Extent{Kind: b.kind(off), Length: min(max, b.size-off, baseRun-off%baseRun)}
	switch e.Kind {
	case mapping.Data:
		e.Device, e.Offset = baseDevice{b}, off
	case mapping.Missing:
		e.Err = errLost
	}
	return e, nil
}

func (b *base) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("base", p, off, b.size)
	for done := 0; done < len(p); {
		e, _ := b.Map(off+int64(done), int64(len(p)-done))
		q := p[done : done+int(e.Length)]
		switch e.Kind {
		case mapping.Zero:
			clear(q)
		case mapping.Missing:
			return done, errLost
		default:
			for i := range q {
				at := off + int64(done+i)
				q[i] = byte(at ^ at>>8 ^ at>>16)
			}
		}
		done += len(q)
	}
	return len(p), end
}

// model is what a volume is to read as, in windows of it: between them nothing is changed.
type model struct {
	windows []window
}

type window struct {
	start int64
	bytes []byte
	lost  []bool // these bytes cannot be read
}

// readModel has what v reads as in windows around the start, the end, and the border of the first two areas.
func readModel(t *testing.T, v mapping.Volume) *model {
	t.Helper()
	m := &model{}
	for _, start := range []int64{0, areaSize - 6*blockSize, v.Size() - 7*blockSize - 700} {
		w := window{start: start, bytes: make([]byte, min(12*blockSize, v.Size()-start)), lost: make([]bool, 12*blockSize)}
		for at := 0; at < len(w.bytes); {
			n, err := v.ReadAt(w.bytes[at:], start+int64(at))
			if at += n; at == len(w.bytes) {
				break
			}
			if !errors.Is(err, mapping.ErrMissing) {
				t.Fatal(err)
			}
			for end := at + sectorSize - int(start+int64(at))%sectorSize; at < end && at < len(w.bytes); at++ {
				w.bytes[at], w.lost[at] = 0, true
			}
		}
		m.windows = append(m.windows, w)
	}
	return m
}

func (m *model) clone() *model {
	c := &model{}
	for _, w := range m.windows {
		c.windows = append(c.windows, window{w.start, bytes.Clone(w.bytes), slices.Clone(w.lost)})
	}
	return c
}

// smallBase has two areas, and a third that ends within a block.
func smallBase() *base { return &base{2*areaSize + 50*blockSize + 1536} }

func testIdentity(size int64) Identity {
	return Identity{VG: "vg-uuid", LV: "lv-uuid", Size: size, Fingerprint: [32]byte{1, 2, 3}, VGName: "vg", LVName: "lv"}
}

func createOver(t testing.TB, b mapping.Volume) (*disk, *Overlay, *Volume) {
	t.Helper()
	d := newDisk()
	if err := Create(d, testIdentity(b.Size())); err != nil {
		t.Fatal(err)
	}
	o, v := openOver(t, d, b)
	return d, o, v
}

func openOver(t testing.TB, d *disk, b mapping.Volume) (*Overlay, *Volume) {
	t.Helper()
	o, err := Open(d, true)
	if err != nil {
		t.Fatal(err)
	}
	v, err := o.Over(b)
	if err != nil {
		t.Fatal(err)
	}
	return o, v
}

func random(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}

// operation is a random change of a window.
type operation struct {
	window  int
	off     int // in the window
	data    []byte
	punched bool
}

func (m *model) operation() operation {
	op := operation{window: rand.IntN(len(m.windows))}
	size := len(m.windows[op.window].bytes)
	op.off = rand.IntN(size)
	n := min(size-op.off, 1+rand.IntN([]int{10, 600, 5000, 30000}[rand.IntN(4)]))
	if rand.IntN(3) == 0 {
		op.off -= op.off % blockSize
		n = min(blockSize, size-op.off)
	}
	op.data = random(n)
	if op.punched = rand.IntN(4) == 0; op.punched {
		clear(op.data)
	}
	return op
}

// at is where it begins in the volume.
func (m *model) at(op operation) int64 { return m.windows[op.window].start + int64(op.off) }

func (m *model) apply(op operation) {
	w := m.windows[op.window]
	copy(w.bytes[op.off:], op.data)
	clear(w.lost[op.off : op.off+len(op.data)])
}

// possible says whether an operation can be done. If the rest of a block is lost, it cannot be copied.
func (m *model) possible(v *Volume, op operation) bool {
	w, start := m.windows[op.window], m.at(op)
	first, end := start/blockSize*blockSize, min((start+int64(len(op.data))+blockSize-1)/blockSize*blockSize, v.Size())
	for at := first; at < end; at++ {
		i := int(at - w.start)
		if at >= start && at < start+int64(len(op.data)) {
			continue
		}
		if i < 0 || i >= len(w.lost) {
			var p [1]byte
			if _, err := v.ReadAt(p[:], at); err != nil && err != io.EOF {
				return false
			}
		} else if w.lost[i] {
			return false
		}
	}
	return true
}

func (op operation) do(v *Volume, at int64) error {
	if op.punched {
		return v.PunchHole(at, int64(len(op.data)))
	}
	n, err := v.WriteAt(op.data, at)
	if err == nil && n != len(op.data) {
		return io.ErrShortWrite
	}
	return err
}

// change makes a random change to v and to the model.
func (m *model) change(t *testing.T, v *Volume) {
	t.Helper()
	for {
		op := m.operation()
		if !m.possible(v, op) {
			continue
		}
		if err := op.do(v, m.at(op)); err != nil {
			t.Fatalf("%d bytes at %d: %v", len(op.data), m.at(op), err)
		}
		m.apply(op)
		return
	}
}

// check compares all windows, read through ReadAt and through Map.
func (m *model) check(t *testing.T, v *Volume) {
	t.Helper()
	for _, got := range []*model{readModel(t, v), readModel(t, mapped{v})} {
		for i, w := range m.windows {
			if !bytes.Equal(w.bytes, got.windows[i].bytes) || !slices.Equal(w.lost, got.windows[i].lost) {
				t.Fatalf("window %d is not what was written", i)
			}
		}
	}
}

// mapped is a volume read by one who asks where the bytes are.
type mapped struct{ *Volume }

func (m mapped) ReadAt(p []byte, off int64) (int, error) { return readMapped(m.Volume, p, off) }

// readMapped reads as one does who asks where the bytes are.
func readMapped(v *Volume, p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		e, err := v.Map(off+int64(done), int64(len(p)-done))
		if err != nil {
			return done, err
		}
		q, n := p[done:done+int(e.Length)], 0
		switch e.Kind {
		case mapping.Data:
			n, err = e.Device.ReadAt(q, e.Offset)
		case mapping.Zero:
			clear(q)
			n = len(q)
		case mapping.Computed:
			n, err = v.ReadAt(q, off+int64(done))
		case mapping.Missing:
			err = e.Err
		}
		done += n
		if n < len(q) {
			return done, err
		}
	}
	return len(p), nil
}
