package dm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"lvm2fs/mapping"
)

// step is a write of one sector, or without data a flush.
type step struct {
	disk int
	off  int64
	data []byte
}

const sector = 512

// unplugged is disks that remember what was done to them, in order, to have the power cut at any point of it.
type unplugged struct {
	disks  []memory // as programs see them
	before []memory
	steps  []step
	fail   int // number of writes and flushes that succeed before all others fail; negative: all
}

func newUnplugged(disks ...memory) *unplugged {
	u := &unplugged{disks: disks, fail: -1}
	for _, d := range disks {
		u.before = append(u.before, bytes.Clone(d))
	}
	return u
}

// volume is all of a disk.
func (u *unplugged) volume(disk int) mapping.Volume {
	return Device(&unpluggedDisk{&u.disks[disk], u, disk}, 0, u.disks[disk].Size())
}

type unpluggedDisk struct {
	*memory
	u    *unplugged
	disk int
}

var errUnplugged = errors.New("the power is off")

func (d *unpluggedDisk) Claim() error   { return nil }
func (d *unpluggedDisk) Release() error { return nil }

func (d *unpluggedDisk) change(off int64, p []byte) error {
	if d.u.fail == 0 {
		return errUnplugged
	}
	d.u.fail--
	copy((*d.memory)[off:], p)
	// A disk writes a sector as a whole, and nothing larger.
	for first := off / sector * sector; first < off+int64(len(p)); first += sector {
		end := min(first+sector, d.Size())
		d.u.steps = append(d.u.steps, step{d.disk, first, bytes.Clone((*d.memory)[first:end])})
	}
	return nil
}

func (d *unpluggedDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.change(off, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *unpluggedDisk) PunchHole(off, n int64) error { return d.change(off, make([]byte, n)) }

func (d *unpluggedDisk) Sync() error {
	if d.u.fail == 0 {
		return errUnplugged
	}
	d.u.fail--
	d.u.steps = append(d.u.steps, step{disk: d.disk})
	return nil
}

// cut is the disks after a power cut behind the first n steps: what was flushed is there, and of the rest anything may
// be.
func (u *unplugged) cut(n int) []memory {
	out := make([]memory, len(u.disks))
	for i := range out {
		out[i] = bytes.Clone(u.before[i])
	}
	flushed := make([]int, len(u.disks))
	for i, s := range u.steps[:n] {
		if s.data == nil {
			flushed[s.disk] = i
		}
	}
	survives := rand.IntN(3)
	for i, s := range u.steps[:n] {
		if s.data != nil && (i < flushed[s.disk] || survives > 0 && (survives == 2 || rand.IntN(2) == 0)) {
			copy(out[s.disk][s.off:], s.data)
		}
	}
	return out
}

// cutEverywhere writes to v and flushes it, and then cuts the power behind every step of that. open reads the disks:
// each byte must be what was flushed last, or what was written later. judge gets the disks, and those bytes.
func (u *unplugged) cutEverywhere(t *testing.T, v mapping.Writable, contents memory, open func(after []memory) mapping.Volume, judge func(n int, after []memory, got []byte)) {
	t.Helper()
	type moment struct {
		steps    int // when it was over
		contents memory
		flushed  bool
	}
	moments := []moment{{0, bytes.Clone(contents), true}}
	for i := range 24 {
		change(t, v, contents)
		moments = append(moments, moment{len(u.steps), bytes.Clone(contents), false})
		if i%6 == 5 {
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
			moments = append(moments, moment{len(u.steps), bytes.Clone(contents), true})
		}
	}
	for n := range len(u.steps) + 1 {
		var possible []memory
		for i, m := range moments {
			if m.flushed && m.steps <= n {
				possible = nil
			}
			possible = append(possible, m.contents)
			if m.steps > n && i > 0 {
				break
			}
		}
		after := u.cut(n)
		got := make([]byte, len(contents))
		if _, err := open(after).ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			ok := false
			for _, p := range possible {
				ok = ok || p[i] == got[i]
			}
			if !ok {
				t.Fatalf("cut at %d: byte %d is neither what was flushed nor what was written later", n, i)
			}
		}
		judge(n, after, got)
	}
}

// change makes a random change to v, and the same to contents.
func change(t *testing.T, v mapping.Writable, contents memory) (off, n int) {
	t.Helper()
	off = rand.IntN(len(contents))
	n = min(len(contents)-off, 1+rand.IntN([]int{10, 600, 5000, 20000}[rand.IntN(4)]))
	if rand.IntN(4) == 0 {
		off -= off % 4096
		n = min(4096, len(contents)-off)
	}
	if rand.IntN(8) == 0 {
		if err := v.PunchHole(int64(off), int64(n)); err != nil {
			t.Fatal(err)
		}
		clear(contents[off : off+n])
		return off, n
	}
	p := random(n)
	if got, err := v.WriteAt(p, int64(off)); got != n || err != nil {
		t.Fatal(got, err)
	}
	copy(contents[off:], p)
	return off, n
}
