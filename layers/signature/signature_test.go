package signature_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/layers/signature"
)

func names(t *testing.T, disk []byte) []string {
	t.Helper()
	found, err := signature.Detect(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i, s := range found {
		if i > 0 && s.Kind < found[i-1].Kind {
			t.Errorf("%v is not in the order of kinds", found)
		}
		list = append(list, s.Name)
	}
	return list
}

// The tools at hand really write what is to be recognised.
func TestWhatRealToolsMakeIsRecognised(t *testing.T) {
	testenv.Long(t)
	for _, c := range []struct {
		want    string
		size    int64
		command string // for sh, with the file as $1; it begins with the tool
		input   string
	}{
		{"ext2 file system", 4 << 20, "mkfs.ext2 -q $1", ""},
		{"ext3 file system", 16 << 20, "mkfs.ext3 -q $1", ""},
		{"ext4 file system", 16 << 20, "mkfs.ext4 -q $1", ""},
		{"journal of an ext3 or ext4 file system", 16 << 20, "mkfs.ext4 -q -O journal_dev $1", ""},
		{"XFS file system", 320 << 20, "mkfs.xfs -q $1", ""},
		{"Btrfs file system", 128 << 20, "mkfs.btrfs -q $1", ""},
		{"FAT12 file system", 2 << 20, "mkfs.vfat -F 12 $1", ""},
		{"FAT16 file system", 16 << 20, "mkfs.vfat -F 16 $1", ""},
		{"FAT32 file system", 64 << 20, "mkfs.vfat -F 32 $1", ""},
		{"squashfs file system", 0, "mksquashfs /etc/hostname $1 -noappend", ""},
		{"swap space", 4 << 20, "mkswap $1", ""},
		{"swap space", 4 << 20, "mkswap -p 65536 $1", ""},
		{"LUKS1 container", 16 << 20, "cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 $1 -", "secret"},
		{"LUKS2 container", 32 << 20, "cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $1 -", "secret"},
		{"bcache device", 16 << 20, "make-bcache -B $1", ""},
		{"MBR partition table (2 partitions)", 16 << 20, "sfdisk $1", "2048,2048\n4096,2048\n"},
		{"GPT partition table", 16 << 20, "sfdisk $1", "label: gpt\n2048,2048\n"},
		{"qcow2 image (version 3)", 0, "qemu-img create -f qcow2 $1 1M", ""},
		{"QED image", 0, "qemu-img create -f qed $1 1M", ""},
		{"VMDK image", 0, "qemu-img create -f vmdk $1 1M", ""},
		{"VMDK descriptor (the data is in other files)", 0, "qemu-img create -f vmdk -o subformat=monolithicFlat $1 1M", ""},
		{"VHD image (dynamic)", 0, "qemu-img create -f vpc $1 1M", ""},
		{"VHD image (fixed: plain bytes and a footer)", 0, "qemu-img create -f vpc -o subformat=fixed $1 1M", ""},
		{"VHDX image", 0, "qemu-img create -f vhdx $1 1M", ""},
		{"VDI image", 0, "qemu-img create -f vdi $1 1M", ""},
		{"Parallels image", 0, "qemu-img create -f parallels $1 1M", ""},
		{"gzip compressed file", 0, "gzip > $1", "x"},
		{"zstd compressed file", 0, "zstd -q > $1", "x"},
		{"xz compressed file", 0, "xz > $1", "x"},
		{"lz4 compressed file", 0, "lz4 -q > $1", "x"},
		{"bzip2 compressed file", 0, "bzip2 > $1", "x"},
		{"zip archive", 0, "zip -q - - > $1", "x"},
	} {
		t.Run(c.command, func(t *testing.T) {
			t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
			// No machine has all of them.
			if _, err := exec.LookPath(strings.Fields(c.command)[0]); err != nil {
				t.Skip(err)
			}
			path := filepath.Join(t.TempDir(), "disk")
			if c.size > 0 {
				if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, c.size)); err != nil {
					t.Fatal(err)
				}
			}
			make := exec.Command("sh", "-c", c.command, "sh", path)
			make.Stdin = strings.NewReader(c.input)
			if out, err := make.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			found, err := signature.Detect(f, info.Size())
			if err != nil || len(found) == 0 || found[0].Name != c.want {
				t.Errorf("it looks like %v, %v; want a %s", found, err, c.want)
			}
		})
	}
}

