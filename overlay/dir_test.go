package overlay

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func openTestDir(t *testing.T) *Dir {
	t.Helper()
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestADirectoryKeepsAnOverlayForEachLV(t *testing.T) {
	d := openTestDir(t)
	b := smallBase()
	one, two := testIdentity(b.size), testIdentity(b.size)
	two.LV, two.LVName = "other-uuid", "a-name-in-front"
	if _, err := d.Open(one, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	p := random(3 * blockSize)
	for _, id := range []Identity{one, two} {
		o, err := d.OpenOrCreate(id)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := o.Over(b)
		if _, err := v.WriteAt(p, areaSize-blockSize); err != nil {
			t.Fatal(err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		o, err = d.Open(id, false)
		if err != nil {
			t.Fatal(err)
		}
		v, _ = o.Over(b)
		got := make([]byte, len(p))
		if _, err := v.ReadAt(got, areaSize-blockSize); err != nil || !bytes.Equal(got, p) {
			t.Error(err)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	entries, err := d.Entries()
	if err != nil || len(entries) != 2 || entries[0].Identity != two || entries[1].Identity != one {
		t.Fatalf("%+v, %v", entries, err)
	}
	e := entries[1]
	if e.Err != nil || e.InUse || e.Usage != (Usage{Written: 3 * blockSize}) || e.Created.IsZero() || e.Allocated == 0 || e.Allocated > 1<<20 {
		t.Errorf("%+v", e)
	}
	if err := d.Discard(e.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(one, true); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if left, err := d.Entries(); err != nil || len(left) != 1 {
		t.Error(left, err)
	}
}

func TestAnOverlayHasOneWriterOrReaders(t *testing.T) {
	d := openTestDir(t)
	id := testIdentity(1 << 20)
	w, err := d.OpenOrCreate(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, writing := range []bool{true, false} {
		if _, err := d.Open(id, writing); !errors.Is(err, syscall.EBUSY) {
			t.Error(err)
		}
	}
	entries, err := d.Entries()
	if err != nil || len(entries) != 1 || !entries[0].InUse || entries[0].Err != nil {
		t.Errorf("%+v, %v", entries, err)
	}
	if err := d.Discard(entries[0].Name); !errors.Is(err, syscall.EBUSY) {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := d.Open(id, false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Open(id, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenOrCreate(id); !errors.Is(err, syscall.EBUSY) {
		t.Error(err)
	}
	a.Close()
	b.Close()
}

func TestWhatIsNoOverlayIsListedWithTheReasonAndNotOpened(t *testing.T) {
	d := openTestDir(t)
	id := testIdentity(1 << 20)
	name, err := fileName(id)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path(), name)
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenOrCreate(id); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) != 10000 {
		t.Error("it was changed", err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(d.Path(), "link"+suffix)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(d.Path(), "fifo"+suffix), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := d.Entries()
	if err != nil || len(entries) != 3 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if e.Err == nil {
			t.Errorf("%s: no error", e.Name)
		}
	}
}

func TestAnOverlayThatWasNotFinishedIsBegunAnew(t *testing.T) {
	d := openTestDir(t)
	id := testIdentity(1 << 20)
	name, _ := fileName(id)
	if err := os.WriteFile(filepath.Join(d.Path(), name+".new"), bytes.Repeat([]byte("x"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := d.OpenOrCreate(id)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if o.file.Size() != headerSize {
		t.Errorf("%d bytes", o.file.Size())
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path(), "*.new")); len(left) > 0 {
		t.Error(left)
	}
}

func TestAUUIDThatWouldLeaveTheDirectoryIsRefused(t *testing.T) {
	d := openTestDir(t)
	for _, uuid := range []string{"", "../x", "a b", "x\x00"} {
		id := testIdentity(1 << 20)
		id.LV = uuid
		if _, err := d.OpenOrCreate(id); err == nil {
			t.Errorf("%q was opened", uuid)
		}
	}
	if err := d.Discard("../x" + suffix); err == nil {
		t.Error("discarded outside the directory")
	}
}
