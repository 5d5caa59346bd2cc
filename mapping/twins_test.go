package mapping_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/mapping"
)

func TestTwinsGiveOnlyWhatAllCopiesHave(t *testing.T) {
	differ := errors.New("differ")
	a := bytes.Repeat([]byte("0123456789abcdef"), 200<<10)
	b := bytes.Clone(a)
	const changed = 2<<20 + 77
	b[changed] ^= 1
	twins := mapping.NewTwins([]mapping.Device{&testpv.Disk{Label: "a", Bytes: a}, &testpv.Disk{Label: "b", Bytes: b[:len(b)-512]}}, differ)

	if twins.Size() != int64(len(a)-512) {
		t.Errorf("%d bytes", twins.Size())
	}
	p := make([]byte, len(a))
	n, err := twins.ReadAt(p, 0)
	if n != changed || !errors.Is(err, differ) || !bytes.Equal(p[:n], a[:n]) {
		t.Errorf("%d bytes and %v", n, err)
	}
	n, err = twins.ReadAt(p, changed+1)
	if n != len(a)-512-changed-1 || err != io.EOF || !bytes.Equal(p[:n], a[changed+1:len(a)-512]) {
		t.Errorf("behind what differs: %d bytes and %v", n, err)
	}
	if e, err := twins.Map(0, 1<<40); err != nil || e.Kind != mapping.Computed || e.Length != twins.Size() {
		t.Errorf("%+v %v", e, err)
	}
}

func TestTwinsDoNotTrustACopyBecauseTheOtherCannotBeRead(t *testing.T) {
	a := &testpv.Disk{Label: "a", Bytes: make([]byte, 4096)}
	b := &unreadable{a}
	for _, order := range [][]mapping.Device{{a, b}, {b, a}} {
		if n, err := mapping.NewTwins(order, io.ErrNoProgress).ReadAt(make([]byte, 4096), 0); n != 0 || !errors.Is(err, errBad) {
			t.Errorf("%d bytes and %v", n, err)
		}
	}
}

var errBad = errors.New("bad sector")

type unreadable struct{ mapping.Device }

func (u *unreadable) ReadAt([]byte, int64) (int, error) { return 0, errBad }
