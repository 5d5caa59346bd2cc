package vdisk

import (
	"encoding/binary"
	"fmt"
	"io"

	"lvm2fs/internal/lru"
	"lvm2fs/mapping"
)

// table reads the tables of an image, by pieces of which the last used are kept. Of an image that is written it
// holds what its file is still to get, too; see table_write.go.
type table struct {
	dev   mapping.Device
	order binary.ByteOrder
	pages *lru.Cache[int64, []byte]

	changed map[int64]*change // by the number of the sector in the file
	end     int64             // bytes from the start of the file: what comes next goes there, or behind
}

const (
	pageSize = 4096
	maxPages = 1024 // of one image
)

func newTable(dev mapping.Device, order binary.ByteOrder) *table {
	return &table{dev: dev, order: order, pages: lru.New[int64, []byte](maxPages)}
}

// at returns n bytes at off, for n <= pageSize.
func (t *table) at(off, n int64) ([]byte, error) {
	if off < 0 || off > t.dev.Size()-n {
		return nil, fmt.Errorf("a table at byte %d, beyond the end at byte %d: %w", off, t.dev.Size(), io.ErrUnexpectedEOF)
	}
	if len(t.changed) > 0 {
		return t.atChanged(off, n)
	}
	return t.kept(off, n)
}

// copyOf returns a copy of n bytes at off, for any n.
func (t *table) copyOf(off, n int64) ([]byte, error) {
	all := make([]byte, 0, n)
	for int64(len(all)) < n {
		b, err := t.at(off+int64(len(all)), min(pageSize, n-int64(len(all))))
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// kept returns n bytes at off of the file.
func (t *table) kept(off, n int64) ([]byte, error) {
	page, err := t.page(off / pageSize)
	if err != nil {
		return nil, err
	}
	from := off % pageSize
	if from+n <= pageSize {
		return page[from : from+n], nil
	}
	next, err := t.page(off/pageSize + 1)
	if err != nil {
		return nil, err
	}
	return append(append(make([]byte, 0, n), page[from:]...), next[:from+n-pageSize]...), nil
}

func (t *table) page(i int64) ([]byte, error) {
	length := min(pageSize, t.dev.Size()-i*pageSize)
	read := func() ([]byte, error) {
		b := make([]byte, length)
		if _, err := mapping.ReadFull(t.dev, b, i*pageSize); err != nil {
			return nil, fmt.Errorf("a table in %d bytes at byte %d: %w", len(b), i*pageSize, err)
		}
		return b, nil
	}
	b, err := t.pages.Get(i, read)
	if err != nil || int64(len(b)) >= length {
		return b, err
	}
	// The file has grown since.
	t.pages.Delete(i)
	return t.pages.Get(i, read)
}

func (t *table) u32(off int64) (uint32, error) {
	b, err := t.at(off, 4)
	if err != nil {
		return 0, err
	}
	return t.order.Uint32(b), nil
}

func (t *table) u64(off int64) (uint64, error) {
	b, err := t.at(off, 8)
	if err != nil {
		return 0, err
	}
	return t.order.Uint64(b), nil
}
