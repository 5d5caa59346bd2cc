package mapping

import (
	"bytes"
	"fmt"
)

// Twins is a device of which there are several copies, which should be equal. Each read reads all of them; it fails
// where they differ, and where one cannot be read. It ends with the shortest of them.
type Twins struct {
	copies []Device
	size   int64
	differ error
}

var (
	_ Stacked = (*Twins)(nil)
	_ Volume  = (*Twins)(nil)
)

// NewTwins makes one of two or more copies. It goes by the name of the first. Errors about bytes that differ
// wrap differ.
func NewTwins(copies []Device, differ error) *Twins {
	t := &Twins{copies: copies, size: copies[0].Size(), differ: differ}
	for _, c := range copies[1:] {
		t.size = min(t.size, c.Size())
	}
	return t
}

// Name is that of the first copy.
func (t *Twins) Name() string { return t.copies[0].Name() }

// Size is that of the shortest copy, in bytes.
func (t *Twins) Size() int64 { return t.size }

// Beneath are the copies.
func (t *Twins) Beneath() []Device { return t.copies }

// Map says that all bytes are Computed: each is compared when it is read.
func (t *Twins) Map(off, max int64) (Extent, error) {
	return Extent{Kind: Computed, Length: min(max, t.size-off)}, nil
}

// ReadAt reads len(p) bytes at off. Of an error that is not io.EOF the first n bytes are equal in all copies.
func (t *Twins) ReadAt(p []byte, off int64) (int, error) {
	p, end := ClipRead(t.Name(), p, off, t.size)
	const step = 1 << 20
	other := make([]byte, min(len(p), step))
	for done := 0; done < len(p); {
		part := p[done:min(len(p), done+step)]
		n, err := t.read(part, other[:len(part)], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), end
}

// read reads p at off, which is compared with the other copies by way of other, a buffer of the same length.
func (t *Twins) read(p, other []byte, off int64) (int, error) {
	if n, err := readNamed(t.copies[0], p, off); err != nil {
		return n, err
	}
	good := len(p)
	var failed error
	for _, c := range t.copies[1:] {
		n, err := readNamed(c, other[:good], off)
		if same := common(p[:n], other[:n]); same < n {
			n = same
			err = fmt.Errorf("%s and %s differ at byte %d: %w", t.Name(), c.Name(), off+int64(same), t.differ)
		}
		if n < good {
			good, failed = n, err
		}
	}
	return good, failed
}

// readNamed is ReadFull with the name of d in the error: of several copies it must say which fails.
func readNamed(d Device, p []byte, off int64) (int, error) {
	n, err := ReadFull(d, p, off)
	if err != nil {
		err = fmt.Errorf("%s: %w", d.Name(), err)
	}
	return n, err
}

// common is how many bytes a and b, of one length, begin alike.
func common(a, b []byte) int {
	if bytes.Equal(a, b) {
		return len(a)
	}
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}
