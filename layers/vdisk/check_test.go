package vdisk

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// try runs a program that may fail.
func (w workshop) try(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

// workshop is a directory in which QEMU makes images.
type workshop struct {
	testing.TB
	dir string
}

func newWorkshop(t testing.TB) workshop {
	t.Helper()
	testenv.NeedTools(t, "qemu-img", "qemu-io")
	return workshop{t, t.TempDir()}
}

func (w workshop) path(name string) string { return filepath.Join(w.dir, name) }

func (w workshop) img(args ...string) {
	w.Helper()
	cmd := exec.Command("qemu-img", args...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// io runs commands of qemu-io on an image.
func (w workshop) io(name string, commands ...string) {
	w.Helper()
	var args []string
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	run(w, "qemu-io", append(args, w.path(name))...)
}

func (w workshop) write(name string, b []byte) {
	w.Helper()
	if err := os.WriteFile(w.path(name), b, 0o600); err != nil {
		w.Fatal(err)
	}
}

// truth is what QEMU reads from an image.
func (w workshop) truth(name string, options ...string) []byte {
	w.Helper()
	w.img(append(append([]string{"convert", "-O", "raw"}, options...), name, "truth")...)
	b, err := os.ReadFile(w.path("truth"))
	if err != nil {
		w.Fatal(err)
	}
	return b
}

func (w workshop) device(name string) *blockdev.Device {
	w.Helper()
	d, err := blockdev.Open(w.path(name), blockdev.Options{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { d.Close() })
	return d
}

func (w workshop) open(name string) Image {
	w.Helper()
	m, err := w.tryOpen(name, Options{})
	if err != nil {
		w.Fatal(err)
	}
	return m
}

func (w workshop) tryOpen(name string, opts Options) (Image, error) {
	w.Helper()
	d := w.device(name)
	if opts.Files == nil {
		opts.Files = blockdev.Beside(d, nil)
	}
	m, err := Open(d, opts)
	if err == nil {
		w.Cleanup(func() { _ = m.Close() })
	}
	return m, err
}

// disk is bytes as disks have them: runs of something, of zeros, of what compresses badly.
func disk(size int, seed uint64) []byte {
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(seed, 0))
	for at := 0; at < size; {
		n := min(512*(1+rng.IntN(400)), size-at)
		part := b[at : at+n]
		switch rng.IntN(4) {
		case 0:
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
		case 1:
			for i := range part {
				part[i] = byte((at + i) >> 9)
			}
		}
		at += n
	}
	return b
}

// checkImage compares all of a disk, parts of it, and the extents that Map tells of.
func checkImage(t testing.TB, m Image, want []byte) {
	t.Helper()
	if m.Size() != int64(len(want)) {
		t.Fatalf("%s has %d bytes, want %d", m.Name(), m.Size(), len(want))
	}
	got := make([]byte, len(want))
	if n, err := m.ReadAt(got, 0); n != len(got) || err != nil {
		t.Fatalf("%s: read %d of %d bytes: %v", m.Name(), n, len(got), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s differs at byte %d", m.Name(), differs(got, want))
	}
	rng := rand.New(rand.NewPCG(3, 0))
	for range 200 {
		off := rng.IntN(len(want))
		p := make([]byte, min(1+rng.IntN(100_000), len(want)-off))
		if n, err := m.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, want[off:off+n]) {
			t.Fatalf("%s: %d bytes at %d: read %d, %v", m.Name(), len(p), off, n, err)
		}
	}
	if n, err := m.ReadAt(make([]byte, 10), m.Size()-5); n != 5 || err != io.EOF {
		t.Errorf("%s: at the end: %d, %v", m.Name(), n, err)
	}
	checkMap(t, m, want)
}

func checkMap(t testing.TB, m Image, want []byte) {
	t.Helper()
	for off := int64(0); off < m.Size(); {
		e, err := m.Map(off, m.Size()-off)
		if err != nil || e.Length < 1 || e.Length > m.Size()-off {
			t.Fatalf("%s: map at %d: %+v, %v", m.Name(), off, e, err)
		}
		part := want[off : off+e.Length]
		switch e.Kind {
		case mapping.Zero:
			if len(bytes.Trim(part, "\x00")) > 0 {
				t.Fatalf("%s: %d bytes at %d are said to be zeros", m.Name(), e.Length, off)
			}
		case mapping.Data:
			b := make([]byte, len(part))
			if n, err := e.Device.ReadAt(b, e.Offset); n < len(b) || !bytes.Equal(b, part) {
				t.Fatalf("%s: %d bytes at %d are said to be at %d of %s: %v", m.Name(), e.Length, off, e.Offset, e.Device.Name(), err)
			}
		case mapping.Missing:
			t.Fatalf("%s: at %d: %v", m.Name(), off, e.Err)
		}
		off += e.Length
	}
}

func differs(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

func has(t testing.TB, m Image, kind mapping.Kind) bool {
	t.Helper()
	found := false
	err := mapping.Walk(m, 0, m.Size(), func(_ int64, e mapping.Extent) error {
		found = found || e.Kind == kind
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
