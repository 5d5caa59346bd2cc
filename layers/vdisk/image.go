package vdisk

import (
	"fmt"
	"sync"

	"lvm2fs/mapping"
)

// image is a disk over its layout.
type image struct {
	layout
	dev  mapping.Device
	name string
	info Info

	warnings []error

	// lock is held by all who read, and for writing by who changes where bytes are.
	lock sync.RWMutex
}

func (m *image) Name() string { return m.name }
func (m *image) Size() int64  { return m.size() }
func (m *image) Info() Info   { return m.info }

func (m *image) Warnings() []error { return m.warnings }

func (m *image) Close() error { return closeAll(m.info.Files) }

// Beneath are the device of the image, and the files that it names.
func (m *image) Beneath() []mapping.Device {
	return append([]mapping.Device{m.dev}, m.info.Files...)
}

func (m *image) Map(off, max int64) (mapping.Extent, error) {
	m.lock.RLock()
	defer m.lock.RUnlock()
	e, err := extentOf(m.layout, off, max)
	if v, ok := e.Device.(mapping.Volume); ok && err == nil {
		return v.Map(e.Offset, e.Length)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", m.name, err)
	}
	return e, err
}

func (m *image) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead(m.name, p, off, m.Size())
	if len(p) == 0 {
		return 0, end
	}
	m.lock.RLock()
	defer m.lock.RUnlock()
	done, err := readLayout(m.layout, p, off)
	if err != nil {
		return done, fmt.Errorf("%s: reading at byte %d: %w", m.name, off+int64(done), err)
	}
	return done, end
}

// extentOf is Map, but for what lies beneath the files. Bytes past the file's end are Missing.
func extentOf(l layout, off, max int64) (mapping.Extent, error) {
	e, err := l.Map(off, max)
	if err != nil {
		return e, fmt.Errorf("at byte %d: %w", off, err)
	}
	if e.Kind != mapping.Data {
		return e, nil
	}
	if end := e.Device.Size(); e.Offset >= end {
		return mapping.Extent{Kind: mapping.Missing, Length: e.Length, Err: beyond(e.Device, e.Offset)}, nil
	} else if e.Length > end-e.Offset {
		e.Length = end - e.Offset
	}
	return e, nil
}

// extents is a layout, for a reader of its files.
type extents struct{ layout }

func (e extents) Size() int64                                { return e.size() }
func (e extents) Map(off, max int64) (mapping.Extent, error) { return extentOf(e.layout, off, max) }

func (e extents) ReadAt(p []byte, off int64) (n int, err error) { return readLayout(e.layout, p, off) }

// readLayout reads all of p, which lies within the disk, or tells how much is good.
func readLayout(l layout, p []byte, off int64) (done int, err error) {
	err = mapping.Walk(extents{l}, off, int64(len(p)), func(at int64, e mapping.Extent) error {
		n, err := readExtent(l, p[at-off:][:e.Length], at, e)
		done = int(at-off) + n
		return err
	})
	return done, err
}

// readExtent reads all of an extent, which is at off, or tells how much is good.
func readExtent(l layout, p []byte, off int64, e mapping.Extent) (int, error) {
	switch e.Kind {
	case mapping.Data:
		return mapping.ReadFull(e.Device, p, e.Offset)
	case mapping.Zero:
		clear(p)
		return len(p), nil
	case mapping.Computed:
		if err := l.compute(p, off); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return 0, e.Err
}

// rawDisk is a device as it is.
type rawDisk struct{ mapping.Device }

func (r rawDisk) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Length: min(max, r.Size()-off), Device: r.Device, Offset: off}, nil
}

// mapBeneath is what lies under n bytes at off of an overlay: zeros, beyond the end of what
// is beneath, or if there is nothing beneath at all.
func mapBeneath(v mapping.Volume, off, n int64) (mapping.Extent, error) {
	if v == nil || off >= v.Size() {
		return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
	}
	return v.Map(off, min(n, v.Size()-off))
}

// computeBeneath reads what l.Map said is Computed because what is beneath is.
func computeBeneath(l layout, beneath mapping.Volume, p []byte, off int64) error {
	for len(p) > 0 {
		x, err := l.Map(off, int64(len(p)))
		if err != nil {
			return err
		}
		n := x.Length
		if _, err := mapping.ReadFull(beneath, p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// startsWith recognises a format by the first bytes of an image.
func startsWith(mark string) func(mapping.Device) (bool, error) { return hasAt(0, mark) }

func hasAt(off int64, mark string) func(mapping.Device) (bool, error) {
	return func(dev mapping.Device) (bool, error) {
		if dev.Size() < off+int64(len(mark)) {
			return false, nil
		}
		b := make([]byte, len(mark))
		if _, err := mapping.ReadFull(dev, b, off); err != nil {
			return false, err
		}
		return string(b) == mark, nil
	}
}
