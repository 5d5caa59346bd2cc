package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
)

// accident is what the real lvm2 has done to disks in testdata/accidents/make.sh, and how to see what was there before
// it.
type accident struct {
	name string
	// flags choose the past. CASE.N in them is the N-th disk of the case, BACKUP the backup of its metadata, and
	// UUID.N the N-th PV in that backup. "undelete" takes the flags that lvm2fs undelete names.
	flags string
	lv    string
	bytes string // what can be read: "all", "some" or "none"
}

var accidentsToSee = []accident{
	{"linear", "--at 3", "linear/gone", "all"},
	{"linear", "", "linear/keep", "all"},
	{"reused", "--at 3", "reused/gone", "some"},
	{"again", "--at 2", "again/gone", "some"},
	{"striped", "--at 2", "striped/gone", "all"},
	{"raid5", "undelete", "raid5/gone", "all"},
	{"raid1", "undelete", "raid1/gone", "all"},
	{"cow", "undelete", "cow/snap", "some"},
	{"merged", "undelete", "merged/snap", "none"},
	{"thin", "", "thin/keep", "all"},
	{"thinpool", "undelete", "thinpool/gone", "all"},
	{"thinpools", "undelete", "thinpools/gone", "none"},
	{"cached", "undelete", "cached/gone", "all"},
	{"uncached", "undelete", "uncached/gone", "all"},
	{"uncached", "--at uncached=6", "uncached/gone", "none"},
	{"writecache", "undelete", "writecache/gone", "all"},
	{"integrity", "undelete", "integrity/gone", "all"},
	{"vgremove", "--at vgremove=2", "vgremove/gone", "all"},
	{"vgforce", "undelete", "vgforce/gone", "all"},
	{"pvremove", "undelete", "pvremove/gone", "all"},
	{"pvforce", "--pv CASE.1=UUID.1", "pvforce/gone", "all"},
	{"vgreduce", "undelete", "vgreduce/gone", "all"},
	{"vgreduce", "", "vgreduce/keep", "all"},
	{"pvleaves", "undelete", "pvleaves/gone", "all"},
	{"lvreduce", "--at 2", "lvreduce/gone", "some"},
	{"regrown", "--at 2", "regrown/gone", "some"},
	{"pvcreate", "--vgcfg BACKUP --pv CASE.0=UUID.0", "pvcreate/gone", "all"},
	{"newvg", "--vgcfg BACKUP --pv CASE.0=UUID.0", "newvg/gone", "some"},
	{"restored", "undelete", "restored/gone", "some"},
	{"zeroed", "--pv CASE.1=UUID.1", "zeroed/gone", "all"},
	{"zeroedall", "--vgcfg BACKUP --pv CASE.0=UUID.0", "zeroedall/gone", "all"},
	{"mkfs", "--vgcfg BACKUP --pv CASE.0=UUID.0", "mkfs/gone", "none"},
	{"gpt", "--vgcfg BACKUP --pv CASE.0=UUID.0", "gpt/gone", "all"},
	{"swap", "--pv CASE.0=UUID.0", "swap/gone", "none"},
	{"wipefs", "--pv CASE.0=UUID.0", "wipefs/gone", "all"},
	{"halves", "--pv CASE.0=UUID.0", "halves/gone", "all"},
	{"header", "undelete", "header/gone", "all"},
	{"text", "--at text=2", "text/gone", "none"},
	{"text", "--at text=2 --reused read", "text/gone", "all"},
	{"text", "--vgcfg BACKUP", "text/gone", "all"},
	{"moved", "undelete", "moved/gone", "all"},
	{"takeover", "undelete", "takeover/gone", "all"},
	{"takeover", "--at takeover=2", "takeover/gone", "none"},
	{"upconvert", "undelete", "upconvert/gone", "all"},
	{"upconvert", "--at upconvert=2", "upconvert/gone", "none"},
	{"renamed", "undelete", "renamed2/gone", "all"},
	{"missing", "--use-missing CASE.1", "missing/b", "all"},
	{"missing", "", "missing/b", "none"},
}

// What lvm2fs gives after an accident is what was there before, or an error.
func TestAfterAnAccidentEachByteIsWhatItWasOrAnError(t *testing.T) {
	dir, out := makeAccidents(t)
	for _, a := range accidentsToSee {
		t.Run(strings.TrimSpace(a.name+" "+a.flags), func(t *testing.T) {
			disks := accidentDisks(t, dir, a.name)
			args := accidentFlags(t, a, disks, out)
			if a.flags == "undelete" {
				vg, lv, _ := strings.Cut(a.lv, "/")
				path, flags := undelete(t, vg, lv, disks)
				args = append(flags, "--lv", path)
			} else {
				args = append(args, "--lv", a.lv)
			}
			checkStamped(t, a, append(args, disks...))
		})
	}
	t.Run("thinnodes", func(t *testing.T) { checkThinNodes(t, accidentDisks(t, dir, "thinnodes")[0]) })
	for _, a := range removedToSee {
		t.Run("removed "+a.lv, func(t *testing.T) { checkRemoved(t, a, accidentDisks(t, dir, a.name)) })
	}
}

