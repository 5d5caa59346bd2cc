// Package testimages gives tests the disks that the real kernel made, and what it read
// from them: a few in testdata/, which are always there, and the collection beside the
// repository, of images and of states, where it is present. See testdata/README.md.
package testimages

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// Case is one set of disks with its truth, as expect.json has it.
type Case struct {
	Name        string `json:"case"`
	Description string
	Disks       []Disk
	LVs         []LV
	Files       []File
	Alternates  []string // files that hold the first disk in other formats
	Extra       Extra
	Dir         string `json:"-"` // holds expect.json, lvm's reports, the archive of the disks
}

// Disk is one disk of a case.
type Disk struct {
	File   string
	Size   int64 // bytes
	Attach bool  // false: the truth was read without it
	Sector int64 // bytes; 0 for 512
}

// Extra is what only some cases have.
type Extra struct {
	Passphrase string
}

// LV is what the kernel gave for one logical volume.
type LV struct {
	VG       string
	LV       string
	Dir      string // of the mounted tree, where it is not VG
	VGUUID   string `json:"vg_uuid"`
	UUID     string
	Attr     string
	SegTypes []string
	Size     int64    // bytes, of the kernel's block device
	LVMSize  int64    `json:"lvm_size"` // bytes, where lvm says otherwise; else 0
	SHA256   string   // with the ranges in Bad as zeros
	CRC32MiB []string `json:"crc32_mib"`
	Expect   string
	Bad      [][2]int64 // offset and length of ranges that cannot be read
}

// What LV.Expect says.
const (
	OK      = "ok"
	Partial = "partial" // but for Bad
	Error   = "error"   // every read fails
	Absent  = "absent"  // listed, never activated
	Pool    = "pool"    // no readable bytes of its own
)

// Path is the file of the LV in the mounted tree and in a dump.
func (lv *LV) Path() string {
	if lv.Dir != "" {
		return filepath.Join(lv.Dir, lv.LV)
	}
	return filepath.Join(lv.VG, lv.LV)
}

// File is a file in the file system on an LV.
type File struct {
	LV     string // VG/LV
	Path   string
	SHA256 string
}

// Load gives a case by its name; the test is skipped where the case is not there.
func Load(t testing.TB, name string) *Case {
	t.Helper()
	for _, dir := range folders() {
		if c, err := read(filepath.Join(dir, name)); err == nil {
			return c
		} else if !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	testenv.NeedImages(t)
	testenv.NeedStates(t)
	t.Fatalf("no case %s in the shared images and states", name)
	return nil
}

// All gives every case there is on this machine, by name.
func All(t testing.TB) []*Case {
	t.Helper()
	return in(t, folders()...)
}

// Images is All without the states. Of the states lvm2 reports what became of them once they were active, and some of
// their disks are blank.
func Images(t testing.TB) []*Case {
	t.Helper()
	if testing.Short() {
		return Bundled(t)
	}
	return in(t, bundled(), testenv.ImagesDir())
}

// Bundled gives the cases in testdata, by name.
func Bundled(t testing.TB) []*Case {
	t.Helper()
	return in(t, bundled())
}

// folders hold cases; the first that has a case counts.
func folders() []string {
	if testing.Short() {
		return []string{bundled()}
	}
	return []string{bundled(), testenv.ImagesDir(), testenv.StatesDir()}
}

func bundled() string { return filepath.Join(testenv.Root(), "testdata", "images") }

// in gives the cases in folders; the first that has a case counts.
func in(t testing.TB, folders ...string) []*Case {
	t.Helper()
	dirs := map[string]string{}
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, "*", "expect.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if name := filepath.Base(filepath.Dir(f)); dirs[name] == "" {
				dirs[name] = filepath.Dir(f)
			}
		}
	}
	var cases []*Case
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		c, err := read(dirs[name])
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		t.Fatal("no images at all, not even in testdata")
	}
	return cases
}

func read(dir string) (*Case, error) {
	text, err := os.ReadFile(filepath.Join(dir, "expect.json"))
	if err != nil {
		return nil, err
	}
	c := &Case{Dir: dir}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s/expect.json: %w", dir, err)
	}
	if c.Name != filepath.Base(dir) {
		return nil, fmt.Errorf("%s/expect.json is of case %s", dir, c.Name)
	}
	return c, nil
}

// Unpack unpacks the disks of the case into a directory that goes with the test, and
// returns the paths of those that were attached when the truth was read, in order.
func (c *Case) Unpack(t testing.TB) []string {
	t.Helper()
	return c.UnpackTo(t, t.TempDir())
}

// UnpackTo is Unpack into a directory of the caller's.
func (c *Case) UnpackTo(t testing.TB, dir string) []string {
	t.Helper()
	if err := Extract(filepath.Join(c.Dir, "disks.tar.zst"), dir); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, d := range c.Disks {
		path := filepath.Join(dir, d.File)
		if info, err := os.Stat(path); err != nil {
			t.Fatal(err)
		} else if info.Size() != d.Size {
			t.Fatalf("%s is %d bytes, expect.json says %d", path, info.Size(), d.Size)
		}
		if d.Attach {
			paths = append(paths, path)
		} else if err := os.Rename(path, path+".detached"); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// Tree is the files that a mount of the case shows, in order: one for every LV of which the kernel has a block device.
func (c *Case) Tree() (files []string) {
	for i := range c.LVs {
		if lv := &c.LVs[i]; lv.Expect != Pool && lv.Expect != Absent {
			files = append(files, lv.Path())
		}
	}
	sort.Strings(files)
	return files
}

// PerhapsInTree is the files that a mount may show besides those of Tree: the LVs that lvm2 lists and does not
// activate. Opening one either tells why, or reads what is there.
func (c *Case) PerhapsInTree() (files []string) {
	for i := range c.LVs {
		if lv := &c.LVs[i]; lv.Expect == Absent {
			files = append(files, lv.Path())
		}
	}
	return files
}

// AsDumped is the LV as dump leaves it: lost ranges are zeros that can be read.
func (lv *LV) AsDumped() *LV {
	dumped := *lv
	dumped.Expect, dumped.Bad = OK, nil
	return &dumped
}
