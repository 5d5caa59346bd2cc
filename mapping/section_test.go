package mapping_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/mapping"
)

func disk(name string, n int) *testpv.Disk {
	d := &testpv.Disk{Label: name, Bytes: make([]byte, n)}
	for i := range d.Bytes {
		d.Bytes[i] = byte(i/512 + i)
	}
	return d
}

// readOnly hides that a disk can be written.
type readOnly struct{ mapping.Device }

func TestASectionReadsWhatIsBeneathIt(t *testing.T) {
	d := disk("disk", 8192)
	s := mapping.Section(d, 1024, 4096, "part")
	p := make([]byte, 4096)
	if n, err := s.ReadAt(p, 0); n != 4096 || err != nil || !bytes.Equal(p, d.Bytes[1024:5120]) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if n, err := s.ReadAt(p, 4000); n != 96 || err != io.EOF {
		t.Errorf("a read past the end: got %d bytes, %v, want 96, EOF", n, err)
	}
	if n, err := s.ReadAt(p[:1], 5000); n != 0 || err != io.EOF {
		t.Errorf("a read behind the end: got %d bytes, %v, want 0, EOF", n, err)
	}
	if n, err := s.ReadAt(p[:1], -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("a read before the start: got %d bytes, %v", n, err)
	}
}

func TestASectionMapsToTheDeviceAtTheBottom(t *testing.T) {
	d := disk("disk", 8192)
	inner := mapping.Section(mapping.Section(d, 1024, 4096, "part"), 512, 1024, "inner")
	e, err := inner.Map(100, 4096)
	want := mapping.Extent{Kind: mapping.Data, Length: 924, Device: d, Offset: 1636}
	if err != nil || e != want {
		t.Errorf("got %+v, %v, want %+v", e, err, want)
	}
	if bottom := mapping.Bottom(inner); len(bottom) != 1 || bottom[0] != mapping.Device(d) {
		t.Errorf("got %v at the bottom", bottom)
	}
}

func TestWhatADeviceIsTooShortForIsMissing(t *testing.T) {
	s := mapping.Section(disk("disk", 4096), 1024, 4096, "part")
	e, err := s.Map(0, 4096)
	if err != nil || e.Kind != mapping.Data || e.Length != 3072 {
		t.Errorf("got %+v, %v", e, err)
	}
	e, err = s.Map(3072, 4096)
	if err != nil || e.Kind != mapping.Missing || e.Length != 1024 || !errors.Is(e.Err, mapping.ErrMissing) {
		t.Errorf("got %+v, %v", e, err)
	}
	if n, err := s.ReadAt(make([]byte, 2048), 2048); n != 1024 || !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("got %d bytes, %v, want 1024, missing", n, err)
	}
	w := s.(mapping.WritableDevice)
	if err := w.Claim(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt(make([]byte, 1024), 2560); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("a write of what is missing: got %v", err)
	}
}

func TestASectionOfAWritableDeviceIsWritable(t *testing.T) {
	d := disk("disk", 8192)
	before := bytes.Clone(d.Bytes)
	w, ok := mapping.Section(d, 1024, 4096, "part").(mapping.WritableDevice)
	if !ok {
		t.Fatal("it is not")
	}
	if err := w.Claim(); err != nil || d.Claims() != 1 {
		t.Fatalf("%v, %d claims beneath", err, d.Claims())
	}
	if _, err := w.WriteAt([]byte("here"), 4092); err != nil {
		t.Error(err)
	}
	if err := w.PunchHole(0, 8); err != nil {
		t.Error(err)
	}
	if _, err := w.WriteAt([]byte("there"), 4092); err == nil {
		t.Error("a write beyond the end succeeded")
	}
	if err := w.PunchHole(4090, 8); err == nil {
		t.Error("a hole beyond the end succeeded")
	}
	if err := w.Sync(); err != nil || d.Syncs() != 1 {
		t.Errorf("%v, %d syncs beneath", err, d.Syncs())
	}
	copy(before[5116:], "here")
	clear(before[1024:1032])
	if !bytes.Equal(d.Bytes, before) {
		t.Error("something else was changed")
	}
	if err := w.Release(); err != nil || d.Claims() != 0 {
		t.Errorf("%v, %d claims beneath", err, d.Claims())
	}
}

func TestASectionOfAReadOnlyDeviceIsReadOnly(t *testing.T) {
	if _, ok := mapping.Section(readOnly{disk("disk", 8192)}, 0, 512, "part").(mapping.WritableDevice); ok {
		t.Error("it is writable")
	}
}

type array []mapping.Device

func (a *array) Beneath() []mapping.Device         { return *a }
func (a *array) Name() string                      { return "array" }
func (a *array) Size() int64                       { return 0 }
func (a *array) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

type file struct {
	mapping.Device
	time time.Time
}

func (f file) ModTime() time.Time { return f.time }

func TestAStackChangedWhenTheLastOfItsFilesDid(t *testing.T) {
	a, b := file{disk("a", 512), time.Unix(5, 0)}, file{disk("b", 512), time.Unix(7, 0)}
	part := mapping.Section(a, 0, 512, "part")
	if got := mapping.ModTime(&array{part, b, a}); !got.Equal(b.time) {
		t.Errorf("got %v, want %v", got, b.time)
	}
	if got := mapping.Bottom(&array{part, b, a}); len(got) != 2 {
		t.Errorf("got %d files, want each once", len(got))
	}
	if got := mapping.ModTime(&array{part, disk("disk", 512)}); !got.IsZero() {
		t.Errorf("got %v for what lies on a disk", got)
	}
}

func TestTheMissingEndOfASectionIsOneRun(t *testing.T) {
	s := mapping.Section(disk("disk", 4096), 1024, 8192, "part")
	one, _ := s.Map(3072, 100)
	two, _ := s.Map(3172, 100)
	if one.Err != two.Err {
		t.Errorf("%v and %v are not equal", one.Err, two.Err)
	}
}

// lists is an error that == cannot compare.
type lists []error

func (l lists) Error() string { return "lists" }
func (l lists) Unwrap() error { return mapping.ErrMissing }

type unjoined struct{ mapping.Volume }

func (unjoined) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Missing, Length: min(max, 10), Err: lists{}}, nil
}

func TestErrorsThatCannotBeComparedAreNotJoined(t *testing.T) {
	runs := 0
	err := mapping.Walk(unjoined{}, 0, 30, func(int64, mapping.Extent) error { runs++; return nil })
	if err != nil || runs != 3 {
		t.Errorf("%d runs, %v", runs, err)
	}
}
