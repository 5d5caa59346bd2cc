package md

import (
	"io"

	"lvm2fs/mapping"
)

// agreed is a raid0 of which it is not known which of two layouts it has: where they agree, its bytes
// are known, and elsewhere they are missing.
type agreed struct {
	a, b    mapping.Volume // of one size, made of data extents
	unknown error
}

func (v *agreed) Size() int64 { return v.a.Size() }

func (v *agreed) Map(off, max int64) (mapping.Extent, error) {
	a, err := v.a.Map(off, max)
	if err != nil {
		return a, err
	}
	b, err := v.b.Map(off, a.Length)
	if err != nil {
		return b, err
	}
	if a.Kind != b.Kind || a.Device != b.Device || a.Offset != b.Offset {
		return mapping.Extent{Kind: mapping.Missing, Length: b.Length, Err: v.unknown}, nil
	}
	return b, nil
}

func (v *agreed) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		if off+int64(done) >= v.Size() {
			n, err := v.a.ReadAt(p[:done], off)
			if err == nil {
				err = io.EOF
			}
			return n, err
		}
		e, err := v.Map(off+int64(done), int64(len(p)-done))
		if err == nil && e.Kind == mapping.Missing {
			err = e.Err
		}
		if err != nil {
			n, readErr := v.a.ReadAt(p[:done], off)
			if readErr != nil {
				err = readErr
			}
			return n, err
		}
		done += int(e.Length)
	}
	return v.a.ReadAt(p, off)
}
