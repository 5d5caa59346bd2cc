package vdisk

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"lvm2fs/internal/lru"
)

// inflated keeps the clusters that were decompressed last.
type inflated struct {
	size     int64 // bytes, of a cluster
	inflate  func(packed []byte, size int64) ([]byte, error)
	clusters *lru.Cache[int64, []byte]
}

// inflatedBytes is how much of them is kept for an image.
const inflatedBytes = 8 << 20

func newInflated(size int64, inflate func(packed []byte, size int64) ([]byte, error)) *inflated {
	return &inflated{size, inflate, lru.New[int64, []byte](int(max(2, inflatedBytes/size)))}
}

// get returns cluster i, which has size bytes.
func (c *inflated) get(i int64, packed func() ([]byte, error)) ([]byte, error) {
	return c.clusters.Get(i, func() ([]byte, error) {
		b, err := packed()
		if err != nil {
			return nil, err
		}
		if b, err = c.inflate(b, c.size); err != nil {
			return nil, damaged("decompressing cluster %d: %w", i, err)
		}
		return b, nil
	})
}

// inflateRaw decompresses deflate without a frame. What stands behind it is none of it.
func inflateRaw(packed []byte, size int64) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(packed))
	defer r.Close()
	return exactly(r, size)
}

// inflateZstd decompresses zstd. What stands behind its frames is none of it.
func inflateZstd(packed []byte, size int64) ([]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(16<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return exactly(r, size)
}

func exactly(r io.Reader, size int64) ([]byte, error) {
	b := make([]byte, size)
	n, err := io.ReadFull(r, b)
	if err != nil {
		return nil, fmt.Errorf("%d of %d bytes: %w", n, size, err)
	}
	return b, nil
}

// inflateZlib decompresses deflate with a checksum behind it, to at most size bytes.
func inflateZlib(packed []byte, size int64) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > size {
		return nil, fmt.Errorf("more than %d bytes", size)
	}
	return b, nil
}
