// Package testpv makes small PVs in memory, for tests. It has its own code to write labels and metadata areas, so that
// the decoders are not tested against themselves.
package testpv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
)

const (
	labelAt   = 512
	mdaAt     = 4096
	mdaSize   = 60 << 10
	headerLen = 512
	// DataStart is where extent 0 begins, in bytes, on a disk from New.
	DataStart = 64 << 10
)

// Disk is a device in memory. It can be claimed and written, and made to fail.
type Disk struct {
	Label string
	Bytes []byte // not to be touched while others use the disk; see Contents

	area, areaSize int64 // of metadata, in bytes; 0 for where New has it

	mu     sync.Mutex
	claims int
	syncs  int
	broken [][2]int64 // ranges that fail: from, to
	// ClaimError, if set, is what Claim fails with.
	ClaimError error
}

// ErrIO is what a broken range fails with.
var ErrIO = errors.New("input/output error")

// New makes a disk of size bytes with the label of PV uuid and one metadata area that
// holds text ("" for none).
func New(name, uuid string, size int64, text string) *Disk {
	return newDisk(name, uuid, size, mdaAt, mdaSize, text)
}

// newDisk is New with the metadata area elsewhere, or of another size.
func newDisk(name, uuid string, size, area, areaSize int64, text string) *Disk {
	d := &Disk{Label: name, Bytes: make([]byte, size), area: area, areaSize: areaSize}
	le := binary.LittleEndian
	l := d.Bytes[labelAt : labelAt+512]
	copy(l, "LABELONE")
	le.PutUint64(l[8:], labelAt/512)
	le.PutUint32(l[20:], 32)
	copy(l[24:], "LVM2 001")
	copy(l[32:], strings.ReplaceAll(uuid, "-", ""))
	le.PutUint64(l[64:], uint64(size))
	le.PutUint64(l[72:], DataStart)
	le.PutUint64(l[104:], uint64(area))
	le.PutUint64(l[112:], uint64(areaSize))
	le.PutUint32(l[136:], 2)
	le.PutUint32(l[140:], 1)
	le.PutUint32(l[16:], crc(l[20:]))
	d.SetText(text)
	return d
}

// SetText replaces the metadata, as an update of the VG would.
func (d *Disk) SetText(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.areaSize == 0 {
		d.area, d.areaSize = mdaAt, mdaSize
	}
	le := binary.LittleEndian
	h := d.Bytes[d.area : d.area+headerLen]
	clear(h)
	copy(h[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], uint64(d.area))
	le.PutUint64(h[32:], uint64(d.areaSize))
	if text != "" {
		b := append([]byte(text), 0)
		if int64(len(b)) > d.areaSize-headerLen {
			panic(fmt.Sprintf("testpv: text of %d bytes", len(b)))
		}
		copy(d.Bytes[d.area+headerLen:], b)
		le.PutUint64(h[40:], headerLen)
		le.PutUint64(h[48:], uint64(len(b)))
		le.PutUint32(h[56:], crc(b))
	}
	le.PutUint32(h, crc(h[4:]))
}

func crc(b []byte) uint32 {
	const initial = 0xf597a6cf
	return ^crc32.Update(^uint32(initial), crc32.IEEETable, b)
}

// Extent is the bytes of extent n, of the given size, after all accesses so far.
func (d *Disk) Extent(n, size int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Bytes[DataStart+n*size : DataStart+(n+1)*size]
}

// Change changes the bytes at off in extent n, of size bytes, while others use the disk. As another program would, it
// does so without a claim.
func (d *Disk) Change(n, size, off int, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.Bytes[DataStart+n*size : DataStart+(n+1)*size][off:], p)
}

// Contents is a copy of Bytes.
func (d *Disk) Contents() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.Bytes)
}

// RefuseClaims sets ClaimError while others use the disk.
func (d *Disk) RefuseClaims(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ClaimError = err
}

// Break makes reads and writes of [from, to) fail with ErrIO.
func (d *Disk) Break(from, to int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = append(d.broken, [2]int64{from, to})
}

// Claims is the number of claims held.
func (d *Disk) Claims() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.claims
}

// Syncs is the number of times that Sync was called.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

func (d *Disk) Name() string { return d.Label }
func (d *Disk) Size() int64  { return int64(len(d.Bytes)) }

func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off > d.Size() {
		return 0, io.EOF
	}
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n := copy(p, d.Bytes[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.writable(off, int64(len(p))); err != nil {
		return 0, err
	}
	return copy(d.Bytes[off:], p), nil
}

func (d *Disk) PunchHole(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.writable(off, n); err != nil {
		return err
	}
	clear(d.Bytes[off : off+n])
	return nil
}

func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	return d.writable(0, 0)
}

func (d *Disk) Claim() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ClaimError != nil {
		return d.ClaimError
	}
	d.claims++
	return nil
}

func (d *Disk) Release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims == 0 {
		return errors.New("testpv: released without a claim")
	}
	d.claims--
	return nil
}

func (d *Disk) writable(off, n int64) error {
	if d.claims == 0 {
		return errors.New("testpv: written without a claim")
	}
	if off < 0 || n < 0 || off+n > d.Size() {
		return fmt.Errorf("testpv: %d bytes at %d are beyond the end", n, off)
	}
	return d.check(off, n)
}

func (d *Disk) check(off, n int64) error {
	for _, b := range d.broken {
		if off < b[1] && b[0] < off+n {
			return fmt.Errorf("%s: byte %d: %w", d.Label, max(off, b[0]), ErrIO)
		}
	}
	return nil
}
