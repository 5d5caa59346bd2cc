package copyout

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestAStreamIsTheVolume(t *testing.T) {
	for _, v := range []*testVolume{
		newVolume(),
		newVolume(data(512)),
		newVolume(zero(5*mib + 512)),
		newVolume(data(3*mib+512), zero(2*mib), computed(100*kib), zero(512), data(512)),
	} {
		var b bytes.Buffer
		var progress int64
		n, err := Stream(&b, v, func(done int64) { progress = done })
		if err != nil || n != v.Size() || progress != v.Size() {
			t.Errorf("%d of %d bytes, progress %d, %v", n, v.Size(), progress, err)
		}
		if !bytes.Equal(b.Bytes(), v.want()) {
			t.Error("other bytes")
		}
	}
}

func TestAStreamEndsBeforeTheFirstLostByte(t *testing.T) {
	bad := func(v *testVolume, off, end int64) *testVolume {
		v.bad = Ranges{{off, end}}
		return v
	}
	for _, c := range []struct {
		v    *testVolume
		good int64
	}{
		{newVolume(missing(mib), data(mib)), 0},
		{newVolume(data(mib+512), missing(512), data(mib)), mib + 512},
		{newVolume(zero(3*mib), missing(mib)), 3 * mib},
		{bad(newVolume(data(4*mib)), 0, 1), 0},
		{bad(newVolume(data(4*mib)), 2*mib+300*kib+512, 2*mib+300*kib+513), 2*mib + 300*kib + 512},
		{bad(newVolume(computed(4*mib)), 4*mib-1, 4*mib), 4*mib - 512},
	} {
		var b bytes.Buffer
		n, err := Stream(&b, c.v, nil)
		if !errors.Is(err, ErrLost) || n < c.good || n > c.good+511 || int64(b.Len()) != n {
			t.Errorf("%d bytes, %d said, want %d; %v", b.Len(), n, c.good, err)
		}
		if !bytes.Equal(b.Bytes(), c.v.bytes[:b.Len()]) {
			t.Error("other bytes")
		}
	}
}

// A disk may fail once and then read. Nothing is lost then.
func TestAStreamGoesOnAfterAReadThatFailsOnce(t *testing.T) {
	v := newVolume(data(4 * mib))
	v.bad = Ranges{{mib + 512, mib + 1024}}
	reads := 0
	v.onRead = func() {
		if reads++; reads == 3 {
			v.bad = nil
		}
	}
	var b bytes.Buffer
	if n, err := Stream(&b, v, nil); err != nil || n != v.Size() || !bytes.Equal(b.Bytes(), v.bytes) {
		t.Errorf("%d bytes, %v", n, err)
	}
	// After the buffer that failed, whole buffers are read again.
	if reads > 25 {
		t.Errorf("%d reads", reads)
	}
}

// full takes so many bytes.
type full int

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), int(*f))
	*f -= full(n)
	if n < len(p) {
		return n, fmt.Errorf("full: %w", fs.ErrClosed)
	}
	return n, nil
}

func TestAStreamThatCannotBeWrittenIsNoLoss(t *testing.T) {
	for _, v := range []*testVolume{newVolume(data(4 * mib)), newVolume(zero(4 * mib))} {
		w := full(mib + 5)
		if n, err := Stream(&w, v, nil); n != mib+5 || !errors.Is(err, fs.ErrClosed) || errors.Is(err, ErrLost) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
