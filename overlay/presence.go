package overlay

import "math/bits"

// presence remembers which areas may have a sector in the file, so that a large volume with few changes is not looked
// through area by area. In a very large volume one bit stands for several areas.
type presence struct {
	areas   int64
	granule int64 // areas to a bit
	words   []uint64
}

const maxPresenceBits = 1 << 22

func newPresence(areas int64) presence {
	granule := (areas-1)/maxPresenceBits + 1
	return presence{areas, granule, make([]uint64, (areas/granule)/64+1)}
}

func (p *presence) add(area int64) {
	bit := area / p.granule
	p.words[bit/64] |= 1 << (bit % 64)
}

func (p *presence) has(area int64) bool {
	bit := area / p.granule
	return p.words[bit/64]>>(bit%64)&1 != 0
}

// next is the first area from area on that may have a sector; the number of areas if there is none.
func (p *presence) next(area int64) int64 {
	if area >= p.areas {
		return p.areas
	}
	bit := area / p.granule
	word := bit / 64
	rest := p.words[word] >> (bit % 64) << (bit % 64)
	for rest == 0 {
		if word++; word == int64(len(p.words)) {
			return p.areas
		}
		rest = p.words[word]
	}
	return min(max(area, (word*64+int64(bits.TrailingZeros64(rest)))*p.granule), p.areas)
}
