package ondisk

import (
	"io"
	"slices"
)

// Where the areas of a PV lie unless lvm2 was told otherwise; and how far from both ends of a device headers are
// looked for. (docs/format/01-label-and-metadata-area.md, section 9)
const (
	defaultAreaStart = 4096
	defaultAreaEnd   = 1 << 20
	areaSearch       = 2 << 20
)

// FindAreas says where metadata areas may be on a device whose label cannot be read:
//   - wherever a header, whole or damaged, shows by its magic in the first and the last areaSearch bytes;
//   - where lvm2 puts the first area.
//
// The size in a damaged header is not believed. Its area is taken to end where the usual one does, or at the end of
// the device.
// (docs/format/01-label-and-metadata-area.md, section 8)
func FindAreas(r io.ReaderAt, size int64) []Area {
	var areas []Area
	add := func(a Area) {
		if a.Size > mdaHeaderSize && !slices.ContainsFunc(areas, func(b Area) bool { return a.Offset == b.Offset }) {
			areas = append(areas, a)
		}
	}
	b := make([]byte, min(size, pieceSize))
	for _, from := range []int64{0, max(0, size-areaSearch) / SectorSize * SectorSize} {
		for off, end := from, min(size, from+areaSearch); off < end; off += pieceSize {
			piece := b[:min(pieceSize, end-off)]
			if unread := readPiece(r, piece, off); unread == int64(len(piece)) {
				break // what follows will be no better
			}
			for at := 0; at+mdaHeaderSize <= len(piece); at += SectorSize {
				if sector := structure(piece[at : at+mdaHeaderSize]); showsArea(sector) {
					add(areaOf(sector, off+int64(at), size))
				}
			}
		}
	}
	add(Area{defaultAreaStart, min(size, defaultAreaEnd) - defaultAreaStart})
	return areas
}

// areaOf is the area whose header, whole or damaged, is at off.
func areaOf(header structure, off, size int64) Area {
	if m, err := decodeMetadataArea(header); err == nil && m.Offset == off {
		return m.Area
	}
	end := size
	if off < defaultAreaEnd {
		end = min(size, defaultAreaEnd)
	}
	return Area{off, end - off}
}
