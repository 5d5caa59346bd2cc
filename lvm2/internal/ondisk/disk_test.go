package ondisk

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
)

const uuid = "yI4fVH3sBtMqm7ZgD5eNRmuW2LivfRkx"

// disk is a device in memory. Tests lay out structures on it by the offsets of
// docs/format/01-label-and-metadata-area.md, and not by the table of this package.
type disk []byte

func (d disk) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(p, off) }

func (d disk) size() int64 { return int64(len(d)) }

func (d disk) put32(off int, values ...uint32) {
	for i, v := range values {
		binary.LittleEndian.PutUint32(d[off+4*i:], v)
	}
}

func (d disk) put64(off int, values ...uint64) {
	for i, v := range values {
		binary.LittleEndian.PutUint64(d[off+8*i:], v)
	}
}

// label makes a sector a label whose PV header has this device size, lists and extension.
func (d disk) label(sector int, words ...uint64) {
	b := d[sector*512 : (sector+1)*512]
	copy(b, "LABELONE")
	b.put64(8, uint64(sector))
	b.put32(20, 32)
	copy(b[24:], "LVM2 001")
	copy(b[32:], uuid)
	b.put64(64, words...)
	d.sealLabel(sector)
}

func (d disk) sealLabel(sector int) {
	b := d[sector*512 : (sector+1)*512]
	b.put32(16, CRC(b[20:]))
}

// mda writes the header of a metadata area.
func (d disk) mda(off, size int, slots ...[]byte) {
	b := d[off : off+512]
	copy(b[4:], " LVM2 x[5A%r0N*>")
	b.put32(20, 1)
	b.put64(24, uint64(off), uint64(size))
	for i, slot := range slots {
		copy(b[40+24*i:], slot)
	}
	d.sealMDA(off)
}

func (d disk) sealMDA(off int) { d.put32(off, CRC(d[off+4:off+512])) }

func slot(offset, size int, crc, flags uint32) []byte {
	b := make(disk, 24)
	b.put64(0, uint64(offset), uint64(size))
	b.put32(16, crc, flags)
	return b
}

const areaAt, areaSize = 4096, 8192

var area = Area{areaAt, areaSize}

// textDisk is a disk whose one metadata area holds text from offset on, round the end of
// the ring where it does not fit.
func textDisk(t testing.TB, text string, offset int) disk {
	t.Helper()
	d := make(disk, 32<<10)
	d.label(1, uint64(len(d)), 16<<10, 0, 0, 0, areaAt, areaSize, 0, 0, 1<<32|2)
	for i := range len(text) {
		at := offset + i
		if at >= areaSize {
			at = at - areaSize + 512
		}
		d[areaAt+at] = text[i]
	}
	d.mda(areaAt, areaSize, slot(offset, len(text), CRC([]byte(text)), 0))
	return d
}

// failing fails for reads that touch [from, to).
type failing struct {
	disk
	from, to int64
	err      error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return f.disk.ReadAt(p, off)
}

var _ io.ReaderAt = failing{}
