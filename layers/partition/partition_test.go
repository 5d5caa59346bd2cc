package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testtable"
)

type part = testtable.Part

func find(t *testing.T, disk []byte, sector int64) *Table {
	t.Helper()
	tables, err := Find(bytes.NewReader(disk), int64(len(disk)), sector)
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != 1 {
		t.Fatalf("got %d tables", len(tables))
	}
	return tables[0]
}

// show is the partitions of a table: number, first byte, bytes, type.
func (t *Table) show() (lines []string) {
	for _, p := range t.Partitions {
		lines = append(lines, fmt.Sprintf("%d: %d+%d %s %s", p.Number, p.Start, p.Size, p.Type, p.Label))
	}
	return lines
}

func (t *Table) expect(test *testing.T, want ...string) {
	test.Helper()
	if diff := cmp.Diff(want, t.show()); diff != "" {
		test.Errorf("partitions (-want +got):\n%s", diff)
	}
}

// warns says that the warnings are of these kinds, and no others.
func (t *Table) warns(test *testing.T, want ...string) {
	test.Helper()
	if len(t.Warnings) != len(want) {
		test.Fatalf("got warnings %v, want %q", t.Warnings, want)
	}
	for i := range want {
		if !strings.Contains(t.Warnings[i].Error(), want[i]) {
			test.Errorf("got warning %q, want %q", t.Warnings[i], want[i])
		}
	}
}

func TestAnMBRHasPrimaryAndLogicalPartitions(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.MBR(disk, part{Number: 1, First: 8, Count: 8, Kind: 0x83}, part{Number: 2, First: 100, Count: 1000, Kind: 0x0f}, part{Number: 4, First: 16, Count: 16, Kind: 0x8e})
	testtable.Logical(disk, 512, 100, part{First: 110, Count: 90, Kind: 0x8e}, part{First: 300, Count: 100, Kind: 0xfd}, part{First: 600, Count: 500, Kind: 0x42})
	table := find(t, disk, 512)
	table.expect(t, "1: 4096+4096 Linux ", "4: 8192+8192 Linux LVM ", "5: 56320+46080 Linux LVM ", "6: 153600+51200 Linux RAID ", "7: 307200+256000 type 42 ")
	table.warns(t)
}

func TestAGPTIsReadWithSectorsOfEitherSize(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		disk := make([]byte, 1<<20)
		testtable.GPT(disk, sector, part{Number: 1, First: 40, Count: 8, Label: "grüße"}, part{Number: 9, First: 60, Count: 50, GUID: "0FC63DAF-8483-4772-8E79-3D69D8477DE4"})
		// The other size is told by a disk that was partitioned behind a bridge with other sectors.
		for _, told := range []int64{0, sector, 512 + 4096 - sector} {
			table := find(t, disk, told)
			if table.Scheme != "GPT" || table.SectorSize != sector {
				t.Errorf("got %s with sectors of %d bytes, want %d", table.Scheme, table.SectorSize, sector)
			}
			table.expect(t, fmt.Sprintf("1: %d+%d Linux LVM grüße", 40*sector, 8*sector), fmt.Sprintf("9: %d+%d Linux ", 60*sector, 50*sector))
			table.warns(t)
		}
	}
}

func TestADamagedGPTIsReadFromItsBackup(t *testing.T) {
	whole := make([]byte, 1<<20)
	testtable.GPT(whole, 512, part{Number: 1, First: 40, Count: 80})
	damage := map[string]struct {
		at   int
		warn string
	}{
		"magic":    {512, "the GPT is lost"},
		"checksum": {512 + 50, "GPT header in sector 1: partition table damaged: checksum"},
		"size":     {512 + 14, "it says that it has"},
		"entry":    {1024 + 33, "GPT entries in sector 2: partition table damaged: checksum"},
	}
	for name, d := range damage {
		t.Run(name, func(t *testing.T) {
			disk := bytes.Clone(whole)
			disk[d.at] ^= 0xff
			table := find(t, disk, 0)
			table.expect(t, "1: 20480+40960 Linux LVM ")
			table.warns(t, d.warn)
		})
	}
}

func TestADamagedBackupIsAWarning(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 80})
	disk[len(disk)-512+60] ^= 1
	table := find(t, disk, 0)
	table.expect(t, "1: 20480+40960 Linux LVM ")
	table.warns(t, "the backup of the GPT cannot be used")
}

