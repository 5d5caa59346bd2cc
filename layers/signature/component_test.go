package signature_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/layers/signature"
)

const (
	diskSize = 8 << 20
	pvUUID   = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg"
)

// pvDisk is a device of size bytes with a PV that says it has pvSize.
func pvDisk(pvSize, size int64) []byte {
	return append(testpv.New("pv", pvUUID, pvSize, "").Bytes, make([]byte, size-pvSize)...)
}

// superblock1 is an MD superblock of version 1 that says that it is at off.
func superblock1(off int64, roles int) []byte {
	sb := make([]byte, 256+2*roles)
	le := binary.LittleEndian
	le.PutUint32(sb, 0xa92b4efc)
	le.PutUint32(sb[4:], 1)
	copy(sb[32:], "host:array")
	le.PutUint64(sb[144:], uint64(off/512))
	le.PutUint32(sb[220:], uint32(roles))
	for i := range roles {
		le.PutUint16(sb[256+2*i:], uint16(i))
	}
	le.PutUint32(sb[216:], foldedSum(sb, le))
	return sb
}

// superblock090 is one of version 0.90, of an array that uses size bytes of each member.
func superblock090(size int64, minor uint32, order binary.ByteOrder) []byte {
	sb := make([]byte, 4096)
	order.PutUint32(sb, 0xa92b4efc)
	order.PutUint32(sb[8:], minor)
	order.PutUint32(sb[7*4:], 1)
	order.PutUint32(sb[8*4:], uint32(size/1024))
	order.PutUint32(sb[900*4:], 0xfffffff0) // so that the sum has something to fold
	order.PutUint32(sb[901*4:], 0xfffffff0)
	order.PutUint32(sb[38*4:], foldedSum(sb, order))
	return sb
}

func foldedSum(b []byte, order binary.ByteOrder) uint32 {
	padded := append(bytes.Clone(b), 0, 0)
	var sum uint64
	for i := 0; i < len(b); i += 4 {
		sum += uint64(order.Uint32(padded[i:]))
	}
	return uint32(sum>>32) + uint32(sum)
}

// Places in a device of diskSize bytes.
const (
	at090   = diskSize - 64<<10
	at10    = diskSize - 8<<10
	partEnd = diskSize - 32<<10
)

// mbr is a boot sector with entries of {type, first, count}.
func mbr(entries ...[3]uint32) []byte {
	b := make([]byte, 512)
	b[510], b[511] = 0x55, 0xaa
	for i, e := range entries {
		b[446+16*i+4] = byte(e[0])
		binary.LittleEndian.PutUint32(b[446+16*i+8:], e[1])
		binary.LittleEndian.PutUint32(b[446+16*i+12:], e[2])
	}
	return b
}

type put struct {
	at    int64
	bytes []byte
}

