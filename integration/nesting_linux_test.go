package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// A PV in LUKS on an MD array over partitions of disks, which are virtual ones of two formats.
func TestAPVUnderEverythingAtOnceIsReadAsTheKernelWroteIt(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "qemu-img")
	dir := me().tempDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	script := `set -e
printf %s banana >/key
for d in d000 d001; do
	echo 'start=2048, type=R' | sfdisk -q -X gpt "$(readlink -f /run/d/$d)"
done
sleep 1
mdadm --create /dev/md0 --run --quiet --level=0 --chunk=64 --raid-devices=2 --metadata=1.2 \
	"$(readlink -f /run/d/d000)1" "$(readlink -f /run/d/d001)1"
cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/md0 /key
cryptsetup open --key-file /key /dev/md0 inner
vgcreate -q deep /dev/mapper/inner
lvcreate -q -Wn -Zn -L 48M -n data deep
dd if=/dev/urandom of=/dev/deep/data bs=1M count=48 conv=fsync
sha256sum </dev/deep/data >/out/result
vgchange -an deep
cryptsetup close inner
mdadm --stop /dev/md0
sync
`
	if err := os.WriteFile(path("key"), []byte("banana"), 0o600); err != nil {
		t.Fatal(err)
	}
	disks := []string{path("a"), path("b")}
	want := guestFile(t, guest{script: guestScript(t, script), disks: disks, prepare: func() {
		for _, disk := range disks {
			if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 64<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}}.run(t), "result")
	me().must(t, "qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", path("a"), path("a.qcow2"))
	me().must(t, "qemu-img", "convert", "-O", "vmdk", path("b"), path("b.vmdk"))
	args := []string{"--key-file", path("key"), path("b.vmdk"), path("a.qcow2")}
	mounted := me().mount(t, args...)
	if got := fileSum(t, filepath.Join(mounted, "deep/data")); got != strings.Fields(want)[0] {
		t.Errorf("read %s, the kernel wrote %s", got, want)
	}
	tree := me().must(t, program, append([]string{"list", "--tree"}, args...)...)
	t.Log("\n" + tree)
	for _, layer := range []string{"a.qcow2", "b.vmdk", "partition 1", "raid0", "LUKS", "deep", "data"} {
		if !strings.Contains(tree, layer) {
			t.Errorf("the tree shows no %s:\n%s", layer, tree)
		}
	}
}