// removedToSee are the LVs that -o removed shows after accidents.
var removedToSee = []accident{
	{"linear", "", "linear/gone", "all"},
	{"reused", "", "reused/gone", "some"},
	{"again", "", "again/gone", "some"},
	{"striped", "", "striped/gone", "all"},
	{"raid5", "", "raid5/gone", "all"},
	{"raid1", "", "raid1/gone", "all"},
	{"cow", "", "cow/snap", "some"},
	{"merged", "", "merged/snap", "none"},
	{"thin", "", "thin/gone", "all"},
	{"thinused", "", "thinused/gone", "none"},
	{"thinpool", "", "thinpool/gone", "all"},
	{"thinpools", "", "thinpools/gone", "none"},
	{"cached", "", "cached/gone", "all"},
	{"uncached", "", "uncached/gone", "all"},
	{"writecache", "", "writecache/gone", "all"},
	{"integrity", "", "integrity/gone", "all"},
	{"vgremove", "", "vgremove/gone", "all"},
	{"vgforce", "", "vgforce/gone", "all"},
	{"vgreduce", "", "vgreduce/gone", "all"},
	{"pvleaves", "", "pvleaves/gone", "all"},
	{"lvreduce", "", "lvreduce/gone", "some"},
	{"restored", "", "restored/gone", "some"},
	{"text", "", "text/gone", "none"},
	{"moved", "", "moved/gone", "all"},
	{"takeover", "", "takeover/gone", "all"},
	{"upconvert", "", "upconvert/gone", "all"},
	{"renamed", "", "renamed2/gone", "all"},
}

