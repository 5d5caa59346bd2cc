// Package secret keeps keys and passphrases outside of Go's heap: in pages that are
// locked into memory and left out of core dumps, as far as the system lets this process,
// and that are zeroed when they are no longer needed.
package secret

import "golang.org/x/sys/unix"

// Bytes is a run of secret bytes. It is not safe for concurrent use.
type Bytes struct {
	pages []byte
	n     int
}

// New is n zero bytes.
func New(n int) (*Bytes, error) {
	pages, err := unix.Mmap(-1, 0, max(n, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	// An ordinary user may lock only so much; what cannot be locked is as good as other
	// memory.
	_ = unix.Mlock(pages)
	_ = undumped(pages)
	return &Bytes{pages, n}, nil
}

// Move takes b over: the original is zeroed.
func Move(b []byte) (*Bytes, error) {
	s, err := New(len(b))
	if err == nil {
		copy(s.Bytes(), b)
	}
	clear(b)
	return s, err
}

// Bytes is valid until Wipe.
func (s *Bytes) Bytes() []byte {
	if s == nil || s.pages == nil {
		return nil
	}
	return s.pages[:s.n:s.n]
}

// Wipe zeroes the bytes and gives their memory back. It may be called twice.
func (s *Bytes) Wipe() {
	if s == nil || s.pages == nil {
		return
	}
	clear(s.pages)
	_ = unix.Munmap(s.pages)
	s.pages = nil
}
