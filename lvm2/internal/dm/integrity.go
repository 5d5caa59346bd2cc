package dm

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"

	"lvm2fs/mapping"
)

// ErrIntegrity: data do not match their checksum.
var ErrIntegrity = errors.New("integrity checksum mismatch")

// ErrIntegrityMetadata: the metadata of an integrity layer do not make sense.
var ErrIntegrityMetadata = errors.New("damaged integrity metadata")

// IntegrityConfig is what the VG's metadata says of an integrity layer. Sizes are in bytes.
type IntegrityConfig struct {
	Size      int64
	BlockSize int64 // that one checksum covers
	TagSize   int64 // of a stored checksum
	Hash      string
	// Discards: a checksum of 0xF6 bytes marks a discarded block.
	Discards bool
	// Recalculate: LVM2 has asked the kernel to compute the checksums, and not noted yet that it activated the
	// layer.
	Recalculate bool
}

// integrity is data in place, with a checksum of each block, its tag, in meta:
//
//	meta  | superblock | journal or bitmap                | tag 0 | tag 1 | …
//	      0            4096                               initial
//	data  | block 0 | block 1 | …
//
//	superblock: 0 "integrt\0"  8 u8 version  9 u8 log2 of interleave  10 u16 tag size
//	            12 u32 journal sections  16 u64 data sectors  24 u32 flags
//	            28 u8 log2 of sectors in a block  29 u8 log2 of blocks to a bit
//	            32 u64 recalculated sectors  48 salt
//
// A read checks every block it touches. What the journal still holds is newer than data, and
// is read from there.
// (docs/format/08-integrity.md)
type integrity struct {
	config     IntegrityConfig
	data, meta mapping.Volume
	newHash    func() hash.Hash // nil: crc32c

	flags       uint32
	salt        []byte
	journal     journal
	tags        int64 // byte of meta at which tags begin
	trusted     int64 // bytes of data whose tags are valid
	bitmap      bool  // the bitmap says which regions have no valid tags
	bytesPerBit int64 // of data
	openOverlay func() (map[int64]journalEntry, error)
}

const (
	integrityMagic        = "integrt\x00"
	integrityMaxVersion   = 7
	integritySector       = 512
	integritySuperblock   = 8 * integritySector
	integrityJournalMAC   = 1
	integrityRecalculate  = 2
	integrityDirtyBitmap  = 4
	integrityFixedPadding = 8
	integrityFixedHMAC    = 0x10
	integrityFiller       = 0xf6
)

// Integrity is data, checked against the tags in meta. Bytes that fail the check cannot be read;
// whatever lies above may have them elsewhere.
func Integrity(data, meta mapping.Volume, c IntegrityConfig) (mapping.Volume, error) {
	v := &integrity{config: c, data: data, meta: meta}
	switch c.Hash {
	case "crc32c":
	case "md5":
		v.newHash = md5.New
	case "sha1":
		v.newHash = sha1.New
	case "sha256":
		v.newHash = sha256.New
	case "sha512":
		v.newHash = sha512.New
	default:
		return nil, fmt.Errorf("%w: hash %q: %w", ErrIntegrityMetadata, c.Hash, errors.ErrUnsupported)
	}
	if c.Size < 0 || c.Size > data.Size() || c.TagSize <= 0 || c.TagSize > 64 {
		return nil, fmt.Errorf("%w: %d bytes with tags of %d, over %d bytes", ErrIntegrityMetadata, c.Size, c.TagSize, data.Size())
	}
	b := make([]byte, integritySuperblock)
	if _, err := meta.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("superblock of the integrity metadata: %w", err)
	}
	if allZero(b) {
		if err := v.neverActivated(); err != nil {
			return nil, err
		}
		return Linear(data, 0, c.Size), nil
	}
	return v, v.decodeSuperblock(b)
}

