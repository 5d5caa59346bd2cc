package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

type bytesDevice struct{ *bytes.Reader }

func (bytesDevice) Name() string { return "disk" }

func TestLostRangesOfADeviceAreMissingAndAllElseIsThere(t *testing.T) {
	why := fmt.Errorf("given away: %w", ErrMissing)
	contents := []byte("0123456789")
	d := WithLost(bytesDevice{bytes.NewReader(contents)}, []LostRange{{2, 4, why}, {7, 8, why}})
	var got string
	if err := Walk(d, 0, d.Size(), func(off int64, e Extent) error {
		got += fmt.Sprintf("%d+%d %s;", off, e.Length, e.Kind)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := "0+2 data;2+2 missing;4+3 data;7+1 missing;8+2 data;"; got != want {
		t.Errorf("mapped as %s, want %s", got, want)
	}
	for _, c := range []struct {
		off, n int64
		good   int
		err    error
	}{
		{0, 2, 2, nil},
		{0, 3, 2, ErrMissing},
		{2, 1, 0, ErrMissing},
		{4, 3, 3, nil},
		{4, 6, 3, ErrMissing},
		{8, 2, 2, nil},
		{8, 5, 2, io.EOF},
		{10, 1, 0, io.EOF},
	} {
		p := make([]byte, c.n)
		n, err := d.ReadAt(p, c.off)
		if n != c.good || !errors.Is(err, c.err) || !bytes.Equal(p[:n], contents[c.off:c.off+int64(n)]) {
			t.Errorf("%d bytes at %d: %d %q, %v", c.n, c.off, n, p[:n], err)
		}
	}
}
