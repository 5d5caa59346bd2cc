package sparse

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

func TestDataBetweenHolesIsFoundAndWhatIsCutOffIsNoHole(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{2 * mib, 5 * mib} {
		if _, err := f.WriteAt(bytes.Repeat([]byte("x"), mib), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(8 * mib); err != nil {
		t.Fatal(err)
	}
	if at, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); err != nil || at != 2*mib {
		t.Skipf("SKIP: the file system does not tell of holes: %d, %v", at, err)
	}
	next := func(off, end, wantFrom, wantTo int64) {
		t.Helper()
		from, to, err := NextData(f, off*mib, end*mib)
		if err != nil || from != wantFrom*mib || to != wantTo*mib {
			t.Errorf("from %d MiB to %d: got %d to %d, %v", off, end, from, to, err)
		}
	}
	next(0, 8, 2, 3)
	next(2, 8, 2, 3)
	next(3, 5, 5, 5)
	next(3, 8, 5, 6)
	next(6, 8, 8, 8)
	if err := f.Truncate(7 * mib); err != nil {
		t.Fatal(err)
	}
	next(6, 7, 7, 7)
	for _, off := range []int64{6 * mib, 7 * mib, 7*mib + 512} {
		if from, to, err := NextData(f, off, 8*mib); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("from byte %d of a file cut short: got %d to %d, %v", off, from, to, err)
		}
	}
}