func TestADiskThatHasGrownNeedsNoWarning(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 80})
	disk = append(disk, make([]byte, 1<<20)...)
	find(t, disk, 0).warns(t)
	disk[1024] ^= 1 // of the entries: the header still tells where the backup is
	table := find(t, disk, 0)
	table.expect(t, "1: 20480+40960 Linux LVM ")
	table.warns(t, "going by the backup in sector 2047")
	clear(disk[512:1024]) // now the MBR alone does
	table = find(t, disk, 0)
	table.expect(t, "1: 20480+40960 Linux LVM ")
	table.warns(t, "the GPT is lost; going by its backup in sector 2047")
}

func TestAGPTWhoseTwoCopiesAreDamagedIsRefused(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 80})
	disk[512+60] ^= 1
	disk[len(disk)-512+60] ^= 1
	_, err := Find(bytes.NewReader(disk), int64(len(disk)), 0)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "sector 1") || !strings.Contains(err.Error(), "sector 2047") {
		t.Errorf("got %v", err)
	}
	clear(disk[512:1024])
	clear(disk[len(disk)-512:])
	if _, err := Find(bytes.NewReader(disk), int64(len(disk)), 0); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v for an MBR that protects nothing", err)
	}
}

func TestAHybridMBRYieldsToTheGPT(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 80})
	testtable.MBR(disk, part{Number: 2, First: 500, Count: 80, Kind: 0x83})
	table := find(t, disk, 0)
	table.expect(t, "1: 20480+40960 Linux LVM ")
	table.warns(t, "hybrid MBR")
}

func TestAnMBRThatProtectsNothingBeatsAGPT(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 80})
	clear(disk[446:512])
	table := find(t, disk, 0)
	table.warns(t, "no MBR protects the GPT")
	if !table.Unprotected {
		t.Error("it counts as protected")
	}
	testtable.MBR(disk, part{Number: 2, First: 500, Count: 80, Kind: 0x83})
	table = find(t, disk, 512)
	table.expect(t, "2: 256000+40960 Linux ")
	table.warns(t, "going by the MBR")
}

func TestPartitionsBeyondTheEndAreCutOrLeftOut(t *testing.T) {
	disk := make([]byte, 64<<10)
	testtable.MBR(disk, part{Number: 1, First: 100, Count: 100, Kind: 0x8e}, part{Number: 2, First: 200, Count: 100, Kind: 0x8e}, part{Number: 3, First: 90, Count: 20, Kind: 0x83})
	table := find(t, disk, 512)
	table.expect(t, "1: 51200+14336 Linux LVM ", "3: 46080+10240 Linux ")
	table.warns(t, "partition 1 ends beyond", "partition 2 lies beyond", "partitions 1 and 3 overlap")
}

func TestBootCodeIsNoTable(t *testing.T) {
	disk := make([]byte, 64<<10)
	for name, change := range map[string]func(){
		"zeros":              func() {},
		"an empty table":     func() { testtable.MBR(disk) },
		"code among entries": func() { testtable.MBR(disk, part{Number: 1, First: 8, Count: 8, Kind: 0x83}); disk[462] = 0x42 },
		"far away":           func() { testtable.MBR(disk, part{Number: 1, First: 1000, Count: 8, Kind: 0x83}) },
		"its own sector":     func() { testtable.MBR(disk, part{Number: 1, First: 0, Count: 8, Kind: 0x83}) },
	} {
		clear(disk)
		change()
		if tables, err := Find(bytes.NewReader(disk), int64(len(disk)), 0); !errors.Is(err, ErrNone) {
			t.Errorf("%s: got %v, %v", name, tables, err)
		}
	}
	if _, err := Find(bytes.NewReader(disk[:100]), 100, 0); !errors.Is(err, ErrNone) {
		t.Errorf("100 bytes: got %v", err)
	}
}

func TestALoopOfLogicalPartitionsEnds(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.MBR(disk, part{Number: 1, First: 100, Count: 1000, Kind: 5})
	testtable.Logical(disk, 512, 100, part{First: 110, Count: 10, Kind: 0x8e}, part{First: 200, Count: 10, Kind: 0x8e}, part{First: 300, Count: 10, Kind: 0x8e})
	e := disk[299*512+446+16:][:16] // from the third back to the second
	e[4] = 5
	binary.LittleEndian.PutUint32(e[8:], 99)
	binary.LittleEndian.PutUint32(e[12:], 11)
	table := find(t, disk, 512)
	table.expect(t, "5: 56320+5120 Linux LVM ", "6: 102400+5120 Linux LVM ", "7: 153600+5120 Linux LVM ")
	table.warns(t, "loop")
}

