package dm

import "lvm2fs/mapping"

// Missing is size bytes that cannot be read, because of why: a PV that was not found,
// or a segment of type error. why must wrap mapping.ErrMissing.
func Missing(size int64, why error) mapping.Volume { return &missing{size, why} }

type missing struct {
	size int64
	why  error
}

func (m *missing) Size() int64 { return m.size }

func (m *missing) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Missing, Length: min(max, m.size-off), Err: m.why}, nil
}

func (m *missing) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("", p, off, m.size)
	if len(p) > 0 {
		return 0, m.why
	}
	return 0, end
}
