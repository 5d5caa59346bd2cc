package blockdev

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// disksKernel is a system with a bit of everything.
func disksKernel(t *testing.T) kernel {
	t.Helper()
	files := map[string]string{}
	add := func(name, number, size string, more ...string) {
		files["sys/devices/"+name+"/dev"] = number
		files["sys/devices/"+name+"/size"] = size
		for i := 0; i < len(more); i += 2 {
			files["sys/devices/"+name+"/"+more[i]] = more[i+1]
		}
	}
	add("sda", "8:0", "4000")
	add("sda/sda1", "8:1", "1000", "partition", "1", "start", "2048")
	add("sda/sda2", "8:2", "1000", "partition", "2", "start", "4096", "uevent", "MAJOR=8\nDEVNAME=sda2\nPARTN=2")
	add("sda/sda3", "8:3", "1000", "partition", "3", "start", "6144")
	add("sdb", "8:16", "4000")
	add("sdc", "8:32", "4000")
	add("sdd", "8:48", "4000")
	add("sde", "8:64", "0")
	add("nvme0c0n1", "259:0", "4000", "hidden", "1")
	add("cciss!c0d0", "104:0", "4000")
	add("ram0", "1:0", "4000")
	add("ramdisk", "1:99", "4000")
	add("sr0", "11:0", "4000")
	add("fd0", "2:0", "4000")
	add("loop0", "7:0", "0")
	add("loop1", "7:1", "4000")
	add("md0", "9:0", "4000", "md/level", "raid1")
	add("md127", "9:127", "0")
	add("dm-0", "253:0", "900", "dm/uuid", "LVM-abc", "dm/name", "vg-root")
	add("dm-1", "253:1", "900", "dm/uuid", "CRYPT-LUKS2-abc", "dm/name", "no such node here")
	return fakeKernel(t, files, [][2]string{
		{"sda/sda1", "dm-0"}, {"sda/sda2", "dm-1"}, {"sdb", "md0"}, {"sdc", "md127"}, {"dm-1", "dm-0"},
	})
}

func TestDisksAreThoseOnWhichSomethingOfItsOwnLies(t *testing.T) {
	k := disksKernel(t)
	got, err := k.disks()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/dev/cciss/c0d0", "/dev/dm-1", "/dev/loop1", "/dev/md0", "/dev/ramdisk",
		"/dev/sda1", "/dev/sda3", // sda2 is what dm-1 lies on
		"/dev/sdc", // the array on it does not run
		"/dev/sdd",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutSysfsDisksAreThoseOfProc(t *testing.T) {
	k := fakeKernel(t, map[string]string{"proc/partitions": strings.Join([]string{
		"major minor  #blocks  name", "",
		"   8        0   10000 sda", "   8        1    5000 sda1", "   8       16   10000 sdb",
		" 259        0   10000 nvme0n1", " 259        1   10000 nvme0n1p1", " 259        9   10000 nvme0n10",
		"   7        0       0 loop0", "   1        0     100 ram0",
	}, "\n")}, nil)
	if err := os.Remove(filepath.Join(k.sys, "block")); err != nil {
		t.Fatal(err)
	}
	got, err := k.disks()
	if want := []string{"/dev/sda1", "/dev/sdb", "/dev/nvme0n1p1", "/dev/nvme0n10"}; err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestThePartitionsOfADiskAreFoundByWhereTheyLie(t *testing.T) {
	k := disksKernel(t)
	dir := filepath.Join(k.sys, "devices/sda")
	if got := k.partitionNodes(dir, 4096*512, 1000*512); !cmp.Equal(got, []string{"/dev/sda2"}) {
		t.Errorf("got %v", got)
	}
	for _, at := range [][2]int64{{4096 * 512, 999 * 512}, {4097 * 512, 1000 * 512}} {
		if got := k.partitionNodes(dir, at[0], at[1]); got != nil {
			t.Errorf("at %v: got %v", at, got)
		}
	}
}
