package fusefs

import (
	"syscall"

	"lvm2fs/mapping"
)

// Only what lies nowhere, or in a hole of an image file, is a hole; other data, computed and missing
// bytes are data. To find holes it must be asked where each run of bytes is, so there is a limit,
// beyond which everything is taken for data. That is always a right answer.
const (
	maxStatExtents = 1 << 12 // asked for by one stat
	maxSeekExtents = 1 << 16 // asked for by one lseek
)

// SEEK_DATA and SEEK_HOLE as FUSE numbers them, on every system.
const (
	seekData = 3
	seekHole = 4
)

// holeBytes counts the bytes in holes. The caller holds f.io.
func (f *lvFile) holeBytes() int64 {
	if n := f.holes.Load(); n != 0 {
		return n - 1
	}
	v, err := f.volume()
	if err != nil {
		return 0
	}
	n := countHoles(withHoles(v), maxStatExtents)
	if n == v.Size() && countHoles(v, maxStatExtents) != n {
		// Others may write to an image file after its holes were counted. What has no blocks at all is
		// taken by some programs for zeros, without a look.
		n--
	}
	f.holes.Store(n + 1)
	return n
}

// withHoles is v with holes of image files as zeros. While v is written to it has none: what
// was written to a mapped page, and has not come here yet, may be about to fill one.
func withHoles(v *openVolume) mapping.Volume {
	if v.Writable() {
		return dense{v}
	}
	return sparse{v}
}

// dense is a volume without holes.
type dense struct{ mapping.Volume }

func (d dense) Map(off, max int64) (mapping.Extent, error) {
	e, err := d.Volume.Map(off, max)
	if e.Kind == mapping.Zero {
		e.Kind = mapping.Computed
	}
	return e, err
}

type sparse struct{ mapping.Volume }

// holey is a device that may have holes; see [blockdev.Device.NextData].
type holey interface {
	NextData(off, end int64) (from, to int64, err error)
}

func (s sparse) Map(off, max int64) (mapping.Extent, error) {
	e, err := s.Volume.Map(off, max)
	if err != nil || e.Kind != mapping.Data {
		return e, err
	}
	d, ok := e.Device.(holey)
	if !ok {
		return e, nil
	}
	from, to, err := d.NextData(e.Offset, e.Offset+e.Length)
	switch {
	case err != nil || to < from || from < e.Offset || to > e.Offset+e.Length:
		return e, nil // that all is data is always right
	case from > e.Offset:
		return mapping.Extent{Kind: mapping.Zero, Length: from - e.Offset}, nil
	}
	if to > from {
		e.Length = to - from
	}
	return e, nil
}

func countHoles(v mapping.Volume, limit int) int64 {
	var n int64
	for off := int64(0); off < v.Size() && limit > 0; limit-- {
		e, err := v.Map(off, v.Size()-off)
		if err != nil || e.Length <= 0 {
			break
		}
		if e.Kind == mapping.Zero {
			n += e.Length
		}
		off += e.Length
	}
	return n
}

// seek finds the first byte from off on that is data, or in a hole; the end of the volume is
// one.
func seek(v mapping.Volume, off int64, whence uint32, limit int) (int64, syscall.Errno) {
	size := v.Size()
	if whence != seekData && whence != seekHole {
		return 0, syscall.EINVAL
	}
	if off < 0 || off >= size {
		return 0, syscall.ENXIO
	}
	for ; off < size && limit > 0; limit-- {
		e, err := v.Map(off, size-off)
		hole := err == nil && e.Kind == mapping.Zero
		if hole == (whence == seekHole) {
			return off, 0
		}
		if err != nil || e.Length <= 0 {
			break
		}
		off += e.Length
	}
	switch {
	case whence == seekHole:
		return size, 0
	case off >= size:
		return 0, syscall.ENXIO
	}
	return off, 0
}
