package fusefs

import (
	"errors"
	"syscall"
	"testing"

	"lvm2fs/mapping"
)

// extents is a volume that answers with these, one after the other.
type extents []mapping.Extent

func (v extents) Size() (n int64) {
	for _, e := range v {
		n += e.Length
	}
	return n
}

func (v extents) ReadAt([]byte, int64) (int, error) { return 0, errors.New("not to be read") }

func (v extents) Map(off, max int64) (mapping.Extent, error) {
	for _, e := range v {
		if off < e.Length {
			e.Length = min(e.Length-off, max)
			e.Offset += off
			if e.Err != nil && e.Kind != mapping.Missing {
				return mapping.Extent{}, e.Err
			}
			return e, nil
		}
		off -= e.Length
	}
	return mapping.Extent{}, errors.New("asked beyond the end")
}

func of(kind mapping.Kind, length int64) mapping.Extent {
	return mapping.Extent{Kind: kind, Length: length}
}

var everyKind = extents{
	of(mapping.Data, 100),
	of(mapping.Zero, 50), of(mapping.Zero, 50),
	of(mapping.Computed, 100),
	of(mapping.Missing, 100),
	of(mapping.Zero, 100),
}

const unlimited = 1000

func TestOnlyWhatLiesNowhereIsAHole(t *testing.T) {
	for _, c := range []struct{ off, data, hole int64 }{
		{0, 0, 100},
		{99, 99, 100},
		{100, 200, 100},
		{150, 200, 150},
		{199, 200, 199},
		{200, 200, 400},
		{300, 300, 400},
		{400, -1, 400},
		{499, -1, 499},
		{500, -1, -1},
		{501, -1, -1},
		{-1, -1, -1},
	} {
		for whence, want := range map[uint32]int64{seekData: c.data, seekHole: c.hole} {
			got, errno := seek(everyKind, c.off, whence, unlimited)
			if want == -1 && errno != syscall.ENXIO || want != -1 && (errno != 0 || got != want) {
				t.Errorf("whence %d from %d: got %d, %v; want %d", whence, c.off, got, errno, want)
			}
		}
	}
	if _, errno := seek(everyKind, 0, 7, unlimited); errno != syscall.EINVAL {
		t.Errorf("an unknown whence: %v", errno)
	}
	if got, errno := seek(extents{of(mapping.Data, 10)}, 3, seekHole, unlimited); got != 10 || errno != 0 {
		t.Errorf("without holes the end is one: got %d, %v", got, errno)
	}
	if n := countHoles(everyKind, unlimited); n != 200 {
		t.Errorf("counted %d bytes of holes, want 200", n)
	}
}

func TestWhatCannotBeMappedIsNoHole(t *testing.T) {
	v := extents{of(mapping.Zero, 10), {Length: 10, Err: errors.New("damaged")}, of(mapping.Zero, 10)}
	if got, errno := seek(v, 0, seekData, unlimited); got != 10 || errno != 0 {
		t.Errorf("data: got %d, %v; want 10", got, errno)
	}
	if got, errno := seek(v, 10, seekHole, unlimited); got != 30 || errno != 0 {
		t.Errorf("hole: got %d, %v; want the end", got, errno)
	}
	if n := countHoles(v, unlimited); n != 10 {
		t.Errorf("counted %d bytes of holes, want 10", n)
	}
}

func TestBeyondTheLimitEverythingIsData(t *testing.T) {
	if got, errno := seek(everyKind, 100, seekData, 1); got != 150 || errno != 0 {
		t.Errorf("data: got %d, %v; want 150", got, errno)
	}
	if got, errno := seek(everyKind, 200, seekHole, 2); got != 500 || errno != 0 {
		t.Errorf("hole: got %d, %v; want the end", got, errno)
	}
	if n := countHoles(everyKind, 2); n != 50 {
		t.Errorf("counted %d bytes of holes, want 50", n)
	}
}