func TestMarksWithoutAToolAtHandAreRecognised(t *testing.T) {
	for _, c := range []struct {
		want string
		puts []put
	}{
		{"NTFS file system", []put{{3, []byte("NTFS    ")}}},
		{"exFAT file system", []put{{3, []byte("EXFAT   ")}}},
		{"ISO 9660 file system", []put{{32769, []byte("CD001")}}},
		{"HFS+ file system", []put{{1024, []byte("H+\x00\x04")}}},
		{"APFS container", []put{{32, []byte("NXSB")}}},
		{"UFS2 file system", []put{{65536 + 1372, []byte("\x19\x01\x54\x19")}}},
		{"ZFS pool member", []put{{128<<10 + 5<<10, []byte("\x0c\xb1\xba\x00\x00\x00\x00\x00")}}},
		{"ZFS pool member", []put{{128 << 10, []byte("\x00\x00\x00\x00\x00\xba\xb1\x0c")}}},
		{"BSD disklabel", []put{{512, []byte("\x57\x45\x56\x82")}}},
		{"LVM1 physical volume (no longer supported by LVM)", []put{{0, []byte("HM\x01\x00")}}},
		{"macOS disk image (UDIF)", []put{{diskSize - 512, []byte("koly")}}},
	} {
		disk := make([]byte, diskSize)
		for _, p := range c.puts {
			copy(disk[p.at:], p.bytes)
		}
		if got := names(t, disk); len(got) != 1 || got[0] != c.want {
			t.Errorf("%q; want %q", got, c.want)
		}
	}
}

func TestAPartitionTableMustBePlausible(t *testing.T) {
	bootFlag := func(flag byte, b []byte) []byte {
		b[446] = flag
		return b
	}
	for _, c := range []struct {
		what   string
		sector []byte
		want   string
	}{
		{"boot code without partitions", mbr(), ""},
		{"one partition", mbr([3]uint32{0x8e, 2048, 4096}), "MBR partition table (1 partition)"},
		{"an active one", bootFlag(0x80, mbr([3]uint32{0x8e, 2048, 4096})), "MBR partition table (1 partition)"},
		{"a flag that no table has", bootFlag(0x21, mbr([3]uint32{0x8e, 2048, 4096})), ""},
		{"a partition over the table", mbr([3]uint32{0x8e, 0, 4096}), ""},
		{"a partition without sectors", mbr([3]uint32{0x8e, 2048, 0}), ""},
		{"a partition beyond the device", mbr([3]uint32{0x8e, diskSize / 512, 1}), ""},
		{"a disk cut short", mbr([3]uint32{0x8e, 2048, 1 << 30}), "MBR partition table (1 partition)"},
		{"partitions that overlap", mbr([3]uint32{0x83, 2048, 4096}, [3]uint32{0x83, 6143, 10}), ""},
		{"partitions that touch", mbr([3]uint32{0x83, 2048, 4096}, [3]uint32{0x83, 6144, 10}), "MBR partition table (2 partitions)"},
		{"the guard of a GPT that is gone", mbr([3]uint32{0xee, 1, math.MaxUint32}), "MBR that protects a GPT partition table (which is lost)"},
	} {
		pv := pvDisk(diskSize, diskSize)
		copy(pv, c.sector)
		want := "LVM2 physical volume"
		if c.want != "" {
			want += ", " + c.want
		}
		if got := strings.Join(names(t, pv), ", "); got != want {
			t.Errorf("%s: %s; want %s", c.what, got, want)
		}
	}
}

// gptDisk has a table with one partition, in units of sector bytes.
func gptDisk(sector int, first, last uint64) []byte {
	disk := make([]byte, diskSize)
	le := binary.LittleEndian
	copy(disk, mbr([3]uint32{0xee, 1, math.MaxUint32}))
	entries := disk[2*sector:][:128*128]
	entries[0] = 1
	le.PutUint64(entries[32:], first)
	le.PutUint64(entries[40:], last)
	blocks := uint64(diskSize / sector)
	for _, lba := range [][2]uint64{{1, blocks - 1}, {blocks - 1, 1}} {
		h := disk[lba[0]*uint64(sector):][:92]
		copy(h, "EFI PART")
		le.PutUint32(h[8:], 0x10000)
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], lba[0])
		le.PutUint64(h[32:], lba[1])
		le.PutUint64(h[72:], 2)
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	}
	return disk
}

