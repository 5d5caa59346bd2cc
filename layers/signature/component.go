package signature

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// components are the probes for what a PV label is not to be believed on
// (docs/format/04-below-lvm.md, sections 1 and 6).
var components = []probe{
	md1("1.1", func(int64) int64 { return 0 }),
	md1("1.2", func(int64) int64 { return 4096 }),
	luks,
	md1("1.0", func(sectors int64) int64 { return (sectors - 16) &^ 7 * sector }),
	md090,
	fakeRAID,
	geom,
	drbd,
	bcache,
	mark(KindComponent, "metadata leg of an LVM RAID LV (dm-raid)", 0, "DmRd"),
	mark(KindComponent, "VDO storage", 0, "dmvdo001"),
	mark(KindComponent, "BitLocker container", 3, "-FVE-FS-"),
	luksSecondary,
}

// anyComponent tries all of them; on a fixed VHD image, which has a footer behind the
// disk's last sector, also with the disk's own end.
func anyComponent(d *disk) (*Signature, error) {
	footer, err := vhdFooter(d)
	if err != nil {
		return nil, err
	}
	for _, p := range components {
		if s, err := p(d); s != nil || err != nil {
			return s, err
		}
	}
	if footer == nil {
		return nil, nil
	}
	plain := newDisk(d.r, d.size-sector)
	for _, p := range components {
		if s, err := p(plain); s != nil || err != nil {
			return s, err
		}
	}
	return nil, nil
}

func mark(kind Kind, name string, off int64, text string) probe {
	return magic{kind, name, off, text, nil}.probe
}

// atEnd returns the mark's Signature unless it lies inside the PV that is on the device.
func (d *disk) atEnd(s *Signature) (*Signature, error) {
	if s == nil {
		return nil, nil
	}
	inside, err := d.insidePV(s.Offset)
	if inside || err != nil {
		return nil, err
	}
	return s, nil
}

// luks finds the header at the start (docs/format/04-below-lvm.md, section 5).
func luks(d *disk) (*Signature, error) {
	b, err := d.at(0, 8)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return nil, err
	}
	return &Signature{KindComponent, fmt.Sprintf("LUKS%d container", binary.BigEndian.Uint16(b[6:])), 0}, nil
}

// luksSecondary finds the second header of LUKS2, whose first is lost. Behind a PV label
// it is what is left of an earlier use.
func luksSecondary(d *disk) (*Signature, error) {
	if end, err := d.pv(); end > 0 || err != nil {
		return nil, err
	}
	for off := int64(16 << 10); off <= 4<<20; off *= 2 {
		b, err := d.at(off, 8)
		if err != nil {
			return nil, err
		}
		if b != nil && string(b[:6]) == "SKUL\xba\xbe" && binary.BigEndian.Uint16(b[6:]) == 2 {
			return &Signature{KindComponent, "LUKS2 container (its first header is lost)", off}, nil
		}
	}
	return nil, nil
}

// fakeRAID finds what the firmware of RAID controllers and boards leaves near the end.
func fakeRAID(d *disk) (*Signature, error) {
	for _, unit := range []int64{sector, 4096} {
		for _, m := range []struct {
			name   string
			blocks int64 // from the end
			text   string
		}{
			{"member of an Intel Matrix (IMSM) RAID", 2, "Intel Raid ISM Cfg Sig. "},
			{"member of a DDF RAID", 1, "\xde\x11\xde\x11"},
			{"member of an NVIDIA RAID", 2, "NVIDIA"},
			{"member of a Promise FastTrak RAID", 63, "Promise Technology, Inc."},
		} {
			off := (d.size/unit - m.blocks) * unit
			yes, err := d.has(off, m.text)
			if err != nil {
				return nil, err
			}
			if yes {
				return d.atEnd(&Signature{KindComponent, m.name, off})
			}
		}
	}
	return nil, nil
}

// geom finds the metadata that FreeBSD's GEOM classes keep in the last sector. A
// GEOM::LABEL does not count: what is under one is the same with it and without it.
func geom(d *disk) (*Signature, error) {
	for _, unit := range []int64{sector, 4096} {
		off := (d.size/unit - 1) * unit
		b, err := d.at(off, 16)
		if err != nil {
			return nil, err
		}
		class, found := strings.CutPrefix(strings.TrimRight(string(b), "\x00"), "GEOM::")
		if !found {
			continue
		}
		switch class {
		case "ELI":
			return d.atEnd(&Signature{KindComponent, "GELI container (FreeBSD)", off})
		case "MIRROR", "STRIPE", "CONCAT", "RAID3", "VIRSTOR", "SHSEC", "JOURNAL", "CACHE", "MULTIPATH":
			return d.atEnd(&Signature{KindComponent, "member of a FreeBSD g" + strings.ToLower(class), off})
		}
	}
	return nil, nil
}

// DRBD is the name of the Signature of a device with internal DRBD metadata.
const DRBD = "DRBD backing device"

// drbd finds internal metadata, whose last 4 KiB of the device have a mark at byte 60
// (seen on disks made by drbdmeta 9.22, formats v08 and v09).
func drbd(d *disk) (*Signature, error) {
	off := (d.size/4096-1)*4096 + 60
	b, err := d.at(off, 4)
	if b == nil || string(b[:3]) != "\x83\x74\x02" || b[3] < 0x6b || b[3] > 0x6d {
		return nil, err
	}
	return d.atEnd(&Signature{KindComponent, DRBD, off})
}

func bcache(d *disk) (*Signature, error) {
	const off = 4096 + 24
	yes, err := d.has(off, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")
	if !yes {
		return nil, err
	}
	return &Signature{KindComponent, "bcache device", off}, nil
}
