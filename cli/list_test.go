package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/scan"
)

func TestPrintableLeavesNothingThatATerminalObeys(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"vg-multi_1.x+y", "vg-multi_1.x+y"},
		{"Größe 硬盘", "Größe 硬盘"},
		{"a\x1b[31mred", `a\x1b[31mred`},
		{"bell\a tab\t line\n", `bell\x07 tab\x09 line\x0a`},
		{"C1 \u009b31m", `C1 \u009b31m`},
		{"reversed \u202egnp.exe", `reversed \u202egnp.exe`},
		{"not \xff UTF-8 \xc3", `not \xff UTF-8 \xc3`},
		{"tag \U000e0041", `tag \U000e0041`},
	} {
		if got := printable(test.in); got != test.want {
			t.Errorf("printable(%q) is %q, want %q", test.in, got, test.want)
		}
	}
}

func TestSizesAreExactOrHaveTwoDecimals(t *testing.T) {
	for bytes, want := range map[int64]string{
		0:            "0 B",
		512:          "512 B",
		1024:         "1 KiB",
		1536:         "1.50 KiB",
		12 << 20:     "12 MiB",
		5<<30 + 1:    "5.00 GiB",
		1<<40 - 1024: "1024.00 GiB",
		3 << 60:      "3 EiB",
	} {
		if got := humanSize(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}

// listText is what list prints of a VG in memory.
func listText(t testing.TB, write func(*listing, *bufio.Writer) error, vg testpv.VG) string {
	t.Helper()
	var devices []lvm2.Device
	for _, d := range vg.Disks() {
		devices = append(devices, d)
	}
	return listScan(t, write, inMemory(t, devices...))
}

// inMemory is what is found on devices.
func inMemory(t testing.TB, devices ...mapping.Device) *scan.Result {
	t.Helper()
	s, err := scan.Open(context.Background(), nil, scan.Options{Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	return s.Result()
}

func listScan(t testing.TB, write func(*listing, *bufio.Writer) error, scan *scan.Result) string {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := write(newListing(scan, true), w); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return out.String()
}

var writers = map[string]func(*listing, *bufio.Writer) error{
	"tables": func(l *listing, w *bufio.Writer) error { return l.writeTables(w, layout{headings: true}) },
	"tree":   func(l *listing, w *bufio.Writer) error { return l.writeTree(w, layout{headings: true}) },
	"JSON":   func(l *listing, w *bufio.Writer) error { return l.writeJSON(w, nil) },
}

func TestNamesFromDiskDoNothingToATerminal(t *testing.T) {
	vg := testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda"},
		PVExtra: "device = \"/dev/\x1b]0;title\x07\"\ntags = [\"\x1b[2J\"]",
		Extra:   "system_id = \"\x1b[31mhost\u202e\"\ntags = [\"\u009b1m\"]",
		LVs: []testpv.LV{{
			Name:     "lv",
			Extra:    "tags = [\"\r\x1b[A\"]\ncreation_host = \"\x1b[5m\"\ncreation_time = 1",
			Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"\x1b[7mfrob\""},
		}},
	}
	for name, write := range writers {
		for _, r := range listText(t, write, vg) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s contain %q", name, r)
				break
			}
		}
	}
}

func TestATreeOfLVsThatLieOnEachOtherEnds(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "a", Segments: []string{testpv.Linear(0, 1, "b", 0), testpv.Linear(1, 1, "pv0", 0)}},
		{Name: "b", Segments: []string{testpv.Linear(0, 2, "a", 0)}},
		{Name: "c", Segments: []string{testpv.Linear(0, 2, "c", 0)}},
	}}
	want := `
  Name          Size  Type    Notes
  sda        400 KiB  PV
  └─vg                VG
    └─a        8 KiB  linear  damaged; 2 segments
      └─b      8 KiB  linear  damaged
        └─a    8 KiB  linear  damaged; 2 segments; see above for what lies on it
  vg                  VG      on themselves
  └─c          8 KiB  linear  damaged
    └─c        8 KiB  linear  damaged; see above for what lies on it
`
	if got := "\n" + listText(t, writers["tree"], vg); got != want {
		t.Errorf("the tree is%s", got)
	}
}