// neverActivated fails unless a superblock of zeros is one that the kernel has still to write. It writes the
// journal before anything else, so that a commit ID shows that it has been there.
func (v *integrity) neverActivated() error {
	const zeros = "superblock, byte 0: zeros"
	if !v.config.Recalculate {
		return fmt.Errorf("%w: %s, but the VG's metadata say that it has been activated", ErrIntegrityMetadata, zeros)
	}
	j := newJournal(1, v.config.BlockSize/integritySector, v.config.TagSize)
	b := make([]byte, journalEntrySectors*integritySector)
	if _, err := v.meta.ReadAt(b, j.at(0, 0)); err != nil {
		return fmt.Errorf("integrity journal: %w", err)
	}
	for sector := range int64(journalEntrySectors) {
		if _, err := j.round(b[sector*integritySector:], 0, sector); err == nil {
			return fmt.Errorf("%w: %s, but there is a journal at byte %d", ErrIntegrityMetadata, zeros, j.at(0, sector))
		}
	}
	return nil
}

func (v *integrity) decodeSuperblock(b []byte) error {
	le := binary.LittleEndian
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: superblock, byte %d: %s", ErrIntegrityMetadata, at, fmt.Sprintf(format, args...))
	}
	sections := le.Uint32(b[12:])
	v.flags = le.Uint32(b[24:])
	const known = integrityRecalculate | integrityDirtyBitmap | integrityFixedPadding | integrityFixedHMAC
	switch {
	case string(b[:8]) != integrityMagic:
		return bad(0, "magic %q", b[:8])
	case b[8] == 0 || b[8] > integrityMaxVersion:
		return bad(8, "version %d", b[8])
	case b[9] != 0: // which is for tags among the data; the VG says that they are in a device of their own
		return bad(9, "tags interleaved with 2^%d sectors of data", b[9])
	case int64(le.Uint16(b[10:])) != v.config.TagSize:
		return bad(10, "tags of %d bytes, the VG says %d", le.Uint16(b[10:]), v.config.TagSize)
	case sections == 0:
		return bad(12, "no journal sections")
	case v.flags&^known != 0:
		return bad(24, "flags 0x%x", v.flags)
	case b[28] > 3 || integritySector<<b[28] != v.config.BlockSize:
		return bad(28, "blocks of %d sectors, the VG says %d bytes", 1<<b[28], v.config.BlockSize)
	case b[29] > 40:
		return bad(29, "2^%d blocks to a bit", b[29])
	}
	if v.flags&integrityFixedHMAC != 0 {
		v.salt = bytes.Clone(b[48:64])
	}
	v.journal = newJournal(int64(sections), v.config.BlockSize/integritySector, v.config.TagSize)
	v.tags = integritySuperblock + v.journal.size()
	blocks := (v.config.Size + v.config.BlockSize - 1) / v.config.BlockSize
	if room := v.meta.Size() - v.tags; room < 0 || blocks > room/v.config.TagSize {
		return bad(12, "%d journal sections leave no room for the tags of %d blocks", sections, blocks)
	}
	// The data sectors that the superblock knows of are no limit: the kernel checks what lies beyond, too. Where an
	// LV was extended, it is the recalculated sectors that end before.
	v.trusted = v.config.Size
	if recalculated := le.Uint64(b[32:]); v.flags&integrityRecalculate != 0 && recalculated < uint64(v.trusted/integritySector) {
		v.trusted = int64(recalculated) * integritySector
	}
	v.bitmap = v.flags&integrityDirtyBitmap != 0
	v.bytesPerBit = v.config.BlockSize << b[29]
	v.openOverlay = once(func() (map[int64]journalEntry, error) {
		if v.bitmap {
			return nil, nil // what would be the journal is the bitmap
		}
		return v.journal.replay(v.meta, v.config.Size)
	})
	return nil
}

// Checksummed is of how many bytes of a volume from [Integrity] the checksums have been computed; false for a volume
// that was never activated.
func Checksummed(v mapping.Volume) (bytes int64, ok bool) {
	i, ok := v.(*integrity)
	if !ok {
		return 0, false
	}
	return i.trusted, true
}

func (v *integrity) Size() int64 { return v.config.Size }

