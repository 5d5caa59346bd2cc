package vdisk

// bitmap is bits in a file, one for each sector, behind one another.
type bitmap struct {
	tables   *table
	place    int64 // bytes from the start of the file
	sector   int64 // bytes of the disk that one bit tells of
	lowFirst bool  // the lowest bit of a byte is the first
}

// run tells whether the sector with the byte at off is marked, and for how many of n bytes the same holds,
// at least one.
func (m bitmap) run(off, n int64) (marked bool, length int64, err error) {
	first := off / m.sector
	n = min(n, (pageSize-1)*8*m.sector)
	b, err := m.tables.at(m.place+first/8, (off+n-1)/m.sector/8-first/8+1)
	if err != nil {
		return false, 0, err
	}
	bit := func(i int64) bool {
		if m.lowFirst {
			return b[i/8]>>(i%8)&1 != 0
		}
		return b[i/8]<<(i%8)&0x80 != 0
	}
	at, end := first%8, first%8+(off+n+m.sector-1)/m.sector-first
	for marked = bit(at); at < end && bit(at) == marked; at++ {
		if all := b[at/8]; at%8 == 0 && (all == 0 || all == 0xff) {
			at += 7
		}
	}
	return marked, min((first-first%8+at)*m.sector-off, n), nil
}
