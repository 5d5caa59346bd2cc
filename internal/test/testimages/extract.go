package testimages

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// Extract unpacks the disks of an archive disks.tar.zst into dir, sparse as they were.
func Extract(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(1<<27))
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	defer z.Close()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if err := writeSparse(filepath.Join(dir, filepath.Base(h.Name)), t, h.Size); err != nil {
			return fmt.Errorf("%s: %s: %w", archive, h.Name, err)
		}
	}
}

// writeSparse makes a file of size bytes that has holes where r gives blocks of zeros.
func writeSparse(name string, r io.Reader, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), copyData(f, r), f.Close()); err != nil {
		os.Remove(name)
		return err
	}
	return nil
}

func copyData(w io.WriterAt, r io.Reader) error {
	var buf, zeros [64 << 10]byte
	for off := int64(0); ; {
		n, err := io.ReadFull(r, buf[:])
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := w.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
