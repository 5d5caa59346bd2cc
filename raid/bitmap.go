package raid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"lvm2fs/mapping"
)

// ErrBitmap is wrapped by the error of a write-intent bitmap that cannot be used.
var ErrBitmap = errors.New("no usable write-intent bitmap")

// Offsets in bytes of the fields of a bitmap, all little-endian.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.3)
const (
	bitmapMagic      = 0
	bitmapVersion    = 4
	bitmapUUID       = 8
	bitmapEvents     = 24
	bitmapCleared    = 32
	bitmapSyncSize   = 40
	bitmapState      = 48
	bitmapRegionSize = 52
	bitmapBits       = 256

	bitmapMagicValue   = 0x6d746962 // "bitm"
	bitmapKnownVersion = 4
	bitmapStale        = 0x2
	bitmapWriteError   = 0x4

	maxBitmap = 16 << 20 // bytes of the largest that is read
)

// Bitmap is a write-intent bitmap, as MD and dm-raid keep it: which regions may have been written,
// but not on all legs.
type Bitmap struct {
	UUID     [16]byte // of the MD array; zeros for dm-raid
	Events   uint64   // of the array when the bitmap was last kept up
	SyncSize int64    // bytes that it covers, of a leg; for RAID10 of the array
	Regions  Regions
}

// ReadBitmap reads the bitmap at off, which has room bytes there at most. It fails with ErrBitmap
// where there is none that can be used, and with the error of r.
func ReadBitmap(r io.ReaderAt, off, room int64) (*Bitmap, error) {
	fail := func(err error) (*Bitmap, error) { return nil, fmt.Errorf("bitmap at byte %d: %w", off, err) }
	b := make([]byte, bitmapBits)
	if room < bitmapBits {
		return fail(fmt.Errorf("%w: no room", ErrBitmap))
	}
	if _, err := mapping.ReadFull(r, b, off); err != nil {
		return fail(err)
	}
	le := binary.LittleEndian
	if magic := le.Uint32(b[bitmapMagic:]); magic != bitmapMagicValue {
		return fail(fmt.Errorf("%w: magic %#08x", ErrBitmap, magic))
	}
	if v := le.Uint32(b[bitmapVersion:]); v != bitmapKnownVersion {
		return fail(fmt.Errorf("%w: version %d", ErrBitmap, v))
	}
	if state := le.Uint32(b[bitmapState:]); state&(bitmapStale|bitmapWriteError) != 0 {
		return fail(fmt.Errorf("%w: not kept up (state %#x)", ErrBitmap, state))
	}
	sectors, region := le.Uint64(b[bitmapSyncSize:]), int64(le.Uint32(b[bitmapRegionSize:]))
	if region < sector || sectors > math.MaxInt64/sector {
		return fail(fmt.Errorf("%w: %d sectors in regions of %d bytes", ErrBitmap, sectors, region))
	}
	bm := &Bitmap{
		UUID:     [16]byte(b[bitmapUUID:]),
		Events:   le.Uint64(b[bitmapEvents:]),
		SyncSize: int64(sectors) * sector,
	}
	bytes := bm.SyncSize / region / 8
	if bm.SyncSize%(8*region) != 0 {
		bytes++
	}
	if bytes > min(room-bitmapBits, maxBitmap) {
		return fail(fmt.Errorf("%w: %d bytes of bits in %d", ErrBitmap, bytes, room))
	}
	bm.Regions = Regions{Size: region, Bits: make([]byte, bytes)}
	if _, err := mapping.ReadFull(r, bm.Regions.Bits, off+bitmapBits); err != nil {
		return fail(err)
	}
	return bm, nil
}

// Clone is a copy that can be joined with others.
func (b *Bitmap) Clone() *Bitmap {
	c := *b
	c.Regions.Bits = slices.Clone(b.Regions.Bits)
	return &c
}

// Join makes dirty what other has dirty too, and says whether both have the same regions; else nothing is done.
func (b *Bitmap) Join(other *Bitmap) bool {
	if b.SyncSize != other.SyncSize || b.Regions.Size != other.Regions.Size {
		return false
	}
	for i, bits := range other.Regions.Bits {
		b.Regions.Bits[i] |= bits
	}
	return true
}

// BitsOffset is where the bits begin, in bytes from the start of the bitmap.
const BitsOffset = bitmapBits

// PutBitmapEvents changes the header of a bitmap, of which b is the first bytes: to the events of the array.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.3)
func PutBitmapEvents(b []byte, events uint64) {
	binary.LittleEndian.PutUint64(b[bitmapEvents:], events)
}

// PutBitmapCleared changes the header of a bitmap, of which b is the first bytes: to the events of when all regions were
// last clean on all legs. If a leg comes back with fewer events, the bits do not tell all that it missed.
// (docs/format/03-mapping-linear-striped-raid.md, section 7.3)
func PutBitmapCleared(b []byte, events uint64) {
	binary.LittleEndian.PutUint64(b[bitmapCleared:], events)
}

// Dirty says whether a write may have been under way at off; see [Config]. What the bitmap does not
// cover is dirty.
func (b *Bitmap) Dirty(off, max int64) (bool, int64) {
	if off >= b.SyncSize {
		return true, max
	}
	return b.Regions.Dirty(off, min(max, b.SyncSize-off))
}