// FuzzList lists disks with any metadata text: nothing panics, and what is printed is for
// people, or JSON.
func FuzzList(f *testing.F) {
	archives, _ := filepath.Glob(filepath.Join(testenv.Root(), "testdata", "reports", "*.tar.zst"))
	for _, archive := range archives {
		dir := f.TempDir()
		if err := testimages.Extract(archive, dir); err != nil {
			f.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "metadata.vg"))
		if err != nil {
			f.Fatal(err)
		}
		if len(text) < 16<<10 {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 24<<10 {
			return
		}
		scan := inMemory(t, testpv.New("sda", testpv.UUID("pv"), 128<<10, text))
		for name, write := range writers {
			out := listScan(t, write, scan)
			if name == "JSON" && !json.Valid([]byte(out)) {
				t.Errorf("no JSON: %s", out)
			}
			if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s contain %q", name, out[i:min(len(out), i+20)])
			}
		}
	})
}

func TestWarningsDoNothingToATerminalEither(t *testing.T) {
	vg := testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 1, "pv1", 0)}}},
	}
	sda := vg.Disks()[0]
	sda.SetText(strings.ReplaceAll(vg.Text(), "/dev/sd", "/dev/\x1b[31m\u202e"))
	disk := filepath.Join(t.TempDir(), "sda.img")
	if err := os.WriteFile(disk, sda.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"list", disk}, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %q", code, stderr.String())
	}
	if !strings.Contains(stderr.String(), `/dev/\x1b[31m\u202e`) {
		t.Errorf("standard error is %q", stderr.String())
	}
}

// lvm's reports show no dirty blocks: as soon as the cache is active, the kernel writes them back.
func TestListTellsHowManyBlocksOfACacheAreDirty(t *testing.T) {
	for _, c := range []struct{ image, lv, used, dirty, percent string }{
		{"cache-dirty", "wbpool1", "35", "32", "91.43"},
		{"cache-dirty", "[wbpool2_fast_cpool]", "35", "32", "91.43"},
		{"cache-dirty", "wbvol3", "69", "64", "92.75"},
		{"cache-crash", "wbpool2", "35", "35", "100.00"},
		{"cache-crash", "wbvol3", "69", "69", "100.00"},
	} {
		found := false
		for _, row := range listJSON(t, testimages.Load(t, c.image).Unpack(t))["lv"] {
			if row["lv_name"] != c.lv {
				continue
			}
			found = true
			if row["cache_used_blocks"] != c.used || row["cache_dirty_blocks"] != c.dirty || row["copy_percent"] != c.percent || row["sync_percent"] != c.percent {
				t.Errorf("%s of %s: %v", c.lv, c.image, row)
			}
		}
		if !found {
			t.Errorf("%s has no %s", c.image, c.lv)
		}
	}
}

func TestADamagedPoolShowsInTheListingAndTheExitCode(t *testing.T) {
	testenv.Long(t)
	for name, damage := range map[string]func(superblock []byte){
		"a bit":             func(b []byte) { b[400] ^= 1 },
		"zeros":             func(b []byte) { clear(b) },
		"the magic":         func(b []byte) { clear(b[32:40]) },
		"and another block": func(b []byte) { copy(b, bytes.Repeat([]byte("x"), len(b))) },
	} {
		t.Run(name, func(t *testing.T) {
			disks := testimages.Load(t, "thin").Unpack(t)
			if n := damageThinSuperblocks(t, disks, damage); n == 0 {
				t.Fatal("there is no pool")
			}
			var stdout, stderr bytes.Buffer
			code := Main(append([]string{"list"}, disks...), strings.NewReader(""), &stdout, &stderr)
			thin := 0
			for line := range strings.Lines(stdout.String()) {
				if cells := strings.Fields(line); strings.Contains(line, " thin") && len(cells) > 4 {
					thin++
					if !strings.Contains(line, "damaged") {
						t.Errorf("no remark: %s", line)
					}
				}
			}
			if code != exitIncomplete || thin == 0 || !strings.Contains(stderr.String(), "cannot be read: thin pool ") {
				t.Errorf("exit code %d, %d thin LVs, %s", code, thin, stderr.String())
			}
		})
	}
}

// damageThinSuperblocks changes the superblocks of all thin pools on disks, and returns how many there are.
func damageThinSuperblocks(t *testing.T, disks []string, damage func([]byte)) (n int) {
	t.Helper()
	for _, disk := range disks {
		f, err := os.OpenFile(disk, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 4096)
		for off := int64(1 << 20); ; off += 4096 {
			if _, err := f.ReadAt(b, off); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if binary.LittleEndian.Uint64(b[8:]) == 0 && binary.LittleEndian.Uint64(b[32:]) == 27022010 {
				n++
				damage(b)
				if _, err := f.WriteAt(b, off); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return n
}
