package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testtable"
)

// An ext4 is made on an LV of a PV in a partition of a disk in an image, filled and checked. QEMU then finds the image whole, and on
// the disk that it makes of it the file system is what was written; what lies beneath is as it was.
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
			loop := loopDevice(t, filepath.Join(mounted, "banana/split"))
			who.must(t, "mkfs.ext4", "-q", "-F", loop)
			inner := mountFileSystem(t, loop)
			files := fill(t, inner)
			unmountFileSystem(t, inner)
			if r := who.run(t, "e2fsck", "-f", "-n", loop); r.code != 0 {
				t.Errorf("e2fsck: exit %d\n%s", r.code, r.stdout)
			}
			who.must(t, "losetup", "-d", loop)
			who.must(t, program, "umount", mounted)

			if format == "qcow2" || format == "vdi" {
				who.must(t, "qemu-img", "check", "-f", format, image)
			}
			if now, _ := os.ReadFile(path("base")); !bytes.Equal(now, beneath) {
				t.Error("what lies beneath was written")
			}
			who.must(t, "qemu-img", "convert", "-f", format, "-O", "raw", image, raw)
			mounted = who.mount(t, "-r", raw)
			loop = loopDevice(t, filepath.Join(mounted, "banana/split"), "--read-only")
			if r := who.run(t, "e2fsck", "-f", "-n", loop); r.code != 0 {
				t.Errorf("e2fsck of what QEMU made of it: exit %d\n%s", r.code, r.stdout)
			}
			inner = mountFileSystem(t, loop, "-o", "ro")
			for file, want := range files {
				if got, err := os.ReadFile(filepath.Join(inner, file)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what was written (%v)", file, err)
				}
			}
			unmountFileSystem(t, inner)
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
