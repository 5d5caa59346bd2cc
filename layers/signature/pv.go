package signature

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
)

// physicalVolume finds an LVM2 label (docs/format/01-label-and-metadata-area.md,
// sections 2 to 4).
func physicalVolume(d *disk) (*Signature, error) {
	for n := range int64(4) {
		b, err := d.at(n*sector, sector)
		if err != nil {
			return nil, err
		}
		if isLabel(b, n) {
			return &Signature{KindPV, "LVM2 physical volume", n * sector}, nil
		}
	}
	return nil, nil
}

func isLabel(b []byte, n int64) bool {
	return b != nil && string(b[:8]) == "LABELONE" &&
		binary.LittleEndian.Uint64(b[8:]) == uint64(n) &&
		binary.LittleEndian.Uint32(b[16:]) == lvmChecksum(b[20:]) &&
		string(b[24:32]) == "LVM2 001"
}

func lvmChecksum(b []byte) uint32 {
	return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b)
}

// PVSize is the size in bytes that the PV on a device of size bytes has by its own label; 0 if there is none.
func PVSize(r io.ReaderAt, size int64) (int64, error) { return newDisk(r, size).pv() }

// pv returns where the PV on the device ends by its own label, 0 if there is none.
func (d *disk) pv() (int64, error) {
	if !d.pvRead {
		d.pvRead = true
		d.pvEnd, d.pvErr = d.readPVEnd()
	}
	return d.pvEnd, d.pvErr
}

func (d *disk) readPVEnd() (int64, error) {
	s, err := physicalVolume(d)
	if s == nil {
		return 0, err
	}
	b, err := d.at(s.Offset, sector)
	if err != nil {
		return 0, err
	}
	const uuid = 32
	header := uint64(binary.LittleEndian.Uint32(b[20:]))
	if header+uuid+8 > sector {
		return 0, nil
	}
	size := binary.LittleEndian.Uint64(b[header+uuid:])
	return int64(min(size, math.MaxInt64)), nil
}

// insidePV reports whether what is at off belongs to the contents of the PV on the
// device. The PV that lies in an array or behind a container ends before the mark of
// either; one that is larger than the device is not whole on it, and tells nothing.
func (d *disk) insidePV(off int64) (bool, error) {
	end, err := d.pv()
	return off < end && end <= d.size, err
}