func damaged(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestAPVLabelIsNotBelievedOnAComponentAndNoPVIsTakenForOne(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	bare := func() []byte { return pvDisk(diskSize, diskSize) }
	inside := func() []byte { return pvDisk(at090-64<<10, diskSize) } // ends before any mark at the end
	none := func() []byte { return make([]byte, diskSize) }
	for _, c := range []struct {
		what string
		disk func() []byte
		puts []put
		want string // "" for no component
	}{
		{"a PV", bare, nil, ""},
		{"a PV smaller than its device", inside, nil, ""},

		{"superblock 1.1", none, []put{{0, superblock1(0, 2)}}, "Linux MD member (superblock 1.1, array host:array)"},
		{"superblock 1.2", bare, []put{{4096, superblock1(4096, 2)}}, "Linux MD member (superblock 1.2, array host:array)"},
		{"an odd number of roles", bare, []put{{4096, superblock1(4096, 5)}}, "Linux MD member (superblock 1.2, array host:array)"},
		{"as many roles as there can be", bare, []put{{4096, superblock1(4096, 1920)}}, "Linux MD member (superblock 1.2, array host:array)"},
		{"more roles than there can be", bare, []put{{4096, superblock1(4096, 1921)}}, "Linux MD member (superblock 1.2, array host:array, checksum wrong)"},
		{"a damaged superblock at the start", bare, []put{{4096, damaged(superblock1(4096, 2), 80)}}, "Linux MD member (superblock 1.2, array host:array, checksum wrong)"},
		{"one with a role damaged", bare, []put{{4096, damaged(superblock1(4096, 2), 258)}}, "Linux MD member (superblock 1.2, array host:array, checksum wrong)"},
		{"a superblock moved to the start", bare, []put{{4096, superblock1(0, 2)}}, "Linux MD member (superblock 1.2, array host:array, not in its place)"},
		{"a name that is not fit for a terminal", bare, []put{{4096, func() []byte {
			sb := superblock1(4096, 2)
			copy(sb[32:], "a\x1b[2Jb")
			return sb
		}()}}, "Linux MD member (superblock 1.2, checksum wrong)"},

		{"superblock 1.0", inside, []put{{at10, superblock1(at10, 2)}}, "Linux MD member (superblock 1.0, array host:array)"},
		{"a damaged superblock 1.0 that says it is there", inside, []put{{at10, damaged(superblock1(at10, 2), 80)}}, "Linux MD member (superblock 1.0, array host:array, checksum wrong)"},
		{"superblock 1.0 of another place", inside, []put{{at10, superblock1(at10-4096, 2)}}, ""},
		{"superblock 1.0 in the last LV of a PV", bare, []put{{at10, superblock1(at10, 2)}}, ""},

		{"superblock 0.90", inside, []put{{at090, superblock090(at090, 90, le)}}, "Linux MD member (superblock 0.90)"},
		{"superblock 0.90, smaller array", inside, []put{{at090, superblock090(at090/2, 90, le)}}, "Linux MD member (superblock 0.90)"},
		{"superblock 0.90 while reshaping", inside, []put{{at090, superblock090(at090, 91, le)}}, "Linux MD member (superblock 0.90)"},
		{"superblock 0.90, big-endian", inside, []put{{at090, superblock090(at090, 90, be)}}, "Linux MD member (superblock 0.90, big-endian)"},
		{"superblock 0.90, no PV", none, []put{{at090, superblock090(at090, 90, le)}}, "Linux MD member (superblock 0.90)"},
		{"superblock 0.90, damaged", inside, []put{{at090, damaged(superblock090(at090, 90, le), 100)}}, ""},
		{"superblock 0.90 of a larger array", inside, []put{{at090, superblock090(at090+1024, 90, le)}}, ""},
		{"superblock 0.90 of another version", inside, []put{{at090, superblock090(at090, 89, le)}}, ""},
		{"superblock 0.90 in the last LV of a PV", bare, []put{{at090, superblock090(at090/2, 90, le)}}, ""},
		{"superblock 0.90 in the last partition", none, []put{
			{at090, superblock090(at090-1<<20, 90, le)},
			{0, mbr([3]uint32{0x83, 2048, (partEnd - 1<<20) / 512})},
		}, ""},
		{"superblock 0.90 behind the last partition, of the whole disk", none, []put{
			{at090, superblock090(at090, 90, le)},
			{0, mbr([3]uint32{0x83, 2048, 2048})},
		}, "Linux MD member (superblock 0.90)"},

		{"LUKS1", bare, []put{{0, []byte("LUKS\xba\xbe\x00\x01")}}, "LUKS1 container"},
		{"LUKS2", bare, []put{{0, []byte("LUKS\xba\xbe\x00\x02")}}, "LUKS2 container"},
		{"LUKS2 without its first header", none, []put{{64 << 10, []byte("SKUL\xba\xbe\x00\x02")}}, "LUKS2 container (its first header is lost)"},
		{"what is left of a LUKS2 under a PV", bare, []put{{16 << 10, []byte("SKUL\xba\xbe\x00\x02")}}, ""},

		{"IMSM", inside, []put{{diskSize - 1024, []byte("Intel Raid ISM Cfg Sig. 1.3.00")}}, "member of an Intel Matrix (IMSM) RAID"},
		{"IMSM, 4096-byte sectors", inside, []put{{diskSize - 8192, []byte("Intel Raid ISM Cfg Sig. 1.3.00")}}, "member of an Intel Matrix (IMSM) RAID"},
		{"IMSM in the last LV of a PV", bare, []put{{diskSize - 1024, []byte("Intel Raid ISM Cfg Sig. 1.3.00")}}, ""},
		{"DDF", inside, []put{{diskSize - 512, []byte("\xde\x11\xde\x11")}}, "member of a DDF RAID"},
		{"NVIDIA", inside, []put{{diskSize - 1024, []byte("NVIDIA")}}, "member of an NVIDIA RAID"},
		{"Promise", inside, []put{{diskSize - 63*512, []byte("Promise Technology, Inc.")}}, "member of a Promise FastTrak RAID"},

		{"GELI", inside, []put{{diskSize - 512, []byte("GEOM::ELI\x00\x00\x00\x00\x00\x00\x00")}}, "GELI container (FreeBSD)"},
		{"gmirror", inside, []put{{diskSize - 512, []byte("GEOM::MIRROR\x00\x00\x00\x00")}}, "member of a FreeBSD gmirror"},
		{"gmirror, 4096-byte sectors", inside, []put{{diskSize - 4096, []byte("GEOM::MIRROR\x00\x00\x00\x00")}}, "member of a FreeBSD gmirror"},
		{"glabel, which changes nothing", inside, []put{{diskSize - 512, []byte("GEOM::LABEL\x00\x00\x00\x00\x00")}}, ""},

		{"DRBD v08", inside, []put{{diskSize - 4096 + 60, []byte("\x83\x74\x02\x6b")}}, "DRBD backing device"},
		{"DRBD v09", inside, []put{{diskSize - 4096 + 60, []byte("\x83\x74\x02\x6d")}}, "DRBD backing device"},
		{"bcache", bare, []put{{4096 + 24, []byte("\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")}}, "bcache device"},
		{"an rmeta LV", none, []put{{0, []byte("DmRd")}}, "metadata leg of an LVM RAID LV (dm-raid)"},
		{"VDO", none, []put{{0, []byte("dmvdo001")}}, "VDO storage"},
		{"BitLocker", none, []put{{3, []byte("-FVE-FS-")}}, "BitLocker container"},
	} {
		disk := c.disk()
		for _, p := range c.puts {
			copy(disk[p.at:], p.bytes)
		}
		got := ""
		s, err := signature.Component(bytes.NewReader(disk), int64(len(disk)))
		if s != nil {
			got = s.Name
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.what, got, err, c.want)
		}
	}
}

