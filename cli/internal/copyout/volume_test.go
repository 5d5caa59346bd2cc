package copyout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/mapping"
)

var errBadSector = errors.New("bad sector")

// testVolume is a volume of pieces, with its bytes in memory.
type testVolume struct {
	pieces []mapping.Extent // Offset is that on the device
	bytes  []byte
	bad    Ranges // fail to be read
	unmap  Ranges // fail to be mapped and read

	readBytes int64
	badReads  int
	onRead    func()
}

func (v *testVolume) Size() int64 { return int64(len(v.bytes)) }

func (v *testVolume) Map(off, max int64) (mapping.Extent, error) {
	for _, r := range v.unmap {
		if off < r.End && r.Off < off+max {
			if off >= r.Off {
				return mapping.Extent{}, errBadSector
			}
			max = r.Off - off
		}
	}
	for _, e := range v.pieces {
		if off < e.Length {
			e.Offset += off
			e.Length = min(e.Length-off, max)
			return e, nil
		}
		off -= e.Length
	}
	return mapping.Extent{}, io.EOF
}

func (v *testVolume) ReadAt(p []byte, off int64) (int, error) {
	if v.onRead != nil {
		v.onRead()
	}
	end := off + int64(len(p))
	for _, r := range v.fails() {
		if off < r.End && r.Off < end {
			v.badReads++
			n := copy(p, v.bytes[off:max(off, r.Off)])
			v.readBytes += int64(n)
			return n, errBadSector
		}
	}
	v.readBytes += int64(len(p))
	return copy(p, v.bytes[off:]), nil
}

// fails are the ranges that cannot be read.
func (v *testVolume) fails() Ranges {
	fails := append(Ranges(nil), v.bad...)
	for _, r := range v.unmap {
		fails.Add(r.Off, r.End)
	}
	var off int64
	for _, e := range v.pieces {
		if e.Kind == mapping.Missing {
			fails.Add(off, off+e.Length)
		}
		off += e.Length
	}
	return fails
}

// want is what a file of the volume holds: zeros where it cannot be read.
func (v *testVolume) want() []byte {
	want := bytes.Clone(v.bytes)
	for _, r := range v.fails() {
		clear(want[r.Off:r.End])
	}
	return want
}

// memoryDevice is a device that is no file.
type memoryDevice struct{ *bytes.Reader }

func (memoryDevice) Name() string { return "memory" }

// fileDevice is a device that is an image file.
type fileDevice struct{ f *os.File }

func (d fileDevice) ReadAt(p []byte, off int64) (int, error) { return d.f.ReadAt(p, off) }
func (d fileDevice) Name() string                            { return d.f.Name() }
func (d fileDevice) File() (*os.File, bool)                  { return d.f, true }
func (d fileDevice) Size() int64 {
	info, err := d.f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func noise(n int64, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func data(n int64) mapping.Extent     { return mapping.Extent{Kind: mapping.Data, Length: n} }
func zero(n int64) mapping.Extent     { return mapping.Extent{Kind: mapping.Zero, Length: n} }
func computed(n int64) mapping.Extent { return mapping.Extent{Kind: mapping.Computed, Length: n} }
func missing(n int64) mapping.Extent {
	return mapping.Extent{Kind: mapping.Missing, Length: n, Err: fmt.Errorf("pv1: %w", mapping.ErrMissing)}
}

// newVolume fills pieces with noise. Data lies on a device in memory, in order.
func newVolume(pieces ...mapping.Extent) *testVolume {
	v := &testVolume{pieces: pieces}
	device := memoryDevice{}
	for i := range pieces {
		e := &pieces[i]
		switch e.Kind {
		case mapping.Data:
			e.Device, e.Offset = &device, int64(len(v.bytes))
			fallthrough
		case mapping.Computed:
			v.bytes = append(v.bytes, noise(e.Length, uint64(i))...)
		default:
			v.bytes = append(v.bytes, make([]byte, e.Length)...)
		}
	}
	device.Reader = bytes.NewReader(v.bytes)
	return v
}

// newFileVolume lays v's data out in an image file, at offset from where it is in v.
func newFileVolume(t *testing.T, dir string, offset int64, v *testVolume) *testVolume {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var off int64
	for i := range v.pieces {
		e := &v.pieces[i]
		if e.Kind == mapping.Data {
			e.Device, e.Offset = fileDevice{f}, offset+off
			if _, err := f.WriteAt(v.bytes[off:off+e.Length], e.Offset); err != nil {
				t.Fatal(err)
			}
		}
		off += e.Length
	}
	return v
}
