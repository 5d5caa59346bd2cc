package partition

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The first sector of an MBR disk, and of each logical partition's record. Offsets in bytes.
// (docs/format/04-below-lvm.md, section 2)
const (
	mbrEntries   = 446
	mbrEntrySize = 16
	mbrSignature = 510

	entryStatus = 0
	entryType   = 4
	entryFirst  = 8
	entryCount  = 12
)

const (
	firstLogical = 5
	maxLogical   = 1024
	protective   = 0xee
)

// mbrEntry is a used entry, in sectors.
type mbrEntry struct {
	slot         int // from 0
	kind         byte
	first, count int64
}

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

// bootRecord is the used entries of a sector that may hold a table; nil without one.
type bootRecord []mbrEntry

func (m bootRecord) used() bool { return len(m) > 0 }

func (m bootRecord) protective() bool {
	return slices.ContainsFunc(m, func(e mbrEntry) bool { return e.kind == protective })
}

// protected is the last sector of a disk whose only MBR partition protects a GPT; 0 of any other.
func (m bootRecord) protected() int64 {
	if len(m) != 1 || !m.protective() {
		return 0
	}
	return m[0].first + m[0].count - 1
}

// decodeBootRecord reads the table of a sector. It is not ok where there is none: the sector may
// belong to a boot loader or a file system, with code where entries would be.
func decodeBootRecord(b []byte) (m bootRecord, ok bool) {
	if b[mbrSignature] != 0x55 || b[mbrSignature+1] != 0xaa {
		return nil, false
	}
	for i := range 4 {
		e := b[mbrEntries+mbrEntrySize*i:][:mbrEntrySize]
		if e[entryStatus]&0x7f != 0 {
			return nil, false
		}
		used := mbrEntry{
			slot:  i,
			kind:  e[entryType],
			first: int64(binary.LittleEndian.Uint32(e[entryFirst:])),
			count: int64(binary.LittleEndian.Uint32(e[entryCount:])),
		}
		if used.kind != 0 && used.count != 0 {
			m = append(m, used)
		}
	}
	return m, true
}

func (d *disk) readMBR() (bootRecord, error) {
	b, err := d.read(0, 512)
	if b == nil {
		return nil, err
	}
	m, _ := decodeBootRecord(b)
	return m, nil
}

// bootTable reads the partitions of an MBR that is not there for a GPT's sake.
func (d *disk) bootTable(m bootRecord) (*Table, error) {
	t := &Table{Scheme: "MBR", SectorSize: d.sector}
	// A partition that holds its own table is an image of a CD made bootable as a disk.
	m = slices.DeleteFunc(m, func(e mbrEntry) bool { return e.first == 0 })
	if !slices.ContainsFunc(m, func(e mbrEntry) bool { return e.first < d.sectors() }) {
		return nil, ErrNone
	}
	for _, e := range m {
		if !e.extended() {
			t.add(d, Partition{Number: e.slot + 1, Type: mbrType(e.kind)}, e.first, e.count)
		}
	}
	number := firstLogical
	for _, e := range m {
		if e.extended() {
			number = d.addLogical(t, e, number)
		}
	}
	if good, _ := d.gptHeader(1); good != nil {
		t.warn("there is a GPT behind an MBR that does not protect it; going by the MBR")
	}
	return t, nil
}

// addLogical follows the chain of records of an extended partition. The first record is in the
// extended partition's first sector. Each tells of one logical partition, counted from itself, and of
// the next record, counted from the first.
func (d *disk) addLogical(t *Table, extended mbrEntry, number int) int {
	seen := map[int64]bool{}
	for at := extended.first; ; {
		if seen[at] || len(seen) == maxLogical {
			t.warn("the chain of logical partitions has a loop or more than %d links, at sector %d", maxLogical, at)
			return number
		}
		seen[at] = true
		b, err := d.read(at, 512)
		var record bootRecord
		ok := false
		if b != nil {
			record, ok = decodeBootRecord(b)
		}
		if err == nil && !ok {
			err = fmt.Errorf("no record of a logical partition in sector %d: %w", at, ErrDamaged)
			t.doubtful = t.doubtful || at == extended.first
		}
		if err != nil {
			t.warn("extended partition %d: %w; logical partitions from %d on are not found", extended.slot+1, err, number)
			return number
		}
		next := int64(0)
		for _, e := range record {
			switch {
			case e.slot > 1: // not used
			case e.extended():
				next = extended.first + e.first
			default:
				t.add(d, Partition{Number: number, Type: mbrType(e.kind)}, at+e.first, e.count)
				number++
			}
		}
		if next == 0 {
			return number
		}
		at = next
	}
}

func mbrType(kind byte) string {
	switch kind {
	case 0x07:
		return "NTFS or exFAT"
	case 0x0b, 0x0c:
		return "FAT32"
	case 0x82:
		return "Linux swap"
	case 0x83:
		return "Linux"
	case 0x8e:
		return "Linux LVM"
	case 0xa5:
		return "FreeBSD"
	case 0xef:
		return "EFI system"
	case 0xfd:
		return "Linux RAID"
	}
	return fmt.Sprintf("type %02x", kind)
}
