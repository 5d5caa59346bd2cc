package ondisk

import (
	"fmt"
	"io"
	"math"

	"lvm2fs/mapping"
)

// The log of a mirror (dm-mirror) says which regions its legs have in common. It fills an
// LV of its own.
// (docs/format/03-mapping-linear-striped-raid.md, section 3)
const (
	logMagic        = 0
	logVersion      = 4
	logRegions      = 8
	logHeaderSize   = 512
	logBits         = MirrorLogBits
	logMagicValue   = 0x4d695272 // "rRiM"
	logKnownVersion = 2
	logMax          = 16 << 20 // bytes of bits
	// MirrorLogBits is the offset of the bits.
	MirrorLogBits = 1024
)

// NewMirrorLog is the number of regions of a log before its first use.
const NewMirrorLog = math.MaxUint64

// MirrorLog is the log of a mirror.
type MirrorLog struct {
	Regions uint64 // that the log speaks of; NewMirrorLog if no mirror has ever run with it
	Bits    []byte // bit i%8 of byte i/8: region i is in sync
}

// InSync says whether region i is known to be in sync.
func (l *MirrorLog) InSync(i int64) bool {
	return i >= 0 && l.Regions != NewMirrorLog && uint64(i) < l.Regions && i/8 < int64(len(l.Bits)) && l.Bits[i/8]>>(i%8)&1 != 0
}

// ReadMirrorLog reads the log of a mirror of a number of regions from an LV of size bytes.
// It fails with ErrFormat for a log that makes no sense, and with the error of r.
func ReadMirrorLog(r io.ReaderAt, size, regions int64) (*MirrorLog, error) {
	b := make(structure, logHeaderSize)
	if _, err := mapping.ReadFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("mirror log at byte 0: %w", err)
	}
	if magic := b.u32(logMagic); magic != logMagicValue {
		return nil, fmt.Errorf("mirror log at byte 0: %w: magic %#08x", ErrFormat, magic)
	}
	if v := b.u32(logVersion); v != logKnownVersion {
		return nil, fmt.Errorf("mirror log at byte 0: %w: version %d", ErrFormat, v)
	}
	if room := min(size-logBits, logMax); regions < 0 || regions > 8*room {
		return nil, fmt.Errorf("mirror log at byte %d: %w: %d regions in %d bytes", logBits, ErrFormat, regions, size)
	}
	l := &MirrorLog{Regions: b.u64(logRegions), Bits: make([]byte, (regions+7)/8)}
	if _, err := mapping.ReadFull(r, l.Bits, logBits); err != nil {
		return nil, fmt.Errorf("mirror log at byte %d: %w", logBits, err)
	}
	return l, nil
}
