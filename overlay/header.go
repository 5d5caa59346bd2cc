package overlay

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"lvm2fs/mapping"
)

// Identity is what an overlay belongs to.
type Identity struct {
	VG, LV      string // their UUIDs, at most 40 bytes each
	Size        int64  // of the LV in bytes, more than 0
	Fingerprint [32]byte
	// What they were called when the overlay was made. That is for people, and cut off after 127 bytes.
	VGName, LVName string
}

// header is what an overlay begins with (docs/format/11, section 2). It never changes.
//
//	0    8  12   16  32    40     44     48       56  96  136          168    296    424
//	|magic|ver|crc|id |size|block |area  |created |VG |LV |fingerprint |VG    |LV    | zeros ... 512
//	                        bytes  blocks          UUIDs                names
type header struct {
	Identity
	id      fileID
	created time.Time
}

// fileID is drawn for each overlay, so that a sector of another one is not taken for its own.
type fileID [16]byte

const (
	magic   = "LVM2OVL\n"
	version = 1

	headerSize = 4096 // of which the first sector is used
	uuidField  = 40
	nameField  = 128
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newHeader(id Identity) (*header, error) {
	switch {
	case id.Size <= 0 || layoutOf(id.Size).dataStart <= 0:
		return nil, fmt.Errorf("an overlay for %d bytes: %w", id.Size, errors.ErrUnsupported)
	case len(id.VG) > uuidField || len(id.LV) > uuidField:
		return nil, fmt.Errorf("UUIDs %q and %q: %w", id.VG, id.LV, errors.ErrUnsupported)
	}
	h := &header{Identity: id, created: time.Now()}
	_, err := rand.Read(h.id[:])
	return h, err
}

// check is why an overlay called name does not belong to id; nil if it does.
func (h *header) check(name string, id Identity) error {
	var why string
	switch {
	case h.VG != id.VG || h.LV != id.LV:
		why = fmt.Sprintf("it is of LV %s of VG %s, not of LV %s of VG %s", h.LV, h.VG, id.LV, id.VG)
	case h.Size != id.Size:
		why = fmt.Sprintf("it was made when the LV had %d bytes, and now it has %d", h.Size, id.Size)
	case h.Fingerprint != id.Fingerprint:
		why = "since it was made the metadata of the LV, or of what that lies on, have changed"
	default:
		return nil
	}
	return fmt.Errorf("%s: %w: %s", name, ErrForeign, why)
}

func (h *header) encode() []byte {
	le := binary.LittleEndian
	p := make([]byte, headerSize)
	copy(p, magic)
	le.PutUint32(p[8:], version)
	copy(p[16:], h.id[:])
	le.PutUint64(p[32:], uint64(h.Size))
	le.PutUint32(p[40:], blockSize)
	le.PutUint32(p[44:], areaBlocks)
	le.PutUint64(p[48:], uint64(h.created.UnixNano()))
	putText(p[56:96], h.VG)
	putText(p[96:136], h.LV)
	copy(p[136:168], h.Fingerprint[:])
	putText(p[168:296], h.VGName[:min(len(h.VGName), nameField-1)])
	putText(p[296:424], h.LVName[:min(len(h.LVName), nameField-1)])
	putSum(p[12:], headerSum(p[:sectorSize]))
	return p
}

// headerSum is the CRC-32C of the sector with zeros in the place of the sum.
func headerSum(sector []byte) uint32 {
	sum := crc32.Update(0, castagnoli, sector[:12])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, sector[16:])
}

func putText(field []byte, s string) { copy(field, s) }

// text is what a field holds before its first NUL.
func text(field []byte) string {
	s, _, _ := bytes.Cut(field, []byte{0})
	return string(s)
}

func readHeader(f File) (*header, error) {
	sector := make([]byte, sectorSize)
	switch n, err := mapping.ReadFull(f, sector, 0); {
	case err == nil:
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%s: header at byte 0: %w: the file ends at byte %d", f.Name(), ErrDamaged, n)
	default:
		return nil, err
	}
	h, err := decodeHeader(sector)
	if err != nil {
		return nil, fmt.Errorf("%s: header at byte 0: %w", f.Name(), err)
	}
	return h, nil
}

func decodeHeader(p []byte) (*header, error) {
	le := binary.LittleEndian
	switch {
	case string(p[:8]) != magic:
		return nil, fmt.Errorf("%w: it is no overlay", ErrDamaged)
	case le.Uint32(p[8:]) != version: // before the sum, which another version may have elsewhere
		return nil, fmt.Errorf("version %d: %w", le.Uint32(p[8:]), ErrVersion)
	case le.Uint32(p[12:]) != headerSum(p):
		return nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	h := &header{created: time.Unix(0, int64(le.Uint64(p[48:])))}
	copy(h.id[:], p[16:])
	h.Size = int64(le.Uint64(p[32:]))
	h.VG, h.LV = text(p[56:96]), text(p[96:136])
	copy(h.Fingerprint[:], p[136:])
	h.VGName, h.LVName = text(p[168:296]), text(p[296:424])
	switch {
	case le.Uint32(p[40:]) != blockSize || le.Uint32(p[44:]) != areaBlocks:
		return nil, fmt.Errorf("areas of %d blocks of %d bytes: %w", le.Uint32(p[44:]), le.Uint32(p[40:]), ErrVersion)
	case h.Size <= 0 || layoutOf(h.Size).dataStart <= 0:
		return nil, fmt.Errorf("%w: it is for %d bytes", ErrDamaged, h.Size)
	}
	return h, nil
}
