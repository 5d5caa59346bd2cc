package raid

// synced is where copies are equal and parity fits its data.
type synced struct {
	below int64
	dirty func(off, max int64) (bool, int64)
}

// at says whether the array is in sync at off, and for how many of max bytes that holds.
func (s synced) at(off, max int64) (bool, int64) {
	if off >= s.below {
		return false, max
	}
	max = min(max, s.below-off)
	dirty, n := s.dirty(off, max)
	return !dirty, n
}

// everywhere says whether the array is in sync in all of size bytes.
func (s synced) everywhere(size int64) bool {
	for off := int64(0); off < size; {
		ok, n := s.at(off, size-off)
		if !ok {
			return false
		}
		off += n
	}
	return true
}

// Regions is a bitmap of regions that may be out of sync: bit i%8 of byte i/8 stands for
// the region of Size bytes from i times Size.
type Regions struct {
	Size int64
	Bits []byte
}

// Dirty says whether off is in a dirty region, and for how many of max bytes that
// holds. What the bitmap does not reach is dirty.
func (r Regions) Dirty(off, max int64) (bool, int64) {
	i := off / r.Size
	dirty := r.bit(i)
	n := (i+1)*r.Size - off
	for n < max && r.bit(i+1) == dirty {
		i++
		n += r.Size
	}
	return dirty, min(n, max)
}

func (r Regions) bit(i int64) bool {
	return i/8 >= int64(len(r.Bits)) || r.Bits[i/8]>>(i%8)&1 != 0
}
