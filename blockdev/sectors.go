package blockdev

import (
	"fmt"
	"io"
	"sync"
	"unsafe"
)

const (
	maxSector  = 64 << 10
	pageSize   = 4096
	bounceSize = 1 << 20
	// worthSplitting is the least number of bytes for which one more system call is
	// cheaper than copying.
	worthSplitting = 64 << 10
)

func roundDown(n, unit int64) int64 { return n - n%unit }
func roundUp(n, unit int64) int64   { return roundDown(n+unit-1, unit) }

// bounces holds buffers of bounceSize bytes at addresses that any direct access takes.
var bounces = sync.Pool{New: func() any {
	b := make([]byte, bounceSize+pageSize)
	skip := pageSize - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%pageSize)
	b = b[skip : skip+bounceSize : skip+bounceSize]
	return &b
}}

// aligned tells whether p can go to a device with such sectors without a copy.
func aligned(p []byte, sector int64) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%uintptr(min(sector, pageSize)) == 0
}

// straight is how many bytes of p, for the device at off, can go without a copy; 0 if
// none or not worth it.
func (d *Device) straight(p []byte, off int64) int64 {
	n := roundDown(int64(len(p)), d.sector)
	if off%d.sector != 0 || !aligned(p, d.sector) || n < int64(len(p)) && n < worthSplitting {
		return 0
	}
	return n
}

// bounce is how many bytes, from the start of off's sector, go through a buffer: all of
// them, as many as fit, or only the first sector if the rest can go straight.
func (d *Device) bounce(p []byte, off int64) int64 {
	head := off % d.sector
	if rest := d.sector - head; head != 0 && rest+worthSplitting <= int64(len(p)) && aligned(p[rest:], d.sector) {
		return d.sector
	}
	return min(roundUp(head+int64(len(p)), d.sector), bounceSize)
}

// readSectors reads len(p) bytes at off by accesses to whole sectors. It never reads
// sectors without bytes of p, so a bad sector fails only those who ask for it.
func (d *Device) readSectors(p []byte, off int64) (int, error) {
	if d.sector == 1 {
		return d.r.ReadAt(p, off)
	}
	var done int
	for done < len(p) {
		rest, at := p[done:], off+int64(done)
		if n := d.straight(rest, at); n > 0 {
			got, err := d.r.ReadAt(rest[:n], at)
			done += got
			if int64(got) < n {
				return done, err
			}
			continue
		}
		buf := bounces.Get().(*[]byte)
		head, n := int(at%d.sector), d.bounce(rest, at)
		got, err := d.r.ReadAt((*buf)[:n], at-int64(head))
		want := min(int(n)-head, len(rest))
		good := copy(rest[:want], (*buf)[min(head, got):got])
		bounces.Put(buf)
		done += good
		if good < want {
			return done, err
		}
	}
	return done, nil
}

// writeSectors writes len(p) bytes at off by accesses to whole sectors. The caller holds
// d.claim, and d.w is open.
func (d *Device) writeSectors(p []byte, off int64) (int, error) {
	if d.sector == 1 {
		return d.w.WriteAt(p, off)
	}
	if off%d.sector == 0 && int64(len(p))%d.sector == 0 {
		d.sectors.RLock()
		defer d.sectors.RUnlock()
	} else {
		d.sectors.Lock()
		defer d.sectors.Unlock()
	}
	var done int
	for done < len(p) {
		rest, at := p[done:], off+int64(done)
		var n int
		var err error
		if whole := d.straight(rest, at); whole > 0 {
			rest = rest[:whole]
			n, err = d.w.WriteAt(rest, at)
		} else {
			span := d.bounce(rest, at)
			rest = rest[:min(span-at%d.sector, int64(len(rest)))]
			n, err = d.writeBounced(rest, at, span)
		}
		done += n
		if n < len(rest) {
			return done, err
		}
	}
	return done, nil
}

// writeBounced writes p at off as span bytes of whole sectors, keeping what is in the
// first and the last of them beside p.
func (d *Device) writeBounced(p []byte, off, span int64) (int, error) {
	pooled := bounces.Get().(*[]byte)
	defer bounces.Put(pooled)
	buf := (*pooled)[:span]
	start, head := roundDown(off, d.sector), off%d.sector
	tail := span - head - int64(len(p))
	if head != 0 {
		if err := d.readAround(buf[:d.sector], start); err != nil {
			return 0, err
		}
	}
	if last := span - d.sector; tail != 0 && (head == 0 || last != 0) {
		if err := d.readAround(buf[last:], start+last); err != nil {
			return 0, err
		}
	}
	copy(buf[head:], p)
	n, err := d.w.WriteAt(buf, start)
	return int(min(max(int64(n)-head, 0), int64(len(p)))), err
}

func (d *Device) readAround(sector []byte, off int64) error {
	n, err := d.r.ReadAt(sector, off)
	switch {
	case n == len(sector):
		return nil
	case err == io.EOF:
		return fmt.Errorf("the last %d bytes are no whole sector of %d bytes", n, len(sector))
	}
	return fmt.Errorf("reading the sector at byte %d to change a part of it: %w", off, bare(err))
}
