package dm

import "lvm2fs/mapping"

// Zero is size bytes that read as zeros and lie nowhere.
func Zero(size int64) mapping.Volume { return zero(size) }

type zero int64

func (z zero) Size() int64 { return int64(z) }

func (z zero) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Zero, Length: min(max, int64(z)-off)}, nil
}

func (z zero) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("", p, off, int64(z))
	clear(p)
	return len(p), end
}
