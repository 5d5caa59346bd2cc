package dm

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"lvm2fs/mapping"
)

// memory is a volume, and a device, in memory.
type memory []byte

func (m memory) Name() string { return "memory" }
func (m memory) Size() int64  { return int64(len(m)) }

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

func random(size int) memory {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// volumeOf is a volume over all of a device, whose extents say where they lie.
func volumeOf(m memory) mapping.Volume { return Device(&m, 0, m.Size()) }

var errLost = errors.Join(errors.New("lost"), mapping.ErrMissing)

// checkVolume reads v in many ways and wants the bytes of want, where lost(i) is false.
func checkVolume(t *testing.T, v mapping.Volume, want []byte, lost func(i int) bool) {
	t.Helper()
	if v.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", v.Size(), len(want))
	}
	checkMap(t, v, want, lost)
	for range 300 {
		off := rand.IntN(len(want))
		n := rand.IntN(min(len(want)-off, 20000)) + 1
		p := make([]byte, n)
		got, err := v.ReadAt(p, int64(off))
		good := 0
		for good < n && !lost(off+good) {
			good++
		}
		if got > good || !bytes.Equal(p[:got], want[off:off+got]) {
			t.Fatalf("%d bytes at %d: %d read, %d are good, or wrong bytes", n, off, got, good)
		}
		if good == n && err != nil || good < n && !errors.Is(err, mapping.ErrMissing) {
			t.Fatalf("%d bytes at %d: %v", n, off, err)
		}
	}
	p := make([]byte, 20)
	if n, err := v.ReadAt(p, v.Size()); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := v.ReadAt(p, -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("before the start: %d, %v", n, err)
	}
	if !lost(len(want) - 1) {
		if n, err := v.ReadAt(p, v.Size()-1); n != 1 || err != io.EOF || p[0] != want[len(want)-1] {
			t.Errorf("over the end: %d, %v", n, err)
		}
	}
}

// checkMap follows every extent to its bytes.
func checkMap(t *testing.T, v mapping.Volume, want []byte, lost func(i int) bool) {
	t.Helper()
	err := mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
		p := make([]byte, e.Length)
		switch e.Kind {
		case mapping.Data:
			if _, err := e.Device.ReadAt(p, e.Offset); err != nil {
				return err
			}
		case mapping.Missing:
			if !errors.Is(e.Err, mapping.ErrMissing) {
				t.Errorf("missing because of %v", e.Err)
			}
		}
		for i := range p {
			at := int(off) + i
			if lost(at) != (e.Kind == mapping.Missing) {
				t.Fatalf("byte %d is %v", at, e.Kind)
			}
			if e.Kind != mapping.Missing && p[i] != want[at] {
				t.Fatalf("extent at %d is elsewhere: byte %d differs", off, at)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func never(int) bool { return false }

func TestLinearIsARunOfTheVolumeBeneath(t *testing.T) {
	m := random(10000)
	checkVolume(t, Linear(volumeOf(m), 1234, 5000), m[1234:6234], never)
}

func TestSegmentsFollowEachOther(t *testing.T) {
	a, b := random(5000), random(9000)
	v := Concat([]mapping.Volume{
		Linear(volumeOf(b), 1000, 3000), Missing(700, errLost), volumeOf(a), Zero(4000), Linear(volumeOf(b), 0, 1000),
	})
	want := append([]byte(nil), b[1000:4000]...)
	want = append(want, make([]byte, 700)...)
	want = append(want, a...)
	want = append(want, make([]byte, 4000)...)
	want = append(want, b[:1000]...)
	checkVolume(t, v, want, func(i int) bool { return i >= 3000 && i < 3700 })
}

func TestStripesTakeChunksInTurn(t *testing.T) {
	for _, c := range []struct{ stripes, chunk, rows int }{{2, 512, 9}, {3, 4096, 5}, {7, 1024, 3}, {5, 1536, 4}} {
		stripes := make([]mapping.Volume, c.stripes)
		data := make([]memory, c.stripes)
		for i := range stripes {
			data[i] = random(c.chunk * c.rows)
			stripes[i] = volumeOf(data[i])
		}
		lostStripe := rand.IntN(c.stripes + 1)
		if lostStripe < c.stripes {
			stripes[lostStripe] = Missing(int64(c.chunk*c.rows), errLost)
		}
		var want []byte
		for row := range c.rows {
			for i := range c.stripes {
				want = append(want, data[i][row*c.chunk:(row+1)*c.chunk]...)
			}
		}
		v, err := Striped(stripes, int64(c.chunk))
		if err != nil {
			t.Fatal(err)
		}
		checkVolume(t, v, want, func(i int) bool { return i/c.chunk%c.stripes == lostStripe })
	}
}

func TestStripesThatDoNotFitAreRefused(t *testing.T) {
	for name, stripes := range map[string][]mapping.Volume{
		"none":            nil,
		"unequal":         {Zero(4096), Zero(8192)},
		"no whole chunks": {Zero(5000), Zero(5000)},
	} {
		if _, err := Striped(stripes, 4096); err == nil {
			t.Error(name)
		}
	}
}

func TestADeviceThatEndsEarlyLosesTheRest(t *testing.T) {
	m := random(8000)
	checkVolume(t, Device(&m, 1000, 9000), append(append([]byte(nil), m[1000:]...), make([]byte, 2000)...), func(i int) bool { return i >= 7000 })
}

// partition is a device that lies on another.
type partition struct {
	memory
	disk  *memory
	start int64
}

func (p partition) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Length: min(max, p.Size()-off), Device: p.disk, Offset: p.start + off}, nil
}

func TestExtentsEndAtTheDeviceBeneathAll(t *testing.T) {
	disk := random(20000)
	dev := &partition{disk[5000:15000], &disk, 5000}
	v := Device(dev, 1000, 9000)
	checkVolume(t, v, disk[6000:15000], never)
	if e, err := v.Map(0, 9000); err != nil || e.Device != mapping.Device(&disk) || e.Offset != 6000 {
		t.Error(e, err)
	}
}
