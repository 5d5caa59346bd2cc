package target

import (
	"fmt"

	"lvm2fs/mapping"
)

// Striped deals chunks of stripeSize bytes out over the stripes in turn. With three
// stripes:
//
//	         stripe 0  stripe 1  stripe 2
//	row 0  |    0    |    1    |    2    |
//	row 1  |    3    |    4    |    5    |
//
// Chunk q lies in stripe q mod n, as its chunk q div n. All stripes must have one size,
// a multiple of stripeSize.
// (docs/format/03-mapping-linear-striped-raid.md, section 2)
func Striped(stripes []mapping.Volume, stripeSize int64) (mapping.Volume, error) {
	n := int64(len(stripes))
	if n == 0 || stripeSize <= 0 {
		return nil, fmt.Errorf("%d stripes of %d bytes", n, stripeSize)
	}
	for i, s := range stripes {
		if s.Size() != stripes[0].Size() || s.Size()%stripeSize != 0 {
			return nil, fmt.Errorf("stripe %d has %d bytes, stripe 0 has %d, with chunks of %d", i, s.Size(), stripes[0].Size(), stripeSize)
		}
	}
	return &remapped{
		size: n * stripes[0].Size(),
		locate: func(off int64) (mapping.Volume, int64, int64) {
			q, o := off/stripeSize, off%stripeSize
			return stripes[q%n], q/n*stripeSize + o, stripeSize - o
		},
		beneath: distinct(stripes),
	}, nil
}