// checkRemoved mounts what is left and reads the file of an LV that was removed.
func checkRemoved(t *testing.T, a accident, disks []string) {
	t.Helper()
	dir := me().mount(t, append([]string{"-r", "-o", "removed"}, disks...)...)
	vg, lv, _ := strings.Cut(a.lv, "/")
	files, err := filepath.Glob(filepath.Join(dir, vg, ".removed", lv+"@*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		if a.bytes != "none" {
			t.Error(err)
		}
		return
	}
	defer f.Close()
	if a.name == "thin" { // what was discarded before it was removed would show again
		health := make([]byte, 100)
		if n, err := unix.Fgetxattr(int(f.Fd()), "user.lvm2.health", health); err != nil || string(health[:n]) != "other-age" {
			t.Errorf("its health is %q, %v", health[:max(n, 0)], err)
		}
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	good, blocks := 0, int(info.Size()/4096)
	for n := range blocks {
		block := make([]byte, 4096)
		if _, err := f.ReadAt(block, int64(n)*4096); err != nil {
			continue
		}
		good++
		if !bytes.Equal(block, stampedFor(a, int64(n))) {
			t.Fatalf("block %d is %q", n, block[:64])
		}
	}
	if what := amount(good, blocks); what != a.bytes {
		t.Errorf("%s can be read (%d blocks of %d), want %s", what, good, blocks, a.bytes)
	}
}

// amount is how much good blocks of all are.
func amount(good, all int) string {
	switch good {
	case 0:
		return "none"
	case all:
		return "all"
	}
	return "some"
}

// stampedFor is block n of the LV of an accident before it.
func stampedFor(a accident, n int64) []byte {
	return stamped(strings.Replace(a.lv, "renamed2/", "renamed/", 1), n)
}

// makeAccidents has the guest make the accidents. It returns the directory with the disks, and what was /out.
func makeAccidents(t *testing.T) (dir, out string) {
	t.Helper()
	testenv.NeedVM(t)
	dir = me().tempDir(t)
	in := filepath.Join(testenv.Root(), "integration/testdata/accidents")
	var disks []string
	for i := range accidentCount(t) {
		disks = append(disks, filepath.Join(dir, fmt.Sprintf("%03d", i)))
	}
	return dir, guest{script: filepath.Join(in, "make.sh"), in: in, disks: disks, memory: 1536, prepare: func() {
		for _, disk := range disks {
			if err := errors.Join(os.RemoveAll(disk), os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 40<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}}.run(t)
}

// accidentLines are the cases with the numbers of their disks, in order.
func accidentLines(t *testing.T) (names []string, disks []int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testenv.Root(), "integration/testdata/accidents/disks"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		name, count, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		names, disks = append(names, name), append(disks, n)
	}
	return names, disks
}

func accidentCount(t *testing.T) (n int) {
	_, disks := accidentLines(t)
	for _, d := range disks {
		n += d
	}
	return n
}

func accidentDisks(t *testing.T, dir, name string) (paths []string) {
	t.Helper()
	names, disks := accidentLines(t)
	first := 0
	for i, n := range names {
		if n == name {
			for d := range disks[i] {
				paths = append(paths, filepath.Join(dir, fmt.Sprintf("%03d", first+d)))
			}
			return paths
		}
		first += disks[i]
	}
	t.Fatalf("no case %s", name)
	return nil
}

var pvID = regexp.MustCompile(`pv(\d+) \{\s*id = "([^"]+)"`)

// accidentFlags fills in what is known only once the disks are made.
func accidentFlags(t *testing.T, a accident, disks []string, out string) []string {
	t.Helper()
	flags := a.flags
	if strings.Contains(flags, "BACKUP") || strings.Contains(flags, "UUID.") {
		flags = strings.ReplaceAll(flags, "BACKUP", filepath.Join(out, a.name+".vg"))
		for _, m := range pvID.FindAllStringSubmatch(guestFile(t, out, a.name+".vg"), -1) {
			flags = strings.ReplaceAll(flags, "UUID."+m[1], m[2])
		}
	}
	for i, disk := range disks {
		flags = strings.ReplaceAll(flags, fmt.Sprintf("CASE.%d", i), disk)
	}
	return strings.Fields(flags)
}

// checkStamped writes the LV out and compares each block with the name that was written into it.
func checkStamped(t *testing.T, a accident, args []string) {
	t.Helper()
	dir := me().tempDir(t)
	stdout, stderr, code := runProgram(t, append([]string{"dump", "-C", dir}, args...)...)
	path := filepath.Join(dir, a.lv)
	lost := [][2]int64{}
	contents, err := os.ReadFile(path)
	if err != nil {
		contents, err = os.ReadFile(path + ".partial")
		lost = lostRanges(t, path+".map")
	}
	if err != nil {
		if a.bytes != "none" {
			t.Fatalf("%v: nothing: exit %d\n%s%s", args, code, stdout, stderr)
		}
		if code == 0 {
			t.Errorf("nothing was written, with status 0\n%s", stderr)
		}
		return
	}
	good := 0
	for off := int64(0); off < int64(len(contents)); off += 4096 {
		if inAny(lost, off, off+4096) {
			continue
		}
		good++
		if block := contents[off:min(off+4096, int64(len(contents)))]; !bytes.Equal(block, stampedFor(a, off/4096)) {
			t.Fatalf("%v: block %d is %q", args, off/4096, block[:64])
		}
	}
	what := amount(good, len(contents)/4096)
	if what != a.bytes {
		t.Errorf("%v: %s can be read (%d blocks of %d), want %s\n%s", args, what, good, len(contents)/4096, a.bytes, stderr)
	}
	if what != "all" && code == 0 {
		t.Errorf("some is lost, with status 0\n%s", stderr)
	}
}

// stamped is block n of what stamp fill writes for a name.
func stamped(name string, n int64) []byte {
	line := fmt.Sprintf(" %s b%d g%d ", name, n, 1)
	line += strings.Repeat(".", 63-len(line)) + "\n"
	b := []byte(strings.Repeat(line, 64))
	b[0] = '>'
	return b
}

func lostRanges(t *testing.T, path string) (lost [][2]int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var off, n int64
		if k, _ := fmt.Sscanf(line, "0x%x 0x%x -", &off, &n); k == 2 && strings.HasSuffix(strings.TrimSpace(line), "-") {
			lost = append(lost, [2]int64{off, off + n})
		}
	}
	return lost
}

func inAny(ranges [][2]int64, start, end int64) bool {
	for _, r := range ranges {
		if r[0] < end && r[1] > start {
			return true
		}
	}
	return false
}

// undelete is what lvm2fs undelete says of an LV.
func undelete(t *testing.T, vg, lv string, disks []string) (path string, flags []string) {
	t.Helper()
	var gone struct {
		Gone []struct {
			Path  string   `json:"lv_path"`
			VG    string   `json:"vg_name"`
			LV    string   `json:"lv_name"`
			Flags []string `json:"suggested_flags"`
		}
	}
	stdout, stderr, code := runProgram(t, append([]string{"undelete", "--json"}, disks...)...)
	if err := json.Unmarshal([]byte(stdout), &gone); err != nil || code != 0 {
		t.Fatalf("%v, exit %d\n%s%s", err, code, stdout, stderr)
	}
	for _, g := range gone.Gone {
		if g.VG == vg && g.LV == lv {
			return g.Path, g.Flags
		}
	}
	t.Fatalf("undelete does not show %s/%s:\n%s%s", vg, lv, stdout, stderr)
	return "", nil
}
