package integration

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// asEachOverAllImages runs a test for every case of disks and everybody. All share the disks, so the test must not
// change them. For a case that is not wholly supported one person is enough, to see that nothing wrong is read.
func asEachOverAllImages(t *testing.T, test func(t *testing.T, who person, c *testimages.Case, disks []string)) {
	cases := testimages.All(t)
	if raceDetector {
		cases = testimages.Bundled(t) // it makes all ten times as slow
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			disks := me().unpack(t, c)
			before := stamps(t, disks)
			everybody := asEach
			if !c.Supported() {
				everybody = func(t *testing.T, test func(*testing.T, person)) { test(t, me()) }
			}
			everybody(t, func(t *testing.T, who person) { test(t, who, c, disks) })
			if after := stamps(t, disks); !slices.Equal(before, after) {
				t.Errorf("the disks have been written to: %v, and now %v", before, after)
			}
		})
	}
}

// stamps are what every write to a disk changes.
func stamps(t *testing.T, disks []string) (stamps []string) {
	t.Helper()
	for _, path := range disks {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		stamps = append(stamps, fmt.Sprintf("%s: %d bytes, of %v", info.Name(), info.Size(), info.ModTime()))
	}
	return stamps
}

// flags are what lvm2fs has to be told of a case.
func (who person) flags(t *testing.T, c *testimages.Case) []string {
	t.Helper()
	if c.Extra.Passphrase == "" {
		return c.Flags()
	}
	return append(c.Flags(), "--key-file", who.keyFile(t, c))
}

func TestEveryVolumeReadsThroughTheMountAsTheKernelReadIt(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	asEachOverAllImages(t, func(t *testing.T, who person, c *testimages.Case, disks []string) {
		disks = slices.Concat(who.flags(t, c), disks)
		if !c.Supported() && who.run(t, program, append([]string{"list"}, disks...)...).code != 0 {
			return // refused as a whole
		}
		dir := who.mountpoint(t)
		if r := who.run(t, program, append(append([]string{"-r"}, disks...), dir)...); r.code != 0 {
			if c.Supported() {
				t.Fatalf("mount: exit %d\n%s", r.code, r.stderr)
			}
			return // no VG is found
		}
		defer who.must(t, program, "umount", dir)
		if c.Supported() {
			got := slices.DeleteFunc(tree(t, who, dir), func(file string) bool { return slices.Contains(c.PerhapsInTree(), file) })
			if want := c.Tree(); !slices.Equal(got, want) {
				t.Errorf("the tree is %v, want %v", got, want)
			}
		}
		for i := range c.LVs {
			lv := &c.LVs[i]
			verify(t, c, lv, who.do(func() error { return verifyFile(lv, filepath.Join(dir, lv.Path())) }))
		}
	})
}

func TestEveryVolumeIsDumpedAsTheKernelReadIt(t *testing.T) {
	testenv.Long(t)
	asEachOverAllImages(t, func(t *testing.T, who person, c *testimages.Case, disks []string) {
		disks = slices.Concat(who.flags(t, c), disks)
		dir := who.tempDir(t)
		r := who.run(t, program, append([]string{"dump", "-C", dir}, disks...)...)
		lost := slices.ContainsFunc(c.LVs, func(lv testimages.LV) bool {
			return lv.Expect == testimages.Partial || lv.Expect == testimages.Error
		})
		perhaps := slices.ContainsFunc(c.LVs, func(lv testimages.LV) bool { return lv.Expect == testimages.Absent })
		if want := map[bool]int{false: 0, true: 3}[lost]; c.Supported() && r.code != want && !(perhaps && r.code == 3) {
			t.Errorf("exit %d, want %d\n%s", r.code, want, r.stderr)
		}
		for i := range c.LVs {
			lv := &c.LVs[i]
			path := filepath.Join(dir, lv.Path())
			if lv.Expect == testimages.OK {
				verify(t, c, lv, verifyFile(lv, path))
				continue
			}
			if lv.Expect != testimages.Partial && lv.Expect != testimages.Error {
				continue
			}
			// What is lost must not look whole: it has another name, and is named.
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is incomplete, but is there under its own name", lv.Path())
			}
			if c.Supported() && !strings.Contains(r.stderr, lv.VG+"/"+lv.LV) {
				t.Errorf("standard error does not name %s:\n%s", lv.Path(), r.stderr)
			}
			if c.Supported() && lv.Expect == testimages.Partial {
				verify(t, c, lv, verifyFile(lv.AsDumped(), path+".partial"))
			}
		}
	})
}

// verify judges what reading an LV gave. It is never wrong; only where the case is not yet supported it may be
// refused.
func verify(t *testing.T, c *testimages.Case, lv *testimages.LV, err error) {
	t.Helper()
	readable := lv.Expect == testimages.OK || lv.Expect == testimages.Partial || lv.Expect == testimages.Error
	switch {
	case err == nil:
	case errors.Is(err, testimages.ErrWrong), c.Supported() && readable:
		t.Error(err)
	default:
		t.Logf("%s is refused: %v", lv.Path(), err)
	}
}

func verifyFile(lv *testimages.LV, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, syscall.EIO) && lv.Expect == testimages.Error {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, 512), 0); err != nil && lv.Expect == testimages.OK {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return lv.Verify(f, size)
}

// tree is every file of a mount.
func tree(t *testing.T, who person, dir string) (files []string) {
	t.Helper()
	err := who.do(func() error {
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, strings.TrimPrefix(path, dir+"/"))
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}
