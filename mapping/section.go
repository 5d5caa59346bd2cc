package mapping

import (
	"errors"
	"fmt"
	"io"
)

// StackedVolume is a device that lies on others and tells where its bytes are.
type StackedVolume interface {
	Volume
	Stacked
}

// Section is n bytes of d from off as a device of its own, called name. It is a [Volume] and
// [Stacked], and a [WritableDevice] if d is one; a claim of it claims d. What of it lies beyond the
// end of d is missing.
func Section(d Device, off, n int64, name string) StackedVolume {
	s := &section{device: d, off: off, size: n, name: name}
	if w, ok := d.(WritableDevice); ok {
		return &writableSection{s, w}
	}
	return s
}

// ReadOnlySection is a Section that cannot be written.
func ReadOnlySection(d Device, off, n int64, name string) StackedVolume {
	return &section{device: d, off: off, size: n, name: name}
}

type section struct {
	device Device
	off    int64
	size   int64
	name   string
}

type writableSection struct {
	*section
	w WritableDevice
}

var (
	_ Volume         = (*section)(nil)
	_ Stacked        = (*section)(nil)
	_ WritableDevice = (*writableSection)(nil)
)

func (s *section) Name() string      { return s.name }
func (s *section) Size() int64       { return s.size }
func (s *section) Beneath() []Device { return []Device{s.device} }

// present is the number of bytes that the device beneath has.
func (s *section) present() int64 { return max(0, min(s.size, s.device.Size()-s.off)) }

func (s *section) lost() error {
	return tooShort{s.device.Name(), s.device.Size(), s.name, s.off + s.size}
}

// tooShort is why the end of a section is missing. Two of one section are equal, so that what is missing stays one run.
type tooShort struct {
	device  string
	size    int64
	section string
	end     int64
}

func (e tooShort) Error() string {
	return fmt.Sprintf("%s ends at byte %d, before the end of %s at byte %d: %v", e.device, e.size, e.section, e.end, ErrMissing)
}

func (tooShort) Unwrap() error { return ErrMissing }

func (s *section) Map(off, max int64) (Extent, error) {
	present := s.present()
	if off >= present {
		return Extent{Kind: Missing, Length: min(max, s.size-off), Err: s.lost()}, nil
	}
	max = min(max, present-off)
	if v, ok := s.device.(Volume); ok {
		return v.Map(s.off+off, max)
	}
	return Extent{Kind: Data, Length: max, Device: s.device, Offset: s.off + off}, nil
}

func (s *section) ReadAt(p []byte, off int64) (int, error) {
	p, end := ClipRead(s.name, p, off, s.size)
	if len(p) == 0 {
		return 0, end
	}
	present := p[:min(int64(len(p)), max(0, s.present()-off))]
	n, err := 0, error(nil)
	if len(present) > 0 {
		n, err = ReadFull(s.device, present, s.off+off)
	}
	switch {
	case n == len(p):
		return n, end
	case n == len(present):
		return n, s.lost()
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return n, err
}

func (s *writableSection) Claim() error   { return s.w.Claim() }
func (s *writableSection) Release() error { return s.w.Release() }
func (s *writableSection) Sync() error    { return s.w.Sync() }

func (s *writableSection) WriteAt(p []byte, off int64) (int, error) {
	if err := s.checkWrite(off, int64(len(p))); err != nil {
		return 0, err
	}
	return s.w.WriteAt(p, s.off+off)
}

func (s *writableSection) PunchHole(off, n int64) error {
	if err := s.checkWrite(off, n); err != nil {
		return err
	}
	return s.w.PunchHole(s.off+off, n)
}

func (s *writableSection) checkWrite(off, n int64) error {
	if err := CheckWrite(s.name, off, n, s.size); err != nil {
		return err
	}
	if off+n > s.present() {
		return s.lost()
	}
	return nil
}