func TestABrokenChainLosesOnlyWhatFollows(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.MBR(disk, part{Number: 1, First: 100, Count: 1000, Kind: 5})
	testtable.Logical(disk, 512, 100, part{First: 110, Count: 10, Kind: 0x8e}, part{First: 200, Count: 10, Kind: 0x8e})
	disk[199*512+510] = 0
	table := find(t, disk, 512)
	table.expect(t, "5: 56320+5120 Linux LVM ")
	table.warns(t, "no record of a logical partition in sector 199")
}

func TestAnImageOf4096ByteSectorsIsToldByItsExtendedPartition(t *testing.T) {
	disk := make([]byte, 8<<20)
	testtable.MBR(disk, part{Number: 1, First: 10, Count: 90, Kind: 0x83}, part{Number: 2, First: 100, Count: 1000, Kind: 5})
	testtable.Logical(disk, 4096, 100, part{First: 110, Count: 10, Kind: 0x8e})
	table := find(t, disk, 0)
	table.expect(t, "1: 40960+368640 Linux ", "5: 450560+40960 Linux LVM ")
	table.warns(t)
}

func TestWhereBothSectorSizesMakeSenseBothTablesAreGiven(t *testing.T) {
	disk := make([]byte, 8<<20)
	testtable.MBR(disk, part{Number: 1, First: 10, Count: 90, Kind: 0x83})
	tables, err := Find(bytes.NewReader(disk), int64(len(disk)), 0)
	if err != nil || len(tables) != 2 || tables[0].SectorSize != 512 || tables[1].SectorSize != 4096 {
		t.Errorf("got %v, %v", tables, err)
	}
}

type broken struct{ *bytes.Reader }

var errBroken = errors.New("broken")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off < 1024 && off+int64(len(p)) > 512 {
		return 0, errBroken
	}
	return b.Reader.ReadAt(p, off)
}

func TestATableThatCannotBeReadIsAnError(t *testing.T) {
	disk := make([]byte, 1<<20)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 80})
	if _, err := Find(broken{bytes.NewReader(disk)}, int64(len(disk)), 512); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

// FuzzFind puts boot records, a GPT header and GPT entries on a disk. It makes the checksums right, so that what is
// behind them is reached.
func FuzzFind(f *testing.F) {
	disk := make([]byte, 64<<10)
	testtable.GPT(disk, 512, part{Number: 1, First: 40, Count: 20}, part{Number: 2, First: 60, Count: 20})
	f.Add(bytes.Clone(disk[:512]), bytes.Clone(disk[512:604]), bytes.Clone(disk[1024:1280]), []byte{})
	clear(disk)
	testtable.MBR(disk, part{Number: 1, First: 10, Count: 100, Kind: 5})
	testtable.Logical(disk, 512, 10, part{First: 20, Count: 10, Kind: 0x8e}, part{First: 40, Count: 10, Kind: 0x8e})
	f.Add(bytes.Clone(disk[:512]), []byte{}, []byte{}, bytes.Clone(disk[5120:5632]))
	f.Fuzz(func(t *testing.T, boot, header, entries, logical []byte) {
		for _, sector := range []int64{512, 4096} {
			disk := make([]byte, 64<<10)
			size := int64(len(disk))
			copy(disk[10*sector:], logical)
			copy(disk[2*sector:], entries[:min(len(entries), 1024)])
			copy(disk, boot[:min(len(boot), 512)])
			h := disk[sector:][:92]
			copy(h, header)
			binary.LittleEndian.PutUint32(h[12:], 92)
			binary.LittleEndian.PutUint64(h[24:], 1)
			n := int64(binary.LittleEndian.Uint32(h[80:])) * int64(binary.LittleEndian.Uint32(h[84:]))
			if at := int64(binary.LittleEndian.Uint64(h[72:])); at == 2 && n > 0 && n < size-2*sector {
				binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(disk[2*sector:][:n]))
			}
			clear(h[16:20])
			binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
			checkFind(t, disk)
		}
	})
}

func checkFind(t *testing.T, disk []byte) {
	t.Helper()
	size := int64(len(disk))
	for _, sector := range []int64{0, 512, 4096} {
		tables, err := Find(bytes.NewReader(disk), size, sector)
		if (len(tables) == 0) != (err != nil) {
			t.Fatalf("%d tables and %v", len(tables), err)
		}
		for _, table := range tables {
			for _, p := range table.Partitions {
				if p.Start <= 0 || p.Size <= 0 || p.Start+p.Size > size || p.Number < 1 {
					t.Fatalf("%+v on %d bytes", p, size)
				}
			}
		}
	}
}
