package signature

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// magic is a format that a fixed text at a fixed place is enough to name.
type magic struct {
	kind   Kind
	name   string
	offset int64
	text   string
	// version adds what the bytes at the mark's start tell; "" means that it is
	// something else after all. It gets versionBytes of them.
	version func(b []byte) string
}

const versionBytes = 8

var magics = []magic{
	{KindTable, "BSD disklabel", 512, "\x57\x45\x56\x82", nil},
	{KindTable, "Apple partition map", 512, "PM\x00\x00", nil},

	{KindImage, "qcow", 0, "QFI\xfb", func(b []byte) string {
		switch v := binary.BigEndian.Uint32(b[4:]); v {
		case 1:
			return "qcow image"
		case 2, 3:
			return fmt.Sprintf("qcow2 image (version %d)", v)
		}
		return ""
	}},
	{KindImage, "QED image", 0, "QED\x00", nil},
	{KindImage, "VMDK image", 0, "KDMV", nil},
	{KindImage, "VMDK image (ESX COW disk)", 0, "COWD", nil},
	{KindImage, "VMDK descriptor (the data is in other files)", 0, "# Disk DescriptorFile", nil},
	{KindImage, "VHDX image", 0, "vhdxfile", nil},
	{KindImage, "VHD image (dynamic)", 0, "conectix", nil},
	{KindImage, "VDI image", 64, "\x7f\x10\xda\xbe", nil},
	{KindImage, "Parallels image", 0, "WithoutFreeSpace", nil},
	{KindImage, "Parallels image", 0, "WithouFreSpacExt", nil},
	{KindImage, "EWF (E01) image", 0, "EVF\x09\x0d\x0a\xff\x00", nil},
	{KindImage, "EWF (Ex01) image", 0, "EVF2\x0d\x0a\x81\x00", nil},
	{KindImage, "Android sparse image", 0, "\x3a\xff\x26\xed", nil},

	{KindFilesystem, "LVM1 physical volume (no longer supported by LVM)", 0, "HM", func(b []byte) string {
		if v := binary.LittleEndian.Uint16(b[2:]); v < 1 || v > 2 {
			return ""
		}
		return "LVM1 physical volume (no longer supported by LVM)"
	}},
	{KindFilesystem, "XFS file system", 0, "XFSB", nil},
	{KindFilesystem, "Btrfs file system", 65536 + 64, "_BHRfS_M", nil},
	{KindFilesystem, "F2FS file system", 1024, "\x10\x20\xf5\xf2", nil},
	{KindFilesystem, "NTFS file system", 3, "NTFS    ", nil},
	{KindFilesystem, "exFAT file system", 3, "EXFAT   ", nil},
	{KindFilesystem, "squashfs file system", 0, "hsqs", nil},
	{KindFilesystem, "EROFS file system", 1024, "\xe2\xe1\xf5\xe0", nil},
	{KindFilesystem, "ISO 9660 file system", 32769, "CD001", nil},
	{KindFilesystem, "UDF file system", 32769, "BEA01", nil},
	{KindFilesystem, "JFS file system", 32768, "JFS1", nil},
	{KindFilesystem, "ReiserFS file system", 65536 + 52, "ReIsEr", nil},
	{KindFilesystem, "UFS1 file system", 8192 + 1372, "\x54\x19\x01\x00", nil},
	{KindFilesystem, "UFS2 file system", 65536 + 1372, "\x19\x01\x54\x19", nil},
	{KindFilesystem, "HFS+ file system", 1024, "H+\x00\x04", nil},
	{KindFilesystem, "HFSX file system", 1024, "HX\x00\x05", nil},
	{KindFilesystem, "APFS container", 32, "NXSB", nil},

	{KindSwap, "swap space", 4096 - 10, "SWAPSPACE2", nil},
	{KindSwap, "swap space", 8192 - 10, "SWAPSPACE2", nil},
	{KindSwap, "swap space", 16384 - 10, "SWAPSPACE2", nil},
	{KindSwap, "swap space", 65536 - 10, "SWAPSPACE2", nil},
	{KindSwap, "swap space with a hibernated system in it", 4096 - 10, "S1SUSPEND\x00", nil},

	{KindCompressed, "gzip compressed file", 0, "\x1f\x8b\x08", nil},
	{KindCompressed, "zstd compressed file", 0, "\x28\xb5\x2f\xfd", nil},
	{KindCompressed, "xz compressed file", 0, "\xfd7zXZ\x00", nil},
	{KindCompressed, "lz4 compressed file", 0, "\x04\x22\x4d\x18", nil},
	{KindCompressed, "bzip2 compressed file", 0, "BZh", func(b []byte) string {
		if b[3] < '1' || b[3] > '9' {
			return ""
		}
		return "bzip2 compressed file"
	}},
	{KindCompressed, "zip archive", 0, "PK\x03\x04", nil},
}

