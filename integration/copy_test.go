package integration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

const root = "vg-multi_1.x+y/root-fs" // of several segments on several PVs

// lv finds an LV of a case by its path in the tree.
func lv(t *testing.T, c *testimages.Case, path string) *testimages.LV {
	t.Helper()
	for i := range c.LVs {
		if c.LVs[i].Path() == path {
			return &c.LVs[i]
		}
	}
	t.Fatalf("%s has no LV %s", c.Name, path)
	return nil
}

func TestToolsReadAVolumeWhole(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "cp", "dd", "cat")
	c := testimages.Load(t, "linear-multi")
	asEach(t, func(t *testing.T, who person) {
		dir := who.mount(t, append([]string{"-r"}, who.unpack(t, c)...)...)
		from := filepath.Join(dir, root)
		to := filepath.Join(who.tempDir(t), "copy")
		for _, command := range [][]string{
			{"cp", from, to},
			{"cp", "--sparse=always", from, to},
			{"dd", "if=" + from, "of=" + to, "bs=1M"},
			{"dd", "if=" + from, "of=" + to, "bs=4k", "iflag=direct"},
			{"dd", "if=" + from, "of=" + to, "bs=777"},
		} {
			who.must(t, command[0], command[1:]...)
			if err := verifyFile(lv(t, c, root), to); err != nil {
				t.Errorf("%v: %v", command, err)
			}
			if err := os.Remove(to); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// cp and dd open with O_TRUNC.
func TestToolsWriteAVolumeInPlace(t *testing.T) {
	testenv.NeedTools(t, "cp", "dd")
	c := testimages.Load(t, "linear-multi")
	size := lv(t, c, root).Size
	asEach(t, func(t *testing.T, who person) {
		disks := who.unpack(t, c)
		dir := who.mount(t, disks...)
		volume := filepath.Join(dir, root)
		content := bytes.Repeat([]byte("0123456789abcde\n"), int(size/16))
		source := filepath.Join(who.tempDir(t), "source")
		for i, command := range [][]string{
			{"cp", source, volume},
			{"dd", "if=" + source, "of=" + volume, "bs=1M"},
			{"dd", "if=" + source, "of=" + volume, "bs=64k", "conv=notrunc,fsync", "oflag=direct"},
		} {
			content[0] = byte(i)
			content[size-1] = byte(i)
			if err := os.WriteFile(source, content, 0o644); err != nil {
				t.Fatal(err)
			}
			who.must(t, command[0], command[1:]...)
			var got []byte
			err := who.do(func() (err error) { got, err = os.ReadFile(volume); return err })
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%v: the volume does not hold what was written (%v)", command, err)
			}
		}
		who.must(t, program, "umount", dir)

		// The bytes are on the disks, and only there.
		dumped := who.tempDir(t)
		who.must(t, program, append([]string{"dump", "-C", dumped}, disks...)...)
		if got, err := os.ReadFile(filepath.Join(dumped, root)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the disks do not hold what was written (%v)", err)
		}
		for i := range c.LVs {
			if other := &c.LVs[i]; other.Path() != root {
				if err := verifyFile(other, filepath.Join(dumped, other.Path())); err != nil {
					t.Errorf("written was only %s, but: %v", root, err)
				}
			}
		}
	})
}

func TestWritingStopsAtTheEndOfTheVolume(t *testing.T) {
	c := testimages.Load(t, "linear-multi")
	size := lv(t, c, root).Size
	asEach(t, func(t *testing.T, who person) {
		dir := who.mount(t, who.unpack(t, c)...)
		err := who.do(func() error {
			f, err := os.OpenFile(filepath.Join(dir, root), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			// Not WriteAt, which does not tell the bytes written before an error.
			if n, err := syscall.Pwrite(int(f.Fd()), make([]byte, 8192), size-4096); n != 4096 || err != nil {
				t.Errorf("a write across the end: %d bytes, %v; want 4096", n, err)
			}
			if _, err := syscall.Pwrite(int(f.Fd()), []byte{1}, size); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("a write at the end: %v, want ENOSPC", err)
			}
			if err := f.Truncate(size + 1); !errors.Is(err, syscall.EPERM) {
				t.Errorf("truncation to more than the size: %v, want EPERM", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestAReadOnlyMountRefusesToOpenForWriting(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "linear-multi")
	asEach(t, func(t *testing.T, who person) {
		dir := who.mount(t, append([]string{"-r"}, who.unpack(t, c)...)...)
		err := who.do(func() error {
			_, err := os.OpenFile(filepath.Join(dir, root), os.O_RDWR, 0)
			return err
		})
		if !errors.Is(err, syscall.EROFS) && (who.uid == 0 || !errors.Is(err, syscall.EACCES)) {
			t.Errorf("error is %v, want EROFS", err)
		}
	})
}

func TestAReadOnlyVolumeCannotBeWritten(t *testing.T) {
	c := testimages.Load(t, "linear-multi")
	dir := me().mount(t, me().unpack(t, c)...)
	_, err := os.OpenFile(filepath.Join(dir, "vg-multi_1.x+y/ro"), os.O_RDWR, 0)
	if !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EACCES) {
		t.Errorf("error is %v, want EROFS", err)
	}
}
