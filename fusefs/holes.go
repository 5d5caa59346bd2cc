package fusefs

import (
	"syscall"

	"lvm2fs/mapping"
)

// Only what lies nowhere is a hole; data, computed and missing bytes are data. To find holes
// takes asking where each run of bytes is, so there is a limit to it, beyond which everything
// is taken for data. That is always allowed to say.
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
	n := countHoles(v, maxStatExtents)
	f.holes.Store(n + 1)
	return n
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