func (m magic) probe(d *disk) (*Signature, error) {
	yes, err := d.has(m.offset, m.text)
	if !yes {
		return nil, err
	}
	name := m.name
	if m.version != nil {
		b, err := d.at(m.offset, versionBytes)
		if b == nil {
			return nil, err
		}
		if name = m.version(b); name == "" {
			return nil, nil
		}
	}
	return &Signature{m.kind, name, m.offset}, nil
}

// ext finds ext2, ext3 or ext4. Its magic is two bytes, so that more must make sense.
func ext(d *disk) (*Signature, error) {
	b, err := d.at(1024, 1024)
	if b == nil || binary.LittleEndian.Uint16(b[56:]) != 0xef53 {
		return nil, err
	}
	inodes, blocks := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	logBlockSize, revision := binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[76:])
	const hasJournal, isJournal = 0x4, 0x8
	const extents, wide, flexible = 0x40, 0x80, 0x200
	compatible, incompatible := binary.LittleEndian.Uint32(b[92:]), binary.LittleEndian.Uint32(b[96:])
	if inodes == 0 && incompatible&isJournal == 0 || blocks == 0 || logBlockSize > 6 || revision > 1 {
		return nil, nil
	}
	name := "ext2 file system"
	switch {
	case incompatible&isJournal != 0:
		name = "journal of an ext3 or ext4 file system"
	case incompatible&(extents|wide|flexible) != 0:
		name = "ext4 file system"
	case compatible&hasJournal != 0:
		name = "ext3 file system"
	}
	return &Signature{KindFilesystem, name, 1024 + 56}, nil
}

// fat finds FAT12, FAT16 and FAT32 by the text that all makers of them write.
func fat(d *disk) (*Signature, error) {
	b, err := d.at(0, sector)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return nil, err
	}
	for _, off := range []int{54, 82} {
		switch text := string(b[off : off+8]); text {
		case "FAT12   ", "FAT16   ", "FAT     ", "FAT32   ":
			return &Signature{KindFilesystem, strings.TrimRight(text, " ") + " file system", int64(off)}, nil
		}
	}
	return nil, nil
}

// zfs finds an uberblock in the first label: 128 KiB of them, 1 KiB or more apart.
func zfs(d *disk) (*Signature, error) {
	for off := int64(128 << 10); off < 256<<10; off += 1 << 10 {
		b, err := d.at(off, 8)
		if b == nil {
			return nil, err
		}
		if s := string(b); s == "\x0c\xb1\xba\x00\x00\x00\x00\x00" || s == "\x00\x00\x00\x00\x00\xba\xb1\x0c" {
			return &Signature{KindFilesystem, "ZFS pool member", off}, nil
		}
	}
	return nil, nil
}

// vhdFooter finds a fixed VHD image: plain bytes with a footer behind them.
func vhdFooter(d *disk) (*Signature, error) {
	off := d.size - sector
	b, err := d.at(off, sector)
	const fixed = 2
	if b == nil || string(b[:8]) != "conectix" || binary.BigEndian.Uint32(b[60:]) != fixed {
		return nil, err
	}
	return d.atEnd(&Signature{KindImage, "VHD image (fixed: plain bytes and a footer)", off})
}

// udifFooter finds the disk images of macOS.
func udifFooter(d *disk) (*Signature, error) {
	off := d.size - sector
	yes, err := d.has(off, "koly")
	if !yes {
		return nil, err
	}
	return d.atEnd(&Signature{KindImage, "macOS disk image (UDIF)", off})
}

// empty finds nothing at either end.
func empty(d *disk) (*Signature, error) {
	const looked = 1 << 20
	for _, r := range [][2]int64{{0, min(looked, d.size)}, {max(0, d.size-looked), d.size}} {
		for off := r[0] - r[0]%blockSize; off < r[1]; off += blockSize {
			b := d.block(off)
			if b.err != nil {
				return nil, b.err
			}
			for _, c := range b.bytes {
				if c != 0 {
					return nil, nil
				}
			}
		}
	}
	if d.size == 0 {
		return &Signature{KindEmpty, "empty file", 0}, nil
	}
	return &Signature{KindEmpty, "empty device (zeros at both ends)", 0}, nil
}
