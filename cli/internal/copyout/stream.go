package copyout

import (
	"errors"
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// ErrLost is wrapped by the error of Stream for bytes of the volume that cannot be read.
var ErrLost = errors.New("cannot be read")

// Stream writes all bytes of v to w, one after the other, zeros for holes too. It returns
// how many it has written, all of them good, and ends before the first that is lost: what
// follows would stand in the wrong place, or be taken for what it is not. progress, if not
// nil, is told how many bytes are written.
func Stream(w io.Writer, v mapping.Volume, progress func(done int64)) (int64, error) {
	s := &stream{w: w, volume: v, buf: make([]byte, bufferSize), zeros: make([]byte, bufferSize)}
	for s.off < v.Size() {
		if err := s.step(); err != nil {
			return s.off, err
		}
		if progress != nil {
			progress(s.off)
		}
	}
	return s.off, nil
}

type stream struct {
	w          io.Writer
	volume     mapping.Volume
	buf, zeros []byte
	off        int64 // bytes written

	// Where a read has failed, what is good before the first lost byte is looked for in units
	// that get smaller.
	smaller int   // index into units, plus one; 0 for whole buffers
	until   int64 // bytes: the end of the read that failed first
}

// step writes at least one byte.
func (s *stream) step() error {
	n := min(s.volume.Size()-s.off, s.unit())
	// An extent that cannot be mapped fails when it is read.
	if e, err := s.volume.Map(s.off, n); err == nil {
		switch {
		case e.Length <= 0 || e.Length > n:
			return fmt.Errorf("extent of %d bytes at byte %d, asked for 1 to %d", e.Length, s.off, n)
		case e.Kind == mapping.Zero:
			return s.write(s.zeros[:e.Length])
		case e.Kind == mapping.Missing:
			return fmt.Errorf("%w: %w", ErrLost, e.Err)
		}
	}
	got, readErr := mapping.ReadFull(s.volume, s.buf[:n], s.off)
	end := s.off + n
	if err := s.write(s.buf[:got]); err != nil || int64(got) == n {
		return err
	}
	if s.smaller == len(units) {
		return fmt.Errorf("%w: %w", ErrLost, readErr)
	}
	if s.smaller == 0 {
		s.until = end
	}
	s.smaller++
	return nil
}

func (s *stream) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := s.w.Write(p)
	s.off += int64(n)
	if err == nil && s.smaller > 0 && s.off >= s.until {
		s.smaller = 0
	}
	return err
}

// unit is how many bytes to read at once, so that reads end at multiples of that.
func (s *stream) unit() int64 {
	unit := int64(bufferSize)
	if s.smaller > 0 {
		unit = units[s.smaller-1]
	}
	return unit - s.off%unit
}
