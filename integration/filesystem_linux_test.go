package integration

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

func TestTheExt2OnChocolateMountsThroughALoopDevice(t *testing.T) {
	testenv.NeedLoop(t)
	c := testimages.Load(t, "banana")
	dir := me().mount(t, append([]string{"-r"}, me().unpack(t, c)...)...)
	loop := loopDevice(t, filepath.Join(dir, "banana", "chocolate"), "--read-only")
	inner := mountFileSystem(t, loop, "-t", "ext2", "-o", "ro")
	if got := fileSum(t, filepath.Join(inner, c.Files[0].Path)); got != c.Files[0].SHA256 {
		t.Errorf("sha256 of %s is %s, want %s", c.Files[0].Path, got, c.Files[0].SHA256)
	}
}

// An ext4 is made, filled and checked through the mount. Another reader must then find it on the disks, and no other
// LV may have changed.
func TestAnExt4WrittenThroughALoopDeviceIsCleanAndWhole(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "mkfs.ext4", "e2fsck")
	who := me()
	for name, path := range map[string]string{
		"linear-one":   "banana/split",
		"linear-multi": "vg-multi_1.x+y/root-fs",
		"striped":      "vg_striped/mixed",
	} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			disks := who.unpack(t, c)
			dir := who.mount(t, disks...)
			volume := filepath.Join(dir, path)

			files := writeExt4(t, volume)
			who.must(t, program, "umount", dir)

			dumped := who.tempDir(t)
			who.must(t, program, append([]string{"dump", "-C", dumped}, disks...)...)
			verifyExt4(t, filepath.Join(dumped, path), files)
			for i := range c.LVs {
				if lv := &c.LVs[i]; lv.Path() != path {
					if err := verifyFile(lv, filepath.Join(dumped, lv.Path())); err != nil {
						t.Errorf("written was only %s, but: %v", path, err)
					}
				}
			}
		})
	}
}

// writeExt4 makes an ext4 on a volume through a loop device, fills and checks it, and says which files it has.
func writeExt4(t *testing.T, volume string) map[string][]byte {
	t.Helper()
	loop := loopDevice(t, volume)
	me().must(t, "mkfs.ext4", "-q", "-F", loop)
	inner := mountFileSystem(t, loop)
	files := fill(t, inner)
	unmountFileSystem(t, inner)
	checkExt4(t, loop)
	me().must(t, "losetup", "-d", loop)
	return files
}

// verifyExt4 says whether a volume has an ext4 that is sound and has these files. Nothing is written.
func verifyExt4(t *testing.T, volume string, files map[string][]byte) {
	t.Helper()
	loop := loopDevice(t, volume, "--read-only")
	checkExt4(t, loop)
	inner := mountFileSystem(t, loop, "-o", "ro")
	for file, want := range files {
		if got, err := os.ReadFile(filepath.Join(inner, file)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what was written (%v)", file, err)
		}
	}
	unmountFileSystem(t, inner)
}

func checkExt4(t *testing.T, device string) {
	t.Helper()
	if r := me().run(t, "e2fsck", "-f", "-n", device); r.code != 0 {
		t.Errorf("e2fsck %s: exit %d\n%s", device, r.code, r.stdout)
	}
}

// fill writes files of many sizes, deletes some and truncates one, and says what must be
// there in the end.
func fill(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for i, size := range []int{0, 1, 4095, 4096, 65537, 300_000, 700_001} {
		content := make([]byte, size)
		if _, err := rand.Read(content); err != nil {
			t.Fatal(err)
		}
		name := strings.Repeat("f", i+1)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		files[name] = content
	}
	if err := os.Truncate(filepath.Join(dir, "ffffff"), 100_000); err != nil {
		t.Fatal(err)
	}
	files["ffffff"] = files["ffffff"][:100_000]
	if err := os.Remove(filepath.Join(dir, "fffff")); err != nil {
		t.Fatal(err)
	}
	delete(files, "fffff")
	return files
}

func loopDevice(t *testing.T, path string, flags ...string) string {
	t.Helper()
	loop := strings.TrimSpace(me().must(t, "losetup", append(append([]string{"--find", "--show"}, flags...), path)...))
	t.Cleanup(func() { me().run(t, "losetup", "-d", loop) })
	return loop
}

func mountFileSystem(t *testing.T, device string, flags ...string) string {
	t.Helper()
	dir := me().tempDir(t)
	me().must(t, "mount", append(flags, device, dir)...)
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	return dir
}

func unmountFileSystem(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
}
