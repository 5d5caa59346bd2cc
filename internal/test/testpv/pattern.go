package testpv

import (
	"encoding/binary"
	"io"
)

// PatternDisk is a device of any size that takes no memory: behind its head each byte
// follows from the disk and the offset.
type PatternDisk struct {
	Label string
	Head  []byte
	Bytes int64
}

func (d *PatternDisk) Name() string { return d.Label }
func (d *PatternDisk) Size() int64  { return d.Bytes }

func (d *PatternDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.Bytes {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), d.Bytes-off))
	for i := 0; i < n; {
		word := (off + int64(i)) / 8
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], (uint64(word)^uint64(len(d.Label))<<56)*0x9e3779b97f4a7c15+uint64(d.Label[len(d.Label)-1]))
		i += copy(p[i:n], b[(off+int64(i))%8:])
	}
	if off < int64(len(d.Head)) {
		copy(p[:n], d.Head[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
