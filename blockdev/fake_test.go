package blockdev

import (
	"io"
	"sync"
	"syscall"
)

// sectorDisk is a raw disk in memory: it takes whole sectors at addresses that are
// multiples of the sector size, and nothing else.
type sectorDisk struct {
	sector int64

	mu     sync.Mutex
	data   []byte
	bad    map[int64]bool // sectors that fail, by offset in bytes
	closed bool
	lost   error // told by the next flush
	cache  error // what the disk answers when it is to empty its own cache
	// between, if set, is called in the middle of every write.
	between func()
}

func newSectorDisk(sector int64, data []byte) *sectorDisk {
	return &sectorDisk{sector: sector, data: data, bad: map[int64]bool{}}
}

// device is a Device over the disk.
func (s *sectorDisk) device() (*Device, error) {
	d, err := newDevice(s, "raw0", false)
	if err != nil {
		return nil, err
	}
	d.reopen = func(bool) (backing, error) { return &openDisk{s}, nil }
	return d, nil
}

// openDisk is a second descriptor, which closes alone.
type openDisk struct{ *sectorDisk }

func (openDisk) Close() error { return nil }

func (s *sectorDisk) check(p []byte, off int64) error {
	if off < 0 || off%s.sector != 0 || int64(len(p))%s.sector != 0 || !aligned(p, s.sector) {
		return syscall.EINVAL
	}
	return nil
}

// good is the number of bytes, of n at off, that come before the first bad sector.
func (s *sectorDisk) good(n int, off int64) int {
	for at := off; at < off+int64(n); at += s.sector {
		if s.bad[at] {
			return int(at - off)
		}
	}
	return n
}

func (s *sectorDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := s.check(p, off); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.good(len(p), off); n < len(p) {
		copy(p[:n], s.data[off:])
		return n, syscall.EIO
	}
	n := copy(p, s.data[min(off, int64(len(s.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *sectorDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := s.check(p, off); err != nil {
		return 0, err
	}
	if s.between != nil {
		s.between()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if off+int64(len(p)) > int64(len(s.data)) {
		return 0, syscall.ENOSPC
	}
	n := s.good(len(p), off)
	copy(s.data[off:], p[:n])
	if n < len(p) {
		return n, syscall.EIO
	}
	return n, nil
}

func (s *sectorDisk) punchHole(off, n int64) error {
	if off%s.sector != 0 || n%s.sector != 0 || n <= 0 {
		return syscall.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.data[off : off+n])
	return nil
}

func (s *sectorDisk) geometry() (geometry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return geometry{size: int64(len(s.data)), sector: s.sector, hole: s.sector}, nil
}

func (s *sectorDisk) Close() error { s.closed = true; return nil }

// flush reports lost bytes once, as systems do.
func (s *sectorDisk) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.lost
	s.lost = nil
	if err != nil {
		return err
	}
	return flushCache(func() error { return s.cache })
}
func (s *sectorDisk) forget() {}