func TestAGPTIsFoundByItsHeaderItsRestAndItsBackup(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		disk := gptDisk(sector, 100, 200)
		check := func(want string) {
			t.Helper()
			if got := strings.Join(names(t, disk), ", "); got != want {
				t.Errorf("sectors of %d bytes: %s; want %s", sector, got, want)
			}
		}
		check("GPT partition table")
		disk[sector+60]++
		check("GPT partition table (header damaged)")
		clear(disk[:2*sector])
		check("GPT partition table (only its backup is left)")
		clear(disk[diskSize-sector:])
		copy(disk, mbr([3]uint32{0xee, 1, math.MaxUint32}))
		check("MBR that protects a GPT partition table (which is lost)")

		pv := pvDisk(diskSize, diskSize)
		copy(pv[diskSize-sector:], gptDisk(sector, 100, 200)[diskSize-sector:])
		disk = pv
		check("LVM2 physical volume") // and the GPT is that of an image in its last LV
	}
}

func TestASuperblockInAGPTPartitionIsNotTheDisks(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		for _, c := range []struct {
			last int64
			want bool
		}{{partEnd, false}, {at090 - 1, true}} {
			disk := gptDisk(sector, 1<<20/uint64(sector), uint64(c.last)/uint64(sector))
			copy(disk[at090:], superblock090(at090-1<<20, 90, binary.LittleEndian))
			s, err := signature.Component(bytes.NewReader(disk), diskSize)
			if err != nil || (s != nil) != c.want {
				t.Errorf("sectors of %d bytes, partition to %d: %v, %v", sector, c.last, s, err)
			}
		}
	}
}

func TestNothingIsSaidOfNoise(t *testing.T) {
	disk := bytes.Repeat([]byte{0xa5, 0x3c, 0x96}, diskSize/3)
	if got := names(t, disk); got != nil {
		t.Errorf("noise looks like %q", got)
	}
}

func TestADeviceOfZerosIsEmptyWhateverItsSize(t *testing.T) {
	for _, size := range []int{1, 511, 512, 513, 1535, 4095, 4097, 65535, 1 << 20, 3<<20 + 1} {
		disk := make([]byte, size)
		if got := names(t, disk); len(got) != 1 || got[0] != "empty device (zeros at both ends)" {
			t.Errorf("%d zeros look like %q", size, got)
		}
		disk[size-1] = 1
		if got := names(t, disk); got != nil {
			t.Errorf("%d zeros and a one look like %q", size-1, got)
		}
	}
	if got := names(t, nil); len(got) != 1 || got[0] != "empty file" {
		t.Errorf("no bytes look like %q", got)
	}
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func TestLookingAtALargeDeviceReadsLittle(t *testing.T) {
	const huge = math.MaxInt64 &^ 4095
	for _, r := range []struct {
		what string
		look func(io.ReaderAt) error
		most int64
	}{
		{"Component", func(r io.ReaderAt) error { _, err := signature.Component(r, huge); return err }, 256 << 10},
		{"Detect", func(r io.ReaderAt) error { _, err := signature.Detect(r, huge); return err }, 4 << 20},
	} {
		rec := &recorder{ReaderAt: zeros{}}
		if err := r.look(rec); err != nil {
			t.Fatal(err)
		}
		if rec.bytes > r.most {
			t.Errorf("%s reads %d bytes, at most %d would do", r.what, rec.bytes, r.most)
		}
	}
}

func FuzzDetect(f *testing.F) {
	const size = 256 << 10
	f.Add([]byte(nil), []byte(nil), int64(0))
	f.Add(mbr([3]uint32{0x8e, 64, 128}), superblock1(size-8<<10, 2), int64(8<<10))
	f.Add(pvDisk(128<<10, 128<<10)[:8192], superblock090(size-64<<10, 90, binary.BigEndian), int64(64<<10))
	f.Add(gptDisk(512, 1, 2)[:2048], []byte("EFI PART"), int64(512))
	f.Add([]byte("LUKS\xba\xbe\x00\x02"), []byte("GEOM::ELI"), int64(512))
	f.Fuzz(func(t *testing.T, start, more []byte, fromEnd int64) {
		disk := make([]byte, size)
		copy(disk, start)
		if fromEnd >= 0 && fromEnd <= size {
			copy(disk[size-fromEnd:], more)
		}
		size := size - int64(len(more))%4096
		r := bytes.NewReader(disk[:size])
		component, err := signature.Component(r, size)
		if err != nil {
			t.Fatal(err)
		}
		found, err := signature.Detect(r, size)
		if err != nil {
			t.Fatal(err)
		}
		if component != nil && (len(found) == 0 || found[0] != *component) {
			t.Fatalf("Component: %v, but Detect: %v", component, found)
		}
		for _, s := range found {
			if s.Offset < 0 || s.Offset > size || s.Name == "" {
				t.Fatalf("%+v in a device of %d bytes", s, size)
			}
		}
	})
}
