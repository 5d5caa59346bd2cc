package fusefs

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testpv"
)

// punchImage makes count extents of a PV in an image file a hole.
func punchImage(t *testing.T, path string, first, count int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := testpv.DataStart + first*extent
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, count*extent); err != nil {
		t.Skipf("SKIP: no holes in %s: %v", path, err)
	}
	if got, err := unix.Seek(int(f.Fd()), at, unix.SEEK_HOLE); err != nil || got != at {
		t.Skipf("SKIP: the file system does not tell of holes in %s: %d, %v", path, got, err)
	}
}

func TestHolesOfAnImageAreHolesWhileNobodyWrites(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		paths, want := imageVG(t)
		punchImage(t, paths[0], 7+100, 50)
		size := int64(len(want))
		m := mountDevices(t, openImages(t, paths), mode)
		f := m.open("vg/data", os.O_RDONLY)
		seek := func(when string, off int64, whence int, want int64) {
			t.Helper()
			if got, err := f.Seek(off, whence); err != nil || got != want {
				t.Errorf("%s: whence %d from %d: got %d, %v; want %d", when, whence, off, got, err, want)
			}
		}
		blocks := func(when string, want int64) {
			t.Helper()
			if got := m.stat("vg/data").Sys().(*syscall.Stat_t).Blocks; got != want {
				t.Errorf("%s: %d blocks, want %d", when, got, want)
			}
		}
		seek("before", 0, unix.SEEK_HOLE, 100*extent)
		seek("before", 110*extent, unix.SEEK_DATA, 150*extent)
		seek("before", 150*extent, unix.SEEK_HOLE, size)
		blocks("before", (size-50*extent)/512)

		w := m.open("vg/data", os.O_RDWR)
		seek("while somebody may write", 0, unix.SEEK_HOLE, size)
		blocks("while somebody may write", size/512)
		if _, err := w.WriteAt(bytes.Repeat([]byte("x"), extent), 120*extent); err != nil {
			t.Fatal(err)
		}
		w.Close()
		eventually(t, "the closed file has holes again", func() bool {
			at, err := f.Seek(0, unix.SEEK_HOLE)
			return err == nil && at == 100*extent
		})
		seek("afterwards", 100*extent, unix.SEEK_DATA, 120*extent)
		seek("afterwards", 120*extent, unix.SEEK_HOLE, 121*extent)
		blocks("afterwards", (size-49*extent)/512)

		if err := os.Truncate(paths[0], testpv.DataStart+(7+130)*extent); err != nil {
			t.Fatal(err)
		}
		seek("cut short", 130*extent, unix.SEEK_DATA, 130*extent)
		seek("cut short", 130*extent, unix.SEEK_HOLE, size)
	})
}

// Programs take a file without blocks for zeros. The LV must have a block, for somebody may write to the image later.
func TestAnLVThatIsAHoleOfAnImageHasABlock(t *testing.T) {
	paths, want := imageVG(t)
	for _, path := range paths {
		punchImage(t, path, 0, 500)
	}
	m := mountDevices(t, openImages(t, paths))
	if got := m.stat("vg/data").Sys().(*syscall.Stat_t).Blocks; got != 1 {
		t.Errorf("%d blocks", got)
	}
	if at, err := m.open("vg/data", os.O_RDONLY).Seek(0, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		t.Errorf("data at %d of %d, %v", at, len(want), err)
	}
}
