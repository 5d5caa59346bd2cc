package sparse

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// NextData finds the next bytes of f at or behind off that are not in a hole: it returns
// where they start and end, or end twice if there are none before end. It fails where the
// file system cannot tell, and where the file has no bytes any more.
func NextData(f *os.File, off, end int64) (from, to int64, err error) {
	from, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return end, end, reaches(f, end)
	case err != nil:
		return 0, 0, err
	case from >= end:
		return end, end, nil
	}
	to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return from, min(to, end), nil
}

// reaches is an error if f ends before end. Seeking finds no data in a hole and none behind the end
// of a file that was cut short; only the first reads as zeros.
func reaches(f *os.File, end int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < end {
		return fmt.Errorf("the file ends at byte %d: %w", info.Size(), io.ErrUnexpectedEOF)
	}
	return nil
}
