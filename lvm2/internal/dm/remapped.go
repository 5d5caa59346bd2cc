// Package dm holds what the segments of an LV are made of, which the kernel calls
// targets of the device mapper: each type answers where its bytes are, over the volumes
// beneath it. It knows no names, no VGs and no metadata text. Every offset and length is
// in bytes.
package dm

import (
	"cmp"
	"errors"

	"lvm2fs/mapping"
)

// remapped is a volume whose every byte is a byte of a volume beneath.
type remapped struct {
	size int64
	// locate says in which volume, and where in it, the bytes from off lie, and for how many bytes that holds.
	locate  func(off int64) (beneath mapping.Volume, at, length int64)
	beneath []mapping.Volume // each once
}

var _ mapping.Writable = (*remapped)(nil)

func (r *remapped) Size() int64 { return r.size }

func (r *remapped) Map(off, max int64) (mapping.Extent, error) {
	v, at, length := r.locate(off)
	return v.Map(at, min(length, max))
}

func (r *remapped) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("", p, off, r.size)
	n, err := r.each(p, off, readFull)
	return n, cmp.Or(err, end)
}

func (r *remapped) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), r.size); err != nil {
		return 0, err
	}
	return r.each(p, off, func(v mapping.Volume, p []byte, off int64) (int, error) {
		w, err := writable(v)
		if err != nil {
			return 0, err
		}
		return w.WriteAt(p, off)
	})
}

func (r *remapped) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, r.size); err != nil {
		return err
	}
	for n > 0 {
		v, at, length := r.locate(off)
		length = min(length, n)
		w, err := writable(v)
		if err != nil {
			return err
		}
		if err := w.PunchHole(at, length); err != nil {
			return err
		}
		off, n = off+length, n-length
	}
	return nil
}

func (r *remapped) Sync() error {
	var errs []error
	for _, v := range r.beneath {
		if w, ok := v.(mapping.Writable); ok {
			errs = append(errs, w.Sync())
		}
	}
	return errors.Join(errs...)
}

func (r *remapped) each(p []byte, off int64, do func(mapping.Volume, []byte, int64) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		v, at, length := r.locate(off + int64(done))
		n := int(min(length, int64(len(p)-done)))
		k, err := do(v, p[done:done+n], at)
		done += k
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func readFull(v mapping.Volume, p []byte, off int64) (int, error) { return mapping.ReadFull(v, p, off) }

func writable(v mapping.Volume) (mapping.Writable, error) {
	w, ok := v.(mapping.Writable)
	if !ok {
		return nil, mapping.ErrNotWritable
	}
	return w, nil
}

func distinct(vs []mapping.Volume) []mapping.Volume {
	seen := make(map[mapping.Volume]bool, len(vs))
	var out []mapping.Volume
	for _, v := range vs {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
