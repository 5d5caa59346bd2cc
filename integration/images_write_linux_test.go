package integration

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testtable"
)

// A disk in an image has a partition with a PV. On an LV of it an ext4 is made, filled and checked. QEMU then finds
// the image whole. It turns the image into a disk: the file system there is what was written, and what lies beneath is
// as it was.
func TestAnExt4IsWrittenToAnLVInAnImage(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "mkfs.ext4", "e2fsck", "qemu-img")
	c := testimages.Load(t, "linear-one")
	who := me()
	pv, err := os.ReadFile(who.unpack(t, c)[0])
	if err != nil {
		t.Fatal(err)
	}
	disk := testtable.InGPT(pv)
	for _, how := range []string{
		"qcow2", "qcow2 -c", "qcow2 -o cluster_size=4k,compat=0.10", "qcow2 over qcow2",
		"vmdk", "vmdk -o subformat=monolithicFlat", "vpc -o force_size=on", "vdi",
	} {
		t.Run(how, func(t *testing.T) {
			dir := who.tempDir(t)
			path := func(name string) string { return filepath.Join(dir, name) }
			raw, image := path("disk.raw"), path("image")
			if err := os.WriteFile(raw, disk, 0o600); err != nil {
				t.Fatal(err)
			}
			format, options, _ := strings.Cut(how, " ")
			over := options == "over qcow2"
			if over {
				who.must(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path("base"))
				who.must(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", image)
			} else {
				args := append([]string{"convert", "-f", "raw", "-O", format}, strings.Fields(options)...)
				who.must(t, "qemu-img", append(args, raw, image)...)
			}
			beneath, _ := os.ReadFile(path("base"))

			mounted := who.mount(t, image)
			files := writeExt4(t, filepath.Join(mounted, "banana/split"))
			who.must(t, program, "umount", mounted)

			if format == "qcow2" || format == "vdi" {
				who.must(t, "qemu-img", "check", "-f", format, image)
			}
			if now, _ := os.ReadFile(path("base")); !bytes.Equal(now, beneath) {
				t.Error("what lies beneath was written")
			}
			who.must(t, "qemu-img", "convert", "-f", format, "-O", "raw", image, raw)
			mounted = who.mount(t, "-r", raw)
			verifyExt4(t, filepath.Join(mounted, "banana/split"), files)
			for i := range c.LVs {
				if lv := &c.LVs[i]; lv.Path() != "banana/split" {
					if err := verifyFile(lv, filepath.Join(mounted, lv.Path())); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// inAnImage gives a disk to QEMU, which makes an image of it.
func inAnImage(t *testing.T, disk []byte, format, image string) {
	t.Helper()
	raw := image + ".raw"
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	me().must(t, "qemu-img", "convert", "-f", "raw", "-O", format, raw, image)
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
}

// imagesThatGrow are what QEMU calls the formats of which an image takes no more room than was written.
var imagesThatGrow = []string{"qcow2", "vmdk", "vpc", "vdi"}

func TestAnImageOnAFullDiskHasNoSpace(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	testenv.NeedRoot(t)
	testenv.NeedTools(t, "qemu-img")
	who := me()
	c := testimages.Load(t, "linear-one")
	pv := who.unpack(t, c)[0]
	// What is zeros takes no room in an image.
	dir := who.mount(t, pv)
	volume := filepath.Join(dir, "banana/split")
	info, err := os.Stat(volume)
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	if err := os.WriteFile(volume, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	who.must(t, program, "umount", dir)
	disk, err := os.ReadFile(pv)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range imagesThatGrow {
		t.Run(format, func(t *testing.T) {
			small := who.tempDir(t)
			if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=256m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
			image := filepath.Join(small, "image")
			inAnImage(t, disk, format, image)
			takeAllRoom(t, small)
			mounted := who.mount(t, image)
			f, err := os.OpenFile(filepath.Join(mounted, "banana/split"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			content := make([]byte, size)
			rand.Read(content)
			_, err = f.WriteAt(content, 0)
			if err == nil {
				err = f.Sync()
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%v; want ENOSPC", err)
			}
		})
	}
}

// takeAllRoom fills the file system that a directory is the root of.
func takeAllRoom(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestAnImageThatSomeoneElseHasChangedIsStale(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "qemu-img")
	who := me()
	disk, err := os.ReadFile(who.unpack(t, testimages.Load(t, "linear-one"))[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range imagesThatGrow {
		t.Run(format, func(t *testing.T) {
			image := filepath.Join(who.tempDir(t), "image")
			inAnImage(t, disk, format, image)
			mounted := who.mount(t, image)
			if format == "qcow2" { // an image made anew has the same header
				who.must(t, "qemu-img", "snapshot", "-c", "snapshot", image)
			} else {
				inAnImage(t, disk, format, image)
			}
			volume := filepath.Join(mounted, "banana/split")
			if f, err := os.OpenFile(volume, os.O_RDWR, 0); !errors.Is(err, syscall.ESTALE) {
				f.Close()
				t.Errorf("opening it: %v; want ESTALE", err)
			}
			who.must(t, program, "-o", "remount", mounted)
			f, err := os.OpenFile(volume, os.O_RDWR, 0)
			if err != nil {
				t.Fatalf("after a remount: %v", err)
			}
			f.Close()
		})
	}
}
