// Package partition reads partition tables: MBR with extended partitions, and GPT. It reads
// through io.ReaderAt and never writes.
//
// A table is read as Linux reads it. What is damaged but can be got over is a warning of the table.
// (docs/format/04-below-lvm.md, sections 2 and 3)
package partition

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"lvm2fs/mapping"
)

// ErrNone: there is no partition table.
var ErrNone = errors.New("no partition table")

// ErrDamaged is wrapped by the error of a table that was there but cannot be made sense of.
var ErrDamaged = errors.New("partition table damaged")

// Table is a partition table. Offsets and sizes are in bytes.
type Table struct {
	Scheme     string // "MBR", "GPT"
	SectorSize int64
	Partitions []Partition // by number; those outside of the device are left out
	Warnings   []error
	// Unprotected is a GPT without the MBR that says so. It may be left over from an earlier use
	// of the device, so that anything else on the device counts for more.
	Unprotected bool

	doubtful bool // with sectors of another size it might make more sense
}

// Partition is an entry of a table.
type Partition struct {
	Number int
	Start  int64
	Size   int64  // ends within the device
	Type   string // "Linux LVM", or the number or GUID of a type that has no name here
	Label  string // of GPT
}

// Find reads the table of a device of size bytes. It counts in sectors of sectorSize bytes or of 512 or 4096, because a
// disk may have been partitioned behind a bridge with other sectors. sectorSize is 0 for an image that does not tell.
// Where more than one size makes sense, all those tables are returned, the likelier one first: what is in the
// partitions must decide. The error is ErrNone, wraps ErrDamaged, or is that of r.
func Find(r io.ReaderAt, size, sectorSize int64) ([]*Table, error) {
	sizes := []int64{512, 4096}
	if sectorSize != 0 {
		sizes = slices.DeleteFunc(sizes, func(n int64) bool { return n == sectorSize })
		sizes = slices.Insert(sizes, 0, sectorSize)
	}
	var found []*Table
	var failures []error
	for _, sector := range sizes {
		d := &disk{r, size, sector}
		t, err := d.table()
		switch {
		case t != nil:
			found = append(found, t)
		case !errors.Is(err, ErrNone):
			failures = append(failures, err)
		}
	}
	for _, t := range found {
		if t.Scheme == "GPT" {
			return []*Table{t}, nil // where its header is tells the size of the sectors
		}
	}
	slices.SortStableFunc(found, func(a, b *Table) int { return order(a.doubtful, b.doubtful) })
	switch {
	case len(found) > 1 && found[1].doubtful:
		return found[:1], nil
	case len(found) > 0:
		return found, nil
	case len(failures) > 0:
		return nil, failures[0]
	}
	return nil, ErrNone
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// disk is a device with sectors of an assumed size.
type disk struct {
	r      io.ReaderAt
	size   int64
	sector int64
}

// sectors is the number of whole sectors.
func (d *disk) sectors() int64 { return d.size / d.sector }

// read reads n bytes from the start of a sector; nil beyond the end of the device.
func (d *disk) read(lba, n int64) ([]byte, error) {
	if lba < 0 || lba >= d.sectors() || n > d.size-lba*d.sector {
		return nil, nil
	}
	b := make([]byte, n)
	if _, err := mapping.ReadFull(d.r, b, lba*d.sector); err != nil {
		return nil, fmt.Errorf("partition table in sector %d, at byte %d: %w", lba, lba*d.sector, err)
	}
	return b, nil
}

// table reads the table there is: GPT if an MBR protects it or there is no MBR.
func (d *disk) table() (*Table, error) {
	mbr, err := d.readMBR()
	if err != nil {
		return nil, err
	}
	if mbr.used() && !mbr.protective() {
		return d.bootTable(mbr)
	}
	return d.guidTable(mbr)
}

func (t *Table) warn(format string, args ...any) {
	t.Warnings = append(t.Warnings, fmt.Errorf(format, args...))
}

// add adds count sectors from first as a partition, as far as the device has them.
func (t *Table) add(d *disk, p Partition, first, count int64) {
	all := d.sectors()
	if first >= all {
		t.warn("partition %d lies beyond the end of the device: it starts at sector %d of %d", p.Number, first, all)
		return
	}
	if count > all-first {
		t.warn("partition %d ends beyond the end of the device: at sector %d of %d", p.Number, first+count, all)
		count = all - first
	}
	p.Start, p.Size = first*d.sector, count*d.sector
	for _, other := range t.Partitions {
		if p.Start < other.Start+other.Size && other.Start < p.Start+p.Size {
			t.warn("partitions %d and %d overlap", other.Number, p.Number)
		}
	}
	t.Partitions = append(t.Partitions, p)
}
