package partition

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// sfdisk is what util-linux reads of a table: number, first byte and bytes of each partition, but for
// extended ones.
func sfdisk(t *testing.T, path string) map[string][2]int64 {
	t.Helper()
	out, err := exec.Command("sfdisk", "--json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		PartitionTable struct {
			SectorSize int64
			Partitions []struct {
				Node, Type  string
				Start, Size int64
			}
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	found := map[string][2]int64{}
	table := report.PartitionTable
	for _, p := range table.Partitions {
		if p.Type == "5" || p.Type == "f" || p.Type == "85" {
			continue
		}
		number := strings.TrimLeft(strings.TrimPrefix(p.Node, path), "p")
		found[number] = [2]int64{p.Start * table.SectorSize, p.Size * table.SectorSize}
	}
	return found
}

func ours(t *testing.T, path string) map[string][2]int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := Find(f, info.Size(), 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][2]int64{}
	for _, p := range tables[0].Partitions {
		found[jsonNumber(p.Number)] = [2]int64{p.Start, p.Size}
	}
	return found
}

func jsonNumber(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestTablesOfSfdiskAreReadAsSfdiskReadsThem(t *testing.T) {
	testenv.NeedTools(t, "sfdisk")
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for name, script := range map[string]string{
		"dos, four primaries":   "label: dos\nsize=1M\nsize=2M,type=8e\nsize=1M\nsize=3M",
		"dos, logical":          "label: dos\nsize=1M\nsize=20M,type=5\nsize=2M,type=8e\nsize=3M\nsize=1M,type=8e\nsize=1M,type=fd",
		"dos, out of order":     "label: dos\n3: start=2048,size=4096\n1: start=20480,size=4096,type=8e\n2: start=8192,size=2048",
		"gpt":                   "label: gpt\nsize=1M\nsize=2M,type=E6D6D379-F507-44C2-A23C-238F2A3DF928,name=\"one\"\nsize=3M",
		"gpt, numbers apart":    "label: gpt\n5: size=1M\n17: size=2M\n128: size=1M",
		"gpt, a long table":     "label: gpt\ntable-length: 256\n200: size=2M",
		"gpt, unaligned starts": "label: gpt\nstart=2049,size=77\nstart=5001,size=1",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.img")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 64<<20); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sfdisk", "-q", path)
			cmd.Stdin = strings.NewReader(script + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if diff := cmp.Diff(sfdisk(t, path), ours(t, path)); diff != "" {
				t.Errorf("(-sfdisk +ours):\n%s", diff)
			}
		})
	}
}

func TestTablesOfTheImagesAreReadAsSfdiskReadsThem(t *testing.T) {
	testenv.NeedTools(t, "sfdisk")
	testenv.NeedImages(t)
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, name := range []string{"part-mbr", "part-gpt"} {
		path := testimages.Load(t, name).Unpack(t)[0]
		if diff := cmp.Diff(sfdisk(t, path), ours(t, path)); diff != "" {
			t.Errorf("%s (-sfdisk +ours):\n%s", name, diff)
		}
	}
}
