package dm

import (
	"fmt"

	"lvm2fs/mapping"
	"lvm2fs/raid"
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
	legs := make([]raid.Leg, n)
	for i, s := range stripes {
		legs[i] = raid.Leg{Volume: s, InSync: raid.All}
	}
	chunks, err := raid.New(raid.Config{
		Geometry: raid.Geometry{Level: raid.RAID0, Legs: len(stripes), Chunk: stripeSize, LegSize: stripes[0].Size()},
		Legs:     legs,
		InSync:   raid.All,
	})
	if err != nil {
		return nil, err
	}
	return &striped{
		remapped: remapped{
			size: n * stripes[0].Size(),
			locate: func(off int64) (mapping.Volume, int64, int64) {
				q, o := off/stripeSize, off%stripeSize
				return stripes[q%n], q/n*stripeSize + o, stripeSize - o
			},
			beneath: distinct(stripes),
		},
		chunks: chunks,
	}, nil
}

// striped reads neighbouring chunks of a stripe in one go.
type striped struct {
	remapped
	chunks *raid.Array
}

func (s *striped) ReadAt(p []byte, off int64) (int, error) { return s.chunks.ReadAt(p, off) }
