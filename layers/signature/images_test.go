package signature_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/layers/signature"
)

// first is the signature that the disks of the cases start with where they are not plain
// PVs, by "case/disk" or "case"; * stands for what differs from disk to disk.
var first = map[string]string{
	"md-linear":         "Linux MD member (superblock 1.2, array *)",
	"md-raid0":          "Linux MD member (superblock 1.2, array *)",
	"md-raid1-0.90":     "Linux MD member (superblock 0.90)",
	"md-raid1-1.0":      "Linux MD member (superblock 1.0, array *)",
	"md-raid1-1.1":      "Linux MD member (superblock 1.1, array *)",
	"md-raid1-1.2":      "Linux MD member (superblock 1.2, array *)",
	"md-raid10-f2":      "Linux MD member (superblock 1.2, array *)",
	"md-raid10-n2":      "Linux MD member (superblock 1.2, array *)",
	"md-raid10-o2":      "Linux MD member (superblock 1.2, array *)",
	"md-raid4-1.0":      "Linux MD member (superblock 1.0, array *)",
	"md-raid5":          "Linux MD member (superblock 1.2, array *)",
	"md-raid5-degraded": "Linux MD member (superblock 1.2, array *)",
	"md-raid6":          "Linux MD member (superblock 1.2, array *)",
	"luks1":             "LUKS1 container",
	"luks2":             "LUKS2 container",
	"luks2-4k":          "LUKS2 container",
	"part-gpt":          "GPT partition table",
	"part-mbr":          "MBR partition table (3 partitions)",
	"sector4k/gpt0.img": "GPT partition table",

	"formats/disk0.qcow2":            "qcow2 image (version 3)",
	"formats/disk0-compressed.qcow2": "qcow2 image (version 3)",
	"formats/disk0-zstd.qcow2":       "qcow2 image (version 3)",
	"formats/disk0-v2.qcow2":         "qcow2 image (version 2)",
	"formats/disk0-extl2.qcow2":      "qcow2 image (version 3)",
	"formats/disk0.vmdk":             "VMDK image",
	"formats/disk0-stream.vmdk":      "VMDK image",
	"formats/disk0.vhd":              "VHD image (dynamic)",
	"formats/disk0.vhdx":             "VHDX image",
	"formats/disk0.vdi":              "VDI image",
}

func TestTheDisksOfEveryCaseLookLikeWhatTheyAre(t *testing.T) {
	testenv.Long(t)
	for _, c := range testimages.Images(t) {
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			if err := testimages.Extract(filepath.Join(c.Dir, "disks.tar.zst"), dir); err != nil {
				t.Fatal(err)
			}
			disks, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(disks) == 0 {
				t.Fatal(disks, err)
			}
			for _, path := range disks {
				checkDisk(t, c.Name, path)
			}
		})
	}
}

func checkDisk(t *testing.T, name, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	disk := name + "/" + filepath.Base(path)
	want, known := first[disk]
	if !known {
		want, known = first[name]
	}
	if !known {
		want = "LVM2 physical volume"
	}
	component, err := signature.Component(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	found, err := signature.Detect(f, info.Size())
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: looks like nothing: %v", disk, err)
	}
	before, after, _ := strings.Cut(want, "*")
	if got := found[0].Name; !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
		t.Errorf("%s looks like a %s, want %s", disk, got, want)
	}
	if isOne := strings.HasPrefix(want, "Linux MD") || strings.HasPrefix(want, "LUKS"); isOne != (component != nil) {
		t.Errorf("%s: Component says %v, but it is a %s", disk, component, want)
	} else if isOne && (*component != found[0] || component.Kind != signature.KindComponent) {
		t.Errorf("%s: Component says %v, Detect %v first", disk, component, found[0])
	}
}
