package signature

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Linux MD superblocks (docs/format/04-below-lvm.md, sections 4.1 and 4.2).
const (
	mdMagic    = 0xa92b4efc
	mdMaxRoles = (4096 - 256) / 2

	mdSetName     = 32
	mdSuperOffset = 144
	mdChecksum    = 216
	mdMaxDev      = 220
	mdRoles       = 256

	md090Size  = 4096
	md090Words = md090Size / 4
)

// md1 finds a superblock of version 1. One at the start that is damaged or of another
// place still stands in the way of a PV, and is reported as what it is. At the end only
// one that says itself that it is there is believed.
func md1(version string, place func(sectors int64) int64) probe {
	return func(d *disk) (*Signature, error) {
		off := place(d.size / sector)
		b, err := d.at(off, mdRoles)
		if b == nil || binary.LittleEndian.Uint32(b) != mdMagic || binary.LittleEndian.Uint32(b[4:]) != 1 {
			return nil, err
		}
		inPlace := binary.LittleEndian.Uint64(b[mdSuperOffset:]) == uint64(off/sector)
		if version == "1.0" && !inPlace {
			return nil, nil
		}
		name := "superblock " + version
		if array, _, _ := strings.Cut(string(b[mdSetName:mdSetName+32]), "\x00"); printable(array) {
			name += ", array " + array
		}
		roles := int64(binary.LittleEndian.Uint32(b[mdMaxDev:]))
		good := roles <= mdMaxRoles
		if good {
			whole, err := d.at(off, mdRoles+2*roles)
			if err != nil {
				return nil, err
			}
			good = whole != nil && md1Checksum(whole) == binary.LittleEndian.Uint32(b[mdChecksum:])
		}
		switch {
		case !good:
			name += ", checksum wrong"
		case !inPlace:
			name += ", not in its place"
		}
		s := &Signature{KindComponent, fmt.Sprintf("Linux MD member (%s)", name), off}
		if version == "1.0" {
			return d.atEnd(s)
		}
		return s, nil
	}
}

func md1Checksum(sb []byte) uint32 {
	var sum uint64
	for i := 0; i+4 <= len(sb); i += 4 {
		if i != mdChecksum {
			sum += uint64(binary.LittleEndian.Uint32(sb[i:]))
		}
	}
	if len(sb)%4 == 2 {
		sum += uint64(binary.LittleEndian.Uint16(sb[len(sb)-2:]))
	}
	return uint32(sum) + uint32(sum>>32)
}

// md090 finds a superblock of version 0.90, which does not say where it is. It counts
// only if its checksum is right and its array fits before it. If it lies in a partition
// of the device, it is that partition's.
func md090(d *disk) (*Signature, error) {
	off := (d.size/sector)&^127*sector - 65536
	b, err := d.at(off, 16)
	if err != nil || b == nil {
		return nil, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if binary.BigEndian.Uint32(b) == mdMagic {
		order = binary.BigEndian
	}
	if minor := order.Uint32(b[8:]); order.Uint32(b) != mdMagic || order.Uint32(b[4:]) != 0 || minor != 90 && minor != 91 {
		return nil, nil
	}
	sb, err := d.at(off, md090Size)
	if sb == nil {
		return nil, err
	}
	const size, checksum = 8, 38 // words
	var sum uint64
	for i := range md090Words {
		if i != checksum {
			sum += uint64(order.Uint32(sb[4*i:]))
		}
	}
	if uint32(sum)+uint32(sum>>32) != order.Uint32(sb[4*checksum:]) || int64(order.Uint32(sb[4*size:]))*1024 > off {
		return nil, nil
	}
	if owned, err := d.insidePartition(off); owned || err != nil {
		return nil, err
	}
	name := "Linux MD member (superblock 0.90)"
	if order == binary.ByteOrder(binary.BigEndian) {
		name = "Linux MD member (superblock 0.90, big-endian)"
	}
	return d.atEnd(&Signature{KindComponent, name, off})
}

// printable: names from disk go into messages for a terminal.
func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
