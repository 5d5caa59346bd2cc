// Package testtable writes partition tables into disks in memory, for tests. It shares no code with
// the reader.
package testtable

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"unicode/utf16"
)

// Part is a partition, in sectors.
type Part struct {
	Number       int // of GPT and of primary partitions, from 1; logical ones count by themselves
	First, Count int64
	Kind         byte   // of an MBR
	GUID         string // of GPT, LVM's if ""
	Label        string // of GPT
}

// LVM is the type of partitions that hold PVs.
const LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"

var le = binary.LittleEndian

// MBR writes primary partitions into the first sector.
func MBR(disk []byte, parts ...Part) {
	for _, p := range parts {
		entry(disk, p.Number-1, p.Kind, p.First, p.Count)
	}
	sign(disk)
}

func sign(b []byte) { b[510], b[511] = 0x55, 0xaa }

func entry(b []byte, slot int, kind byte, first, count int64) {
	e := b[446+16*slot:][:16]
	e[4] = kind
	le.PutUint32(e[8:], uint32(first))
	le.PutUint32(e[12:], uint32(count))
}

// Logical writes the records of logical partitions into the extended partition that starts at sector
// base. Each has its record one sector before it.
func Logical(disk []byte, sector, base int64, parts ...Part) {
	at := base
	for i, p := range parts {
		b := disk[at*sector:][:512]
		entry(b, 0, p.Kind, p.First-at, p.Count)
		sign(b)
		if i+1 < len(parts) {
			next := parts[i+1].First - 1
			entry(b, 1, 5, next-base, parts[i+1].Count+1)
			at = next
		}
	}
}

// GPT writes a protective MBR, a table and its backup.
func GPT(disk []byte, sector int64, parts ...Part) {
	all := int64(len(disk)) / sector
	MBR(disk, Part{Number: 1, Kind: 0xee, First: 1, Count: all - 1})
	entries := make([]byte, 128*128)
	for _, p := range parts {
		e := entries[128*(p.Number-1):][:128]
		if p.GUID == "" {
			p.GUID = LVM
		}
		putGUID(e, p.GUID)
		e[16] = byte(p.Number)
		le.PutUint64(e[32:], uint64(p.First))
		le.PutUint64(e[40:], uint64(p.First+p.Count-1))
		for i, u := range utf16.Encode([]rune(p.Label)) {
			le.PutUint16(e[56+2*i:], u)
		}
	}
	n := (int64(len(entries)) + sector - 1) / sector
	header(disk, sector, 1, all-1, 2, entries)
	header(disk, sector, all-1, 1, all-1-n, entries)
}

func header(disk []byte, sector, my, other, at int64, entries []byte) {
	copy(disk[at*sector:], entries)
	h := disk[my*sector:][:92]
	clear(h)
	copy(h, "EFI PART")
	le.PutUint32(h[8:], 0x10000)
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], uint64(my))
	le.PutUint64(h[32:], uint64(other))
	le.PutUint64(h[72:], uint64(at))
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

func putGUID(b []byte, guid string) {
	raw, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil {
		panic(err)
	}
	le.PutUint32(b, binary.BigEndian.Uint32(raw))
	le.PutUint16(b[4:], binary.BigEndian.Uint16(raw[4:]))
	le.PutUint16(b[6:], binary.BigEndian.Uint16(raw[6:]))
	copy(b[8:], raw[8:])
}
