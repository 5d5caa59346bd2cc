package vdisk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"lvm2fs/mapping"
)

// step is a write of one sector, a new size, or a flush.
type step struct {
	off  int64
	data []byte
	size int64
}

// cutFile is a file in memory that remembers what was done to it, to have the power cut at any point of that.
type cutFile struct {
	data   []byte
	before []byte
	steps  []step

	fixed  bool // it cannot grow
	fail   int  // changes and flushes that succeed before the next one fails; negative: all
	always bool // all after it fail too
	claims int
}

func newCutFile(data []byte) *cutFile {
	return &cutFile{data: bytes.Clone(data), before: data, fail: -1}
}

var errCut = errors.New("the disk failed")

func (f *cutFile) Name() string { return "image" }
func (f *cutFile) Size() int64  { return int64(len(f.data)) }

func (f *cutFile) ReadAt(p []byte, off int64) (int, error) {
	return (&memory{data: f.data}).ReadAt(p, off)
}

func (f *cutFile) Claim() error   { f.claims++; return nil }
func (f *cutFile) Release() error { f.claims--; return nil }

func (f *cutFile) fails() error {
	if f.claims == 0 {
		return errors.New("written without a claim")
	}
	if f.fail < 0 {
		return nil
	}
	if f.fail > 0 {
		f.fail--
		return nil
	}
	if !f.always {
		f.fail = -1
	}
	return errCut
}

func (f *cutFile) IsFile() bool { return !f.fixed }

func (f *cutFile) Grow(size int64) error {
	if err := f.fails(); err != nil {
		return err
	}
	if n := size - f.Size(); n > 0 {
		f.data = append(f.data, make([]byte, n)...)
		f.steps = append(f.steps, step{size: size})
	}
	return nil
}

func (f *cutFile) change(p []byte, off int64) {
	if off < 0 || off+int64(len(p)) > f.Size() {
		panic("written beyond the end")
	}
	copy(f.data[off:], p)
	// A disk writes a sector as a whole, and nothing larger.
	for first := off / sectorSize * sectorSize; first < off+int64(len(p)); first += sectorSize {
		end := min(first+sectorSize, f.Size())
		f.steps = append(f.steps, step{off: first, data: bytes.Clone(f.data[first:end])})
	}
}

func (f *cutFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fails(); err != nil {
		n := len(p) / 2 / sectorSize * sectorSize // that much was written
		f.change(p[:n], off)
		return 0, err
	}
	f.change(p, off)
	return len(p), nil
}

func (f *cutFile) PunchHole(off, n int64) error {
	if err := f.fails(); err != nil {
		return err
	}
	f.change(make([]byte, n), off)
	return nil
}

func (f *cutFile) Sync() error {
	if err := f.fails(); err != nil {
		return err
	}
	f.steps = append(f.steps, step{})
	return nil
}

// cut is the file after a power cut behind the first n steps: what was flushed is there, and of the rest anything may
// be.
func (f *cutFile) cut(n int) []byte {
	flushed := 0
	for i, s := range f.steps[:n] {
		if s.data == nil && s.size == 0 {
			flushed = i
		}
	}
	survives := rand.IntN(3)
	out := bytes.Clone(f.before)
	late := map[int64][][]byte{}
	for i, s := range f.steps[:n] {
		sure := i < flushed
		switch {
		case s.size > 0 && (sure || survives == 2 || rand.IntN(3) > 0):
			if more := s.size - int64(len(out)); more > 0 {
				out = append(out, make([]byte, more)...)
			}
		case s.data == nil || s.off >= int64(len(out)):
		case sure:
			copy(out[s.off:], s.data)
		default:
			late[s.off] = append(late[s.off], s.data)
		}
	}
	// Of several writes of one sector any may be the last to reach the disk.
	for off, versions := range late {
		switch {
		case survives == 2:
			copy(out[off:], versions[len(versions)-1])
		case survives == 1 && rand.IntN(2) == 0:
			copy(out[off:], versions[rand.IntN(len(versions))])
		}
	}
	return out
}