// Map calls everything computed that can be read, for only ReadAt checks it.
func (v *integrity) Map(off, max int64) (mapping.Extent, error) {
	overlay, err := v.openOverlay()
	if err != nil {
		return mapping.Extent{}, err
	}
	e, err := v.data.Map(off, min(max, v.Size()-off))
	// What is missing may be in the journal.
	if err == nil && (e.Kind != mapping.Missing || len(overlay) > 0) {
		e = mapping.Extent{Kind: mapping.Computed, Length: e.Length}
	}
	return e, err
}

func (v *integrity) ReadAt(p []byte, off int64) (int, error) {
	return readWithin(v.Size(), p, off, v.read)
}

// pieceSize bounds the buffers of one read, in bytes.
const pieceSize = 1 << 20

func (v *integrity) read(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		start := at / v.config.BlockSize * v.config.BlockSize
		end := min((off+int64(len(p))+v.config.BlockSize-1)/v.config.BlockSize*v.config.BlockSize, start+pieceSize, v.Size())
		piece, err := v.readBlocks(start, end)
		if good := start + int64(len(piece)); good > at {
			done += copy(p[done:], piece[at-start:])
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readBlocks reads the blocks from start to end, checked. Of an error it returns the blocks before.
func (v *integrity) readBlocks(start, end int64) ([]byte, error) {
	overlay, err := v.openOverlay()
	if err != nil {
		return nil, err
	}
	data := make([]byte, end-start)
	n, readErr := v.data.ReadAt(data, start)
	first, count := start/v.config.BlockSize, (end-start+v.config.BlockSize-1)/v.config.BlockSize
	tags := make([]byte, count*v.config.TagSize)
	if _, err := v.meta.ReadAt(tags, v.tags+first*v.config.TagSize); err != nil {
		return nil, fmt.Errorf("integrity tags: %w", err)
	}
	for i := range count {
		from := i * v.config.BlockSize
		block := data[from:min(from+v.config.BlockSize, int64(len(data)))]
		at, tag := start+from, tags[i*v.config.TagSize:(i+1)*v.config.TagSize]
		if e, ok := overlay[first+i]; ok {
			if tag, err = v.journal.read(v.meta, e, block); err != nil {
				return data[:from], err
			}
		} else {
			if int64(n) < from+int64(len(block)) {
				return data[:from], readErr
			}
			trusted, err := v.trusts(at)
			if err != nil {
				return data[:from], err
			}
			if !trusted {
				continue
			}
		}
		if !v.matches(tag, at, block) {
			return data[:from], fmt.Errorf("%w: block at byte %d", ErrIntegrity, at)
		}
	}
	return data, nil
}

// trusts says whether the tag of the block at byte at is known to be valid.
func (v *integrity) trusts(at int64) (bool, error) {
	if at >= v.trusted {
		return false, nil
	}
	if !v.bitmap {
		return true, nil
	}
	bit := at / v.bytesPerBit
	var b [1]byte
	where := integritySuperblock + bit/8
	if where >= v.tags {
		return false, fmt.Errorf("%w: bit %d is beyond the bitmap", ErrIntegrityMetadata, bit)
	}
	if _, err := v.meta.ReadAt(b[:], where); err != nil {
		return false, fmt.Errorf("integrity bitmap: %w", err)
	}
	return b[0]>>(bit%8)&1 == 0, nil
}

func (v *integrity) matches(tag []byte, at int64, block []byte) bool {
	var sector [8]byte
	binary.LittleEndian.PutUint64(sector[:], uint64(at/integritySector))
	want := make([]byte, v.config.TagSize)
	if v.newHash == nil {
		sum := crc32.Update(0, castagnoli, v.salt)
		sum = crc32.Update(crc32.Update(sum, castagnoli, sector[:]), castagnoli, block)
		copy(want, binary.LittleEndian.AppendUint32(nil, sum))
	} else {
		h := v.newHash()
		h.Write(v.salt)
		h.Write(sector[:])
		h.Write(block)
		copy(want, h.Sum(nil))
	}
	return bytes.Equal(tag, want) || v.config.Discards && len(bytes.Trim(tag, string([]byte{integrityFiller}))) == 0
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
