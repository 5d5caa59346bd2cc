package signature

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Partition tables (docs/format/04-below-lvm.md, sections 2 and 3).

type partition struct {
	kind         byte // of an MBR entry
	first, count int64
}

const (
	protective       = 0xee
	maxGPTEntries    = 1024
	maxGPTEntrySize  = 4096
	gptHeaderMinimum = 92
)

// mbr returns the used entries of the table in the first sector; none if there is no
// table, only boot code.
func (d *disk) mbr() ([]partition, error) {
	b, err := d.at(0, sector)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return nil, err
	}
	var used []partition
	for i := range 4 {
		e := b[446+16*i:][:16]
		p := partition{e[4], int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))}
		if e[0]&0x7f != 0 {
			return nil, nil
		}
		if p.kind == 0 {
			continue
		}
		if p.first == 0 || p.count == 0 || p.first*sector >= d.size {
			return nil, nil
		}
		for _, q := range used {
			if p.first < q.first+q.count && q.first < p.first+p.count {
				return nil, nil
			}
		}
		used = append(used, p)
	}
	return used, nil
}

func isProtective(table []partition) bool {
	return len(table) == 1 && table[0].kind == protective
}

// bootTable finds an MBR that is not there for a GPT's sake.
func bootTable(d *disk) (*Signature, error) {
	table, err := d.mbr()
	if len(table) == 0 {
		return nil, err
	}
	name := fmt.Sprintf("MBR partition table (%d partitions)", len(table))
	switch {
	case isProtective(table):
		if g, err := gpt(d); g != nil || err != nil {
			return nil, err
		}
		name = "MBR that protects a GPT partition table (which is lost)"
	case len(table) == 1:
		name = "MBR partition table (1 partition)"
	}
	return &Signature{KindTable, name, 446}, nil
}

// gpt finds the header behind the first sector, or else the one in the last.
func gpt(d *disk) (*Signature, error) {
	for _, unit := range []int64{sector, 4096} {
		good, there, err := d.gptHeader(unit)
		if err != nil {
			return nil, err
		}
		if good {
			return &Signature{KindTable, "GPT partition table", unit}, nil
		}
		if there {
			return &Signature{KindTable, "GPT partition table (header damaged)", unit}, nil
		}
	}
	for _, unit := range []int64{sector, 4096} {
		off := (d.size/unit - 1) * unit
		good, _, err := d.gptHeader(off)
		if err != nil {
			return nil, err
		}
		if good {
			return d.atEnd(&Signature{KindTable, "GPT partition table (only its backup is left)", off})
		}
	}
	return nil, nil
}

func (d *disk) gptHeader(off int64) (good, there bool, err error) {
	b, err := d.at(off, sector)
	if b == nil || string(b[:8]) != "EFI PART" {
		return false, false, err
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n < gptHeaderMinimum || n > sector {
		return false, true, nil
	}
	sum := crc32.NewIEEE()
	sum.Write(b[:16])
	sum.Write(make([]byte, 4))
	sum.Write(b[20:n])
	return sum.Sum32() == binary.LittleEndian.Uint32(b[16:]), true, nil
}

// insidePartition reports whether off lies in a partition of the device's own table.
func (d *disk) insidePartition(off int64) (bool, error) {
	table, err := d.mbr()
	if err != nil {
		return false, err
	}
	if !isProtective(table) {
		for _, p := range table {
			if p.first*sector <= off && off < (p.first+p.count)*sector {
				return true, nil
			}
		}
		return false, nil
	}
	for _, unit := range []int64{sector, 4096} {
		good, _, err := d.gptHeader(unit)
		if err != nil {
			return false, err
		}
		if good {
			return d.insideGPTEntry(unit, off)
		}
	}
	return false, nil
}

func (d *disk) insideGPTEntry(unit, off int64) (bool, error) {
	header, err := d.at(unit, sector)
	if err != nil {
		return false, err
	}
	start := binary.LittleEndian.Uint64(header[72:])
	count := min(int64(binary.LittleEndian.Uint32(header[80:])), maxGPTEntries)
	size := int64(binary.LittleEndian.Uint32(header[84:]))
	if start > uint64(d.size/unit) || size < 128 || size > maxGPTEntrySize {
		return false, nil
	}
	for i := range count {
		e, err := d.at(int64(start)*unit+i*size, 48)
		if e == nil {
			return false, err
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if [16]byte(e) != [16]byte{} && first <= uint64(off/unit) && uint64(off/unit) <= last {
			return true, nil
		}
	}
	return false, nil
}
