package mapping

import (
	"errors"
	"io"
	"math"
	"strings"
	"syscall"
	"testing"
)

func TestAReadIsCutAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		off  int64
		n    int
		left int
		err  error
	}{
		{0, 10, 10, nil},
		{5, 10, 5, io.EOF},
		{10, 1, 0, io.EOF},
		{10, 0, 0, nil},
		{11, 0, 0, io.EOF},
		{math.MaxInt64, 10, 0, io.EOF},
		{-1, 10, 0, syscall.EINVAL},
	} {
		p, err := ClipRead("disk", make([]byte, c.n), c.off, 10)
		if len(p) != c.left || !errors.Is(err, c.err) {
			t.Errorf("%d bytes at %d: %d left, %v", c.n, c.off, len(p), err)
		}
	}
}

func TestAWriteBeyondTheEndIsRefused(t *testing.T) {
	for _, c := range []struct {
		off, n int64
		err    error
	}{
		{0, 10, nil},
		{10, 0, nil},
		{1, 10, syscall.ENOSPC},
		{11, 0, syscall.ENOSPC},
		{5, math.MaxInt64, syscall.ENOSPC},
		{-1, 1, syscall.EINVAL},
		{1, -1, syscall.EINVAL},
	} {
		err := CheckWrite("disk", c.off, c.n, 10)
		if !errors.Is(err, c.err) || err != nil && !strings.HasPrefix(err.Error(), "disk: ") {
			t.Errorf("%d bytes at %d: %v", c.n, c.off, err)
		}
	}
}

// stingy gives n bytes and err for whatever is read.
type stingy struct {
	n   int
	err error
}

func (s stingy) ReadAt([]byte, int64) (int, error) { return s.n, s.err }

func TestAReadIsWholeOrAnError(t *testing.T) {
	for _, c := range []struct {
		from stingy
		n    int
		err  error
	}{
		{stingy{4, nil}, 4, nil},
		{stingy{4, io.EOF}, 4, nil},
		{stingy{4, syscall.EIO}, 4, nil},
		{stingy{3, nil}, 3, io.ErrUnexpectedEOF},
		{stingy{3, io.EOF}, 3, io.ErrUnexpectedEOF},
		{stingy{0, io.EOF}, 0, io.ErrUnexpectedEOF},
		{stingy{3, syscall.EIO}, 3, syscall.EIO},
		{stingy{-1, nil}, 0, io.ErrUnexpectedEOF},
	} {
		n, err := ReadFull(c.from, make([]byte, 4), 100)
		if n != c.n || !errors.Is(err, c.err) || errors.Is(err, io.EOF) {
			t.Errorf("%+v: %d, %v", c.from, n, err)
		}
	}
}

func TestWhatHasNoNameIsNotNamed(t *testing.T) {
	_, readErr := ClipRead("", nil, -1, 10)
	for _, err := range []error{readErr, CheckWrite("", -1, 1, 10), CheckWrite("", 11, 1, 10)} {
		if err == nil || strings.HasPrefix(err.Error(), ":") {
			t.Error(err)
		}
	}
}
