package md

import (
	"errors"
	"io"
	"sort"

	"lvm2fs/mapping"
)

// linear is the members one after the other, each in whole chunks if the array has any:
//
//	|  member 0  | member 1 |      member 2      |
//	0         end[0]     end[1]                end[2]
//
// (docs/format/04-below-lvm.md, section 4.5)
type linear struct {
	parts []mapping.Volume // mapping.Writable if the members can be written
	ends  []int64
}

func (a *assembler) linear() (mapping.Volume, error) {
	if err := a.complete(); err != nil {
		return nil, err
	}
	l := &linear{}
	var end int64
	for _, leg := range a.legs {
		size := leg.Super.DataSize
		if c := a.super.Geometry.Chunk; c > 0 {
			size = size / c * c
		}
		part := mapping.Section(leg.Device, leg.Super.DataOffset, size, leg.Device.Name())
		end += size
		l.parts, l.ends = append(l.parts, part), append(l.ends, end)
	}
	return l, nil
}

func (l *linear) Size() int64 { return l.ends[len(l.ends)-1] }

// find is the part that off is in, where in it, and how much of it follows.
func (l *linear) find(off int64) (part mapping.Volume, at, left int64) {
	i := sort.Search(len(l.ends), func(i int) bool { return off < l.ends[i] })
	left = l.ends[i] - off
	return l.parts[i], l.parts[i].Size() - left, left
}

func (l *linear) Map(off, max int64) (mapping.Extent, error) {
	part, at, left := l.find(off)
	return part.Map(at, min(max, left))
}

func (l *linear) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		if off+int64(done) >= l.Size() {
			return done, io.EOF
		}
		part, at, left := l.find(off + int64(done))
		n, err := part.ReadAt(p[done:done+int(min(int64(len(p)-done), left))], at)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// WriteAt writes all of p, or fails.
func (l *linear) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), l.Size()); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		part, at, left := l.find(off + int64(done))
		n, err := part.(mapping.Writable).WriteAt(p[done:done+int(min(int64(len(p)-done), left))], at)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// PunchHole makes n bytes at off read as zeros.
func (l *linear) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, l.Size()); err != nil {
		return err
	}
	for n > 0 {
		part, at, left := l.find(off)
		length := min(n, left)
		if err := part.(mapping.Writable).PunchHole(at, length); err != nil {
			return err
		}
		off, n = off+length, n-length
	}
	return nil
}

// Sync syncs all members.
func (l *linear) Sync() error {
	var errs []error
	for _, part := range l.parts {
		errs = append(errs, part.(mapping.Writable).Sync())
	}
	return errors.Join(errs...)
}
