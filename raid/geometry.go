package raid

import (
	"errors"
	"fmt"
	"math"
)

// ErrGeometry is wrapped by the errors of arrays that cannot exist.
var ErrGeometry = errors.New("invalid array geometry")

// Level is an MD level number.
type Level int

// The levels. RAID4 has its parity on the last leg; the raid4 of LVM2, with parity on the
// first, is RAID5 with layout ParityFirst.
const (
	RAID0  Level = 0
	RAID1  Level = 1
	RAID4  Level = 4
	RAID5  Level = 5
	RAID6  Level = 6
	RAID10 Level = 10
)

func (l Level) String() string { return fmt.Sprintf("raid%d", int(l)) }

// MaxLegs is the largest number of legs of an array: the field of RAID 6 has no room for
// more.
const MaxLegs = 255

// Geometry is how an array's bytes are dealt out over its legs.
type Geometry struct {
	Level Level
	// Layout is MD's number of the layout: for RAID5 and RAID6 one of the constants
	// LeftAsymmetric to ParityFirst6; for RAID10 near copies, far copies << 8 and
	// flags (docs/format/03-mapping-linear-striped-raid.md, section 5.6); for RAID0
	// over unequal legs Original or Alternate.
	Layout uint32
	Legs   int
	Chunk  int64 // bytes; not used by RAID1
	// DataOffset is where the array's bytes start on each leg, in bytes.
	DataOffset int64
	// LegSize is the number of bytes used on each leg, from DataOffset on.
	LegSize int64
	// LegSizes is for a RAID0 whose legs differ in size, in place of LegSize.
	LegSizes []int64
}

// ParityLegs is the number of chunks of parity in a row.
func (g Geometry) ParityLegs() int {
	switch g.Level {
	case RAID4, RAID5:
		return 1
	case RAID6:
		return 2
	}
	return 0
}

// Size is the number of bytes of an array with this geometry; 0 if there can be none.
func (g Geometry) Size() int64 {
	if g.check() != nil {
		return 0
	}
	switch {
	case g.Level == RAID1:
		return g.LegSize
	case g.Level == RAID10:
		t, _ := newRAID10Layout(g)
		return t.chunks * g.Chunk
	case g.LegSizes != nil:
		zones := zonesOf(g)
		if len(zones) == 0 {
			return 0
		}
		return zones[len(zones)-1].end
	}
	return g.LegSize / g.Chunk * g.Chunk * int64(g.Legs-g.ParityLegs())
}

func (g Geometry) check() error {
	least := 1
	switch g.Level {
	case RAID0, RAID1, RAID10:
	case RAID4, RAID5:
		least = 2
	case RAID6:
		least = 3
	default:
		return fmt.Errorf("%w: level %d", ErrGeometry, int(g.Level))
	}
	if g.Legs < least || g.Legs > MaxLegs {
		return fmt.Errorf("%w: %v with %d legs", ErrGeometry, g.Level, g.Legs)
	}
	if g.Level != RAID1 && (g.Chunk < sector || g.Chunk%sector != 0) {
		return fmt.Errorf("%w: %v with chunks of %d bytes", ErrGeometry, g.Level, g.Chunk)
	}
	sizes := g.LegSizes
	if sizes == nil {
		sizes = []int64{g.LegSize}
	} else if g.Level != RAID0 || len(sizes) != g.Legs {
		return fmt.Errorf("%w: %v with %d legs and %d sizes of legs", ErrGeometry, g.Level, g.Legs, len(sizes))
	}
	for _, size := range sizes {
		if size < 0 || g.DataOffset < 0 || size > math.MaxInt64/MaxLegs-g.DataOffset {
			return fmt.Errorf("%w: leg of %d bytes from %d", ErrGeometry, size, g.DataOffset)
		}
	}
	var err error
	if g.Level == RAID10 {
		_, err = newRAID10Layout(g)
	} else {
		_, err = rowsOf(g)
	}
	return err
}

// sector is what every chunk is a multiple of.
const sector = 512