// The whole disk shows the superblock as its own. It is found from the partition that it belongs to.
func TestASuperblockInTheLastPartitionIsThePartitions(t *testing.T) {
	const start = 1 << 20
	disk := make([]byte, diskSize)
	copy(disk, mbr([3]uint32{0xfd, start / 512, (partEnd - start) / 512}))
	copy(disk[at090-64<<10:], superblock090(at090-64<<10-start, 90, binary.LittleEndian))
	copy(disk[at090:], superblock090(at090-start, 90, binary.LittleEndian))

	if s, err := signature.Component(bytes.NewReader(disk), diskSize); s != nil || err != nil {
		t.Errorf("the disk: %v, %v; want nothing", s, err)
	}
	part := disk[start:partEnd]
	s, err := signature.Component(bytes.NewReader(part), int64(len(part)))
	if s == nil || err != nil || s.Offset != at090-64<<10-start {
		t.Errorf("the partition: %v, %v; want an MD member", s, err)
	}
}

func TestTheEndOfADiskInAFixedVHDIsBeforeTheFooter(t *testing.T) {
	disk := pvDisk(at10-4096, diskSize)
	copy(disk[at10:], superblock1(at10, 2))
	footer := make([]byte, 512)
	copy(footer, "conectix")
	footer[63] = 2
	disk = append(disk, footer...)
	s, err := signature.Component(bytes.NewReader(disk), int64(len(disk)))
	if s == nil || err != nil || s.Offset != at10 {
		t.Errorf("%v, %v; want an MD member with its superblock at %d", s, err, at10)
	}
}

// recorder notes what is read.
type recorder struct {
	io.ReaderAt
	reads [][2]int64
	bytes int64
}

func (r *recorder) ReadAt(p []byte, off int64) (int, error) {
	r.reads = append(r.reads, [2]int64{off, int64(len(p))})
	r.bytes += int64(len(p))
	return r.ReaderAt.ReadAt(p, off)
}

func TestAPlaceThatCannotBeReadIsAnErrorAndNotNo(t *testing.T) {
	for what, pv := range map[string]int64{"bare PV": diskSize, "PV that ends early": at090 - 64<<10} {
		all := &recorder{ReaderAt: bytes.NewReader(pvDisk(pv, diskSize))}
		if s, err := signature.Component(all, diskSize); s != nil || err != nil {
			t.Fatal(s, err)
		}
		if len(all.reads) < 4 {
			t.Fatalf("only %d reads", len(all.reads))
		}
		for _, r := range all.reads {
			disk := testpv.New("pv", pvUUID, pv, "")
			disk.Bytes = append(disk.Bytes, make([]byte, diskSize-pv)...)
			disk.Break(r[0], r[0]+1)
			s, err := signature.Component(disk, diskSize)
			if s != nil || !errors.Is(err, testpv.ErrIO) || !strings.Contains(err.Error(), "at byte ") {
				t.Errorf("%s, bad byte %d: %v, %v; want an error", what, r[0], s, err)
			}
			found, err := signature.Detect(disk, diskSize)
			if !errors.Is(err, testpv.ErrIO) {
				t.Errorf("%s, bad byte %d: Detect gives no error", what, r[0])
			}
			if r[0] > 4096 && (len(found) != 1 || found[0].Kind != signature.KindPV) {
				t.Errorf("%s, bad byte %d: Detect finds %v, want the PV beside the error", what, r[0], found)
			}
		}
	}
}

func TestADeviceThatEndsBeforeItsSizeIsAnError(t *testing.T) {
	if _, err := signature.Component(bytes.NewReader(make([]byte, 4096)), diskSize); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v; want ErrUnexpectedEOF", err)
	}
}
