package ondisk

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCRCVectors(t *testing.T) {
	for in, want := range map[string]uint32{
		"":                        0xf597a6cf,
		"123456789":               0x4991cf02,
		string(make([]byte, 512)): 0x6790aecb,
	} {
		if got := CRC([]byte(in)); got != want {
			t.Errorf("of %d bytes: %08x, want %08x", len(in), got, want)
		}
	}
}

// example is the sector that docs/format/01-label-and-metadata-area.md, section 4 draws, byte
// for byte, on a device of 0x2000000 bytes.
func example() disk {
	sector := "4c4142454c4f4e45" + "0100000000000000" + "00000000" + "20000000" + "4c564d3220303031" +
		hex.EncodeToString([]byte(uuid)) +
		"0000000200000000" +
		"0000100000000000" + "0000000000000000" +
		"0000000000000000" + "0000000000000000" +
		"0010000000000000" + "00f00f0000000000" +
		"0000000000000000" + "0000000000000000" +
		"02000000" + "01000000" +
		"0000000000000000" + "0000000000000000"
	d := make(disk, 4096)
	if _, err := hex.Decode(d[512:], []byte(sector)); err != nil {
		panic(err)
	}
	d.sealLabel(1)
	return d
}

func TestTheExampleHeaderIsRead(t *testing.T) {
	h, err := ReadHeader(example(), 4096)
	if err != nil {
		t.Fatal(err)
	}
	want := &Header{
		LabelSector:   1,
		UUID:          uuid,
		DeviceSize:    0x2000000,
		DataAreas:     []Area{{0x100000, 0}},
		MetadataAreas: []Area{{0x1000, 0xff000}},
		Version:       2,
		Flags:         1,
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !h.InUse() {
		t.Error("not in use")
	}
}

// TestEachFieldIsReadFromItsOffset writes each byte of the example header alone.
func TestEachFieldIsReadFromItsOffset(t *testing.T) {
	const at = 512
	for _, test := range []struct {
		name   string
		off    int
		bytes  string
		change func(*Header)
	}{
		{"UUID", 32, strings.Repeat("7a", 32), func(h *Header) { h.UUID = strings.Repeat("z", 32) }},
		{"device size", 64, "0807060504030201", func(h *Header) { h.DeviceSize = 0x0102030405060708 }},
		{"data area's offset", 72, "0807060504030201", func(h *Header) { h.DataAreas[0].Offset = 0x0102030405060708 }},
		{"data area's size", 80, "0807060504030201", func(h *Header) { h.DataAreas[0].Size = 0x0102030405060708 }},
		{"metadata area's offset", 104, "0807060504030201", func(h *Header) { h.MetadataAreas[0].Offset = 0x0102030405060708 }},
		{"metadata area's size", 112, "0807060504030201", func(h *Header) { h.MetadataAreas[0].Size = 0x0102030405060708 }},
		{"extension's version", 136, "04030201", func(h *Header) { h.Version = 0x01020304 }},
		{"extension's flags", 140, "04030201", func(h *Header) { h.Flags = 0x01020304 }},
		{"bootloader area", 144, "0807060504030201" + "1817161514131211", func(h *Header) {
			h.BootAreas = []Area{{0x0102030405060708, 0x1112131415161718}}
		}},
		{"size in a terminator", 96, "ffffffffffffffff", func(*Header) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := example()
			want, err := ReadHeader(d, d.size())
			if err != nil {
				t.Fatal(err)
			}
			test.change(want)
			if _, err := hex.Decode(d[at+test.off:], []byte(test.bytes)); err != nil {
				t.Fatal(err)
			}
			d.sealLabel(1)
			got, err := ReadHeader(d, d.size())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTheLabelIsFoundInEachOfTheFirstFourSectors(t *testing.T) {
	for sector := range 4 {
		d := make(disk, 8192)
		d.label(sector, 8192)
		h, err := ReadHeader(d, d.size())
		if err != nil || h.LabelSector != sector {
			t.Errorf("sector %d: %+v, %v", sector, h, err)
		}
	}
	d := make(disk, 8192)
	d.label(4, 8192)
	if _, err := ReadHeader(d, d.size()); !errors.Is(err, ErrNoLabel) {
		t.Errorf("in the fifth sector: %v, want ErrNoLabel", err)
	}
}

func TestTheFirstValidLabelCounts(t *testing.T) {
	d := make(disk, 8192)
	d.label(1, 111)
	d.label(3, 333)
	h, err := ReadHeader(d, d.size())
	if err != nil || h.DeviceSize != 111 {
		t.Errorf("of two: %+v, %v", h, err)
	}
	d[512+70]++
	h, err = ReadHeader(d, d.size())
	if err != nil || h.DeviceSize != 333 {
		t.Errorf("with the first damaged: %+v, %v", h, err)
	}
}

func TestADeviceWithoutALabelSaysSo(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 2047, 2048, 1 << 20} {
		if _, err := ReadHeader(make(disk, size), int64(size)); !errors.Is(err, ErrNoLabel) {
			t.Errorf("%d zeros: %v, want ErrNoLabel", size, err)
		}
	}
	d := example()
	if _, err := ReadHeader(d[:1023], 1023); !errors.Is(err, ErrNoLabel) {
		t.Errorf("cut within the label: %v, want ErrNoLabel", err)
	}
}

func TestListsOfManyAreas(t *testing.T) {
	d := make(disk, 8192)
	d.label(1, 1<<30,
		1<<20, 4096, 2<<20, 0, 0, 0,
		4096, 126976, 100597760, 65536, 0, 0,
		1<<32|2, 131072, 131072, 0, 0)
	h, err := ReadHeader(d, d.size())
	if err != nil {
		t.Fatal(err)
	}
	want := &Header{
		LabelSector:   1,
		UUID:          uuid,
		DeviceSize:    1 << 30,
		DataAreas:     []Area{{1 << 20, 4096}, {2 << 20, 0}},
		MetadataAreas: []Area{{4096, 126976}, {100597760, 65536}},
		BootAreas:     []Area{{131072, 131072}},
		Version:       2,
		Flags:         1,
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAPVMayHaveNoMetadataArea(t *testing.T) {
	d := make(disk, 8192)
	d.label(1, 1<<30, 1<<20, 0, 0, 0, 0, 0, 1<<32|2)
	h, err := ReadHeader(d, d.size())
	if err != nil || len(h.MetadataAreas) != 0 || len(h.DataAreas) != 1 || !h.InUse() {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestAnOldHeaderHasNoExtension(t *testing.T) {
	d := make(disk, 8192)
	d.label(1, 1<<30, 1<<20, 0, 0, 0, 4096, 8192, 0, 0, 1<<32, 4096, 4096)
	h, err := ReadHeader(d, d.size())
	if err != nil || h.Version != 0 || h.InUse() || h.BootAreas != nil {
		t.Errorf("version 0: %+v, %v", h, err)
	}

	// From byte 72 of the sector, 25 areas and two terminators leave 8 bytes: room for
	// version and flags, and none for a list.
	words := []uint64{1 << 30}
	for range 25 {
		words = append(words, 1<<20, 0)
	}
	words = append(words, 0, 0, 0, 0)
	d.label(1, words...)
	if h, err = ReadHeader(d, d.size()); err != nil || len(h.DataAreas) != 25 || h.Version != 0 {
		t.Errorf("zeros: %+v, %v", h, err)
	}
	d[512+504] = 1
	d.sealLabel(1)
	if h, err = ReadHeader(d, d.size()); err == nil {
		t.Errorf("no room for the list of bootloader areas: %+v", h)
	}

	// 8 bytes further on, the lists fill the sector.
	copy(d[512+40:1024], d[512+32:])
	d.put32(512+20, 40)
	d.sealLabel(1)
	if h, err = ReadHeader(d, d.size()); err != nil || len(h.DataAreas) != 25 || h.Version != 0 {
		t.Errorf("no room for the extension: %+v, %v", h, err)
	}
}

func TestThePVHeaderMayLieElsewhereInTheSector(t *testing.T) {
	d := example()
	copy(d[512+64:1024], d[512+32:])
	d.put32(512+20, 64)
	d.sealLabel(1)
	h, err := ReadHeader(d, d.size())
	if err != nil || h.UUID != uuid || h.MetadataAreas[0] != (Area{0x1000, 0xff000}) {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestADamagedLabelSaysWhatIsWrongAndWhere(t *testing.T) {
	full := []uint64{1 << 30}
	for range 27 {
		full = append(full, 1<<20, 0)
	}
	for _, test := range []struct {
		name   string
		damage func(d disk)
		is     error
		want   string
	}{
		{"contents", func(d disk) { d[512+40]++ }, ErrChecksum, "PV label at byte 512: checksum mismatch: "},
		{"sector number", func(d disk) { d[512+8] = 3 }, ErrFormat, "PV label at byte 512: invalid format: it says it is in sector 3, and is in sector 1"},
		{"type", func(d disk) { copy(d[512+24:], "LVM1 001"); d.sealLabel(1) }, ErrFormat, `PV label at byte 512: invalid format: type "LVM1 001"`},
		{"header too far", func(d disk) { d.put32(512+20, 512-32); d.sealLabel(1) }, ErrFormat, "PV label at byte 512: invalid format: PV header at byte 480 of the sector"},
		{"header far beyond", func(d disk) { d.put32(512+20, math.MaxUint32); d.sealLabel(1) }, ErrFormat, "PV label at byte 512: invalid format: PV header at byte 4294967295"},
		{"header in the label", func(d disk) { d.put32(512+20, 31); d.sealLabel(1) }, ErrFormat, "PV label at byte 512: invalid format: PV header at byte 31"},
		{"UUID", func(d disk) { d[512+32] = '-'; d.sealLabel(1) }, ErrFormat, "PV header at byte 544: invalid format: UUID "},
		{"device size", func(d disk) { d[512+64+7] = 0x80; d.sealLabel(1) }, ErrFormat, "PV header at byte 544: device size: invalid format"},
		{"data area", func(d disk) { d[512+72+7] = 0x80; d.sealLabel(1) }, ErrFormat, "PV header at byte 544: data areas: invalid format"},
		{"sum of data area", func(d disk) { d.put64(512+72, math.MaxInt64, 1); d.sealLabel(1) }, ErrFormat, "PV header at byte 544: data areas: invalid format"},
		{"metadata area", func(d disk) { d[512+112+7] = 0x80; d.sealLabel(1) }, ErrFormat, "PV header at byte 544: metadata areas: invalid format"},
		{"endless list", func(d disk) { d.label(1, full...) }, ErrFormat, "PV header at byte 544: data areas: invalid format: the list does not end"},
		{"no second list", func(d disk) { d.label(1, append(full[:1+2*26:1+2*26], 0, 0)...) }, ErrFormat, "PV header at byte 544: metadata areas: invalid format: the list does not end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := example()
			test.damage(d)
			h, err := ReadHeader(d, d.size())
			if err == nil {
				t.Fatalf("read as %+v", h)
			}
			if !errors.Is(err, test.is) || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestEveryFlippedBitInTheLabelIsAnError(t *testing.T) {
	d := example()
	for bit := range 512 * 8 {
		d[512+bit/8] ^= 1 << (bit % 8)
		h, err := ReadHeader(d, d.size())
		if err == nil {
			t.Fatalf("bit %d of byte %d: read as %+v", bit%8, bit/8, h)
		}
		if inMagic := bit/8 < 8; inMagic != errors.Is(err, ErrNoLabel) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		d[512+bit/8] ^= 1 << (bit % 8)
	}
}

func TestAnUnreadableSectorIsAnErrorUnlessTheLabelIsInAnother(t *testing.T) {
	broken := errors.New("medium error")
	d := example()
	if h, err := ReadHeader(failing{d, 0, 512, broken}, d.size()); err != nil || h.LabelSector != 1 {
		t.Errorf("sector 0: %+v, %v", h, err)
	}
	_, err := ReadHeader(failing{d, 512, 1024, broken}, d.size())
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "at byte 512") {
		t.Errorf("sector 1: %v", err)
	}
	if _, err := ReadHeader(d[:600], 4096); err == nil || errors.Is(err, ErrNoLabel) {
		t.Errorf("a device shorter than it says: %v", err)
	}
}

func ExampleReadHeader() {
	d := example()
	h, err := ReadHeader(d, d.size())
	fmt.Println(h.UUID, h.MetadataAreas, err)
	// Output: yI4fVH3sBtMqm7ZgD5eNRmuW2LivfRkx [{4096 1044480}] <nil>
}
