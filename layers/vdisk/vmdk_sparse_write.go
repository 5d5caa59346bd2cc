package vdisk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"lvm2fs/mapping"
)

// A sparse extent is written at its end: a new grain, or a new table of grains, of which there may be two copies. An entry
// leads to it once it is there.
const (
	sparseStageNew = iota
	sparseStageTable
)

const (
	sparseRedundant    = 48 // u64, the second directory
	sparseOverhead     = 64 // u64
	sparseUnclean      = 72 // u8, while it is open for writing
	sparseHasRedundant = 1 << 1
	sparseHasMarkers   = 1 << 17

	// sparseMaxGrains is how many there are in tables that are looked through before the image is written.
	sparseMaxGrains = 1 << 26
)

func (s *sparse) readOnly() error {
	span := s.entries * s.grain
	switch flags := binary.LittleEndian.Uint32(s.header[sparseFlags:]); {
	case s.inflated != nil, flags&sparseHasMarkers != 0, binary.LittleEndian.Uint64(s.header[sparseDirectory:]) == sparseAtEnd:
		return unsupported("writing to a VMDK image for transport (streamOptimized): its grains are compressed, one behind the other")
	case s.bytes/s.grain >= sparseMaxGrains:
		return unsupported("writing to a VMDK image of %d grains", s.bytes/s.grain)
	case s.entries*4%sectorSize != 0 || span <= 0:
		return unsupported("writing to a VMDK image with grain tables of %d entries", s.entries)
	}
	return nil
}

func (s *sparse) file() mapping.Device { return s.tables.dev }
func (s *sparse) pending() int         { return len(s.tables.changed) }
func (s *sparse) commit() error        { return s.tables.commit() }

// directories are where the directory is, and its copy.
func (s *sparse) directories() []int64 {
	all := []int64{s.directory}
	second := binary.LittleEndian.Uint64(s.header[sparseRedundant:])
	if binary.LittleEndian.Uint32(s.header[sparseFlags:])&sparseHasRedundant != 0 && second != 0 && second < vmdkMaxSectors {
		all = append(all, int64(second)*sectorSize)
	}
	return all
}

// start finds the end of the file, and that each grain has a place of its own in it.
func (s *sparse) start() error {
	s.tables.forget()
	now := make([]byte, sparseHeaderSize)
	if _, err := mapping.ReadFull(s.tables.dev, now, 0); err != nil {
		return err
	}
	s.wasOpen = now[sparseUnclean] != 0
	now[sparseUnclean] = s.header[sparseUnclean]
	if !bytes.Equal(now, s.header) {
		return ErrChanged
	}
	s.tables.end = roundUp(s.tables.dev.Size(), sectorSize)
	var grains []uint32
	for i := range (s.bytes + s.entries*s.grain - 1) / (s.entries * s.grain) {
		some, err := s.grainsOf(i)
		if err != nil {
			return err
		}
		grains = append(grains, some...)
	}
	return apart(grains, s.grain)
}

// grainsOf are the places of the grains of one table, in sectors.
func (s *sparse) grainsOf(i int64) (grains []uint32, err error) {
	table, err := s.tables.u32(s.directory + i*4)
	if err != nil || table == 0 {
		return nil, err
	}
	overhead := binary.LittleEndian.Uint64(s.header[sparseOverhead:])
	for j := range s.entries {
		sector, err := s.tables.u32(int64(table)*sectorSize + j*4)
		if err != nil {
			return nil, err
		}
		switch place := int64(sector) * sectorSize; {
		case sector == 0, sector == 1 && s.zeroGrain:
			continue
		case uint64(sector) < overhead:
			return nil, damaged("the grain at byte %d lies among the tables", place)
		case place >= s.tables.dev.Size():
			return nil, beyond(s.tables.dev, place)
		}
		grains = append(grains, sector)
	}
	return grains, nil
}

// begin marks the extent as open for writing.
func (s *sparse) begin() error {
	if s.wasOpen {
		return nil
	}
	return s.markOpen(1)
}

// finish takes the mark away, if it was not there before.
func (s *sparse) finish() error {
	if s.wasOpen {
		return nil
	}
	return s.markOpen(0)
}

func (s *sparse) markOpen(mark byte) error {
	if err := s.tables.write([]byte{mark}, sparseUnclean); err != nil {
		return err
	}
	return s.tables.sync()
}

func (s *sparse) inPlace(off, max int64) (mapping.Extent, bool, error) {
	return inOwnFile(s, s.tables.dev, off, max)
}

func (s *sparse) assign(p []byte, off int64) (int64, error) {
	in := off % s.grain
	n := min(int64(len(p)), s.grain-in)
	if (s.tables.end+s.grain)/sectorSize >= 1<<32-1 {
		return 0, fmt.Errorf("a file of %d bytes has no room for another grain: %w", s.tables.end, ErrNoSpace)
	}
	place, zeros, err := s.tables.grow(s.grain, s.grain, 0)
	if err != nil {
		return 0, err
	}
	if err := fill(s, s.tables, place, off-in, s.grain, p[:n], off, zeros); err != nil {
		return 0, err
	}
	return n, s.point(off, uint32(place/sectorSize))
}

// unmap makes whole grains zeros, where an entry can say that.
func (s *sparse) unmap(off, n int64) (int64, error) {
	if !s.zeroGrain || off%s.grain != 0 || n < min(s.grain, s.bytes-off) {
		return 0, nil
	}
	return min(s.grain, s.bytes-off), s.point(off, 1)
}

// point has the entries for the grain at off of the disk say where it is.
func (s *sparse) point(off int64, sector uint32) error {
	span := s.entries * s.grain
	for _, directory := range s.directories() {
		table, err := s.tableOf(directory + off/span*4)
		if err != nil {
			return err
		}
		if err := s.tables.putU32(table+off%span/s.grain*4, sector, sparseStageTable); err != nil {
			return err
		}
	}
	return nil
}

// tableOf is where the table is to which the directory's entry at this byte leads: a new one if it leads to none.
func (s *sparse) tableOf(entry int64) (int64, error) {
	sector, err := s.tables.u32(entry)
	if err != nil || sector != 0 {
		return int64(sector) * sectorSize, err
	}
	place, _, err := s.tables.grow(s.entries*4, sectorSize, 0)
	if err != nil {
		return 0, err
	}
	if err := s.tables.put(place, make([]byte, s.entries*4), sparseStageNew); err != nil {
		return 0, err
	}
	return place, s.tables.putU32(entry, uint32(place/sectorSize), sparseStageTable)
}