func openCut(t testing.TB, f mapping.Device, opts Options) *writable {
	t.Helper()
	m, err := Open(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	w := m.(*writable)
	w.commitsAfter = func(func()) {}
	return w
}

// moment is what the disk held when n steps had been done.
type moment struct {
	n       int
	disk    []byte
	flushed bool
}

// possible is what the disk may hold after a cut behind n steps. That is what it held when it was last flushed, or
// later, up to the end of the change that was under way.
func possible(moments []moment, n int) (out [][]byte) {
	for i, m := range moments {
		if m.flushed && m.n <= n {
			out = nil
		}
		out = append(out, m.disk)
		if m.n > n && i > 0 {
			break
		}
	}
	return out
}

// changeOne makes one change, at random, of the disk and of what it is to hold.
func changeOne(t testing.TB, w *writable, disk []byte) {
	t.Helper()
	off := rand.Int64N(int64(len(disk)))
	n := min(1+rand.Int64N(1<<rand.IntN(19)), int64(len(disk))-off)
	if rand.IntN(2) == 0 {
		off = off / 4096 * 4096
		n = min(roundUp(n, 4096), int64(len(disk))-off)
	}
	if rand.IntN(6) == 0 {
		if err := w.PunchHole(off, n); err != nil {
			t.Fatal(err)
		}
		clear(disk[off:][:n])
		return
	}
	p := bytes.Repeat([]byte{byte(1 + rand.IntN(255))}, int(n))
	p[0], p[n-1] = byte(rand.IntN(256)), byte(rand.IntN(256))
	if _, err := w.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
	copy(disk[off:], p)
}

func readAll(t testing.TB, m Image) []byte {
	t.Helper()
	b := make([]byte, m.Size())
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func claim(t testing.TB, w *writable) {
	t.Helper()
	if err := w.Claim(); err != nil {
		t.Fatal(err)
	}
}

func release(t testing.TB, w *writable) {
	t.Helper()
	if err := w.Release(); err != nil {
		t.Fatal(err)
	}
}

// cutEverywhere makes changes, and then cuts the power behind every step. judge gets the image that each cut leaves,
// and what the disk in it holds.
func cutEverywhere(t *testing.T, image []byte, opts Options, changes int, judge func(n int, after, disk []byte)) {
	t.Helper()
	f := newCutFile(image)
	w := openCut(t, f, opts)
	claim(t, w)
	cutFrom(t, f, w, opts, changes, judge)
}

// cutFrom is cutEverywhere of an image that is claimed, from the state that its file is in.
func cutFrom(t *testing.T, f *cutFile, w *writable, opts Options, changes int, judge func(n int, after, disk []byte)) {
	t.Helper()
	f.before, f.steps = bytes.Clone(f.data), nil
	disk := readAll(t, w)
	moments := []moment{{0, bytes.Clone(disk), true}}
	for range changes {
		changeOne(t, w, disk)
		moments = append(moments, moment{len(f.steps), bytes.Clone(disk), false})
		if rand.IntN(4) == 0 {
			if err := w.Sync(); err != nil {
				t.Fatal(err)
			}
			moments = append(moments, moment{len(f.steps), bytes.Clone(disk), true})
		}
	}
	release(t, w)
	moments = append(moments, moment{len(f.steps), bytes.Clone(disk), true})
	if !bytes.Equal(readAll(t, openCut(t, newCutFile(f.data), opts)), disk) {
		t.Fatal("another disk was read again")
	}
	// All writes of sectors of data look alike to a cut: of many steps a sample is enough.
	each := max(1, len(f.steps)/400)
	var cuts []int
	for n := range len(f.steps) + 1 {
		// The steps around a flush are where it matters: all of them are tried.
		if near := f.steps[max(0, n-2):min(n+2, len(f.steps))]; slices.ContainsFunc(near, func(s step) bool { return s.data == nil }) {
			cuts = append(cuts, n)
		} else if rand.IntN(each) == 0 {
			cuts = append(cuts, n)
		}
	}
	const maxCuts = 100
	if len(cuts) > maxCuts {
		rand.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
		cuts = cuts[:maxCuts]
	}
	for i, n := range cuts {
		after := f.cut(n)
		again := openCut(t, newCutFile(after), opts)
		got := make([]byte, again.Size())
		if _, err := again.ReadAt(got, 0); err != nil {
			t.Fatalf("cut at %d of %d: %v", n, len(f.steps), err)
		}
		may := possible(moments, n)
		for at := 0; at < len(got); at += sectorSize {
			ok := slices.ContainsFunc(may, func(p []byte) bool { return bytes.Equal(p[at:at+sectorSize], got[at:at+sectorSize]) }) || mixed(may, got, at)
			if !ok {
				t.Fatalf("cut at %d of %d: the sector at byte %d is neither what was flushed nor what was written later", n, len(f.steps), at)
			}
		}
		// It goes on from there.
		if i%7 == 0 {
			claim(t, again)
			changeOne(t, again, got)
			changeOne(t, again, got)
			release(t, again)
			if !bytes.Equal(readAll(t, openCut(t, again.dev, opts)), got) {
				t.Fatalf("cut at %d: what was written after it is not what is read", n)
			}
			after = again.dev.(*cutFile).data
		}
		if judge != nil {
			judge(i, after, got)
		}
	}
	t.Logf("%d steps, %d cuts", len(f.steps), len(cuts))
}

// mixed says whether each byte of a sector is one that was there at some time.
func mixed(may [][]byte, got []byte, at int) bool {
	for i := at; i < at+sectorSize; i++ {
		if !slices.ContainsFunc(may, func(p []byte) bool { return p[i] == got[i] }) {
			return false
		}
	}
	return true
}
