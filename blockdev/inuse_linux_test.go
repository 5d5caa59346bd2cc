package blockdev

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeKernel makes a sysfs and a procfs. A device is a directory under sys/devices with
// the file dev; whoever holds it is linked in its directory holders.
func fakeKernel(t *testing.T, files map[string]string, holders [][2]string) kernel {
	t.Helper()
	root := t.TempDir()
	k := kernel{sys: filepath.Join(root, "sys"), proc: filepath.Join(root, "proc")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"sys/dev/block", "sys/block", "proc/self"} {
		must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		must(os.WriteFile(path, []byte(text+"\n"), 0o644))
		if dir := filepath.Dir(path); filepath.Base(path) == "dev" {
			must(os.Symlink(dir, filepath.Join(k.sys, "dev/block", text)))
			if filepath.Base(filepath.Dir(dir)) == "devices" {
				must(os.Symlink(dir, filepath.Join(k.sys, "block", filepath.Base(dir))))
			}
		}
	}
	for _, h := range holders {
		dir := filepath.Join(k.sys, "devices", h[0], "holders")
		must(os.MkdirAll(dir, 0o755))
		must(os.Symlink(filepath.Join(k.sys, "devices", h[1]), filepath.Join(dir, filepath.Base(h[1]))))
	}
	return k
}

func TestUsersAreFoundAboveADiskItsPartitionsAndItsDisk(t *testing.T) {
	k := fakeKernel(t, map[string]string{
		"sys/devices/sda/dev":              "8:0",
		"sys/devices/sda/sda1/dev":         "8:1",
		"sys/devices/sda/sda1/partition":   "1",
		"sys/devices/sda/sda2/dev":         "8:2",
		"sys/devices/sda/sda2/partition":   "2",
		"sys/devices/sda/sda3/dev":         "8:3",
		"sys/devices/sda/sda3/partition":   "3",
		"sys/devices/sda/queue/rotational": "1",

		"sys/devices/sdb/dev":            "8:16",
		"sys/devices/sdb/sdb1/dev":       "8:17",
		"sys/devices/sdb/sdb1/partition": "1",
		"sys/devices/sdc/dev":            "8:32",
		"sys/devices/sdd/dev":            "8:48",
		"sys/devices/sde/dev":            "8:64",

		"sys/devices/dm-0/dev":     "253:0",
		"sys/devices/dm-0/dm/name": "my--vg-root--lv",
		"sys/devices/dm-0/dm/uuid": "LVM-aaaabbbb",
		"sys/devices/dm-1/dev":     "253:1",
		"sys/devices/dm-1/dm/name": "mpatha",
		"sys/devices/dm-1/dm/uuid": "mpath-36001405",
		"sys/devices/dm-2/dev":     "253:2",
		"sys/devices/dm-2/dm/name": "secret",
		"sys/devices/dm-2/dm/uuid": "CRYPT-LUKS2-0123-secret",
		"sys/devices/dm-3/dev":     "253:3",
		"sys/devices/dm-3/dm/name": "made by hand",
		"sys/devices/dm-3/dm/uuid": "",
		"sys/devices/md0/dev":      "9:0",
		"sys/devices/md0/md/level": "raid1",
		"sys/devices/bcache0/dev":  "252:0",
		"sys/devices/nbd7/dev":     "43:7",

		"proc/self/mountinfo": strings.Join([]string{
			`22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/my--vg-root--lv rw`,
			`23 22 8:2 / /mnt/two\040words rw - ext4 /dev/sda2 rw`,
			`24 22 0:45 / /srv rw - btrfs /dev/sde rw`,
			`25 22 0:46 / /mnt/lvm rw - fuse.lvm2fs /dev/sdd rw`,
			`26 22 0:47 / /proc rw - proc proc rw`,
			`garbage`,
		}, "\n"),
		"proc/swaps": "Filename Type Size Used Priority\n/dev/sda3 partition 1 0 -2\n/swapfile file 1 0 -3",
	}, [][2]string{
		{"sda/sda1", "dm-0"}, {"sdb", "dm-1"}, {"sdc", "md0"}, {"md0", "dm-2"}, {"sdd", "dm-3"}, {"sdd", "bcache0"}, {"sdd", "nbd7"},
	})
	root := Holder{"active LV my-vg/root-lv (dm-0), mounted on /", ""}
	two := Holder{"mounted on '/mnt/two words'", "umount '/mnt/two words'"}
	for _, c := range []struct {
		what   string
		device number
		want   []Holder
	}{
		{"a disk has the users of its partitions", "8:0", []Holder{
			{"sda1: " + root.What, root.Release}, {"sda2: " + two.What, two.Release}, {"sda3: swap area", "swapoff /dev/sda3"},
		}},
		{"a partition has its own", "8:1", []Holder{root}},
		{"and not those of its neighbours", "8:2", []Holder{two}},
		{"but those of its disk", "8:17", []Holder{
			{"part of a disk in use: path of multipath device mpatha (dm-1)", "multipath -f mpatha"},
		}},
		{"who is above a holder must go first", "8:32", []Holder{
			{"MD array md0, open LUKS container secret (dm-2)", "cryptsetup close secret && mdadm --stop /dev/md0"},
		}},
		{"a FUSE mount that calls itself after a device does not use it", "8:48", []Holder{
			{"bcache device bcache0", "echo 1 > /sys/block/bcache0/bcache/stop"},
			{"device-mapper device made by hand (dm-3)", "dmsetup remove 'made by hand'"},
			{"block device nbd7", ""},
		}},
		{"a file system with a number of its own is known by its source", "8:64", []Holder{{"mounted on /srv", "umount /srv"}}},
		{"a device that sysfs does not know has none", "8:99", nil},
	} {
		if diff := cmp.Diff(c.want, k.deviceUsers(c.device)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestOfManyUsersAFewAreNamedAndEachCommandOnce(t *testing.T) {
	files := map[string]string{
		"sys/devices/sda/dev":      "8:0",
		"sys/devices/dm-0/dev":     "253:0",
		"sys/devices/dm-0/dm/name": "vg-pool-tpool",
		"sys/devices/dm-0/dm/uuid": "LVM-aaaa-tpool",
	}
	holders := [][2]string{{"sda", "dm-0"}}
	for _, n := range []string{"1", "2", "3", "4", "5"} {
		files["sys/devices/dm-"+n+"/dev"] = "253:" + n
		files["sys/devices/dm-"+n+"/dm/name"] = "vg-thin" + n
		files["sys/devices/dm-"+n+"/dm/uuid"] = "LVM-bbbb" + n
		holders = append(holders, [2]string{"dm-0", "dm-" + n})
	}
	want := []Holder{{
		"active LV vg/pool-tpool (dm-0), active LV vg/thin1 (dm-1), active LV vg/thin2 (dm-2), active LV vg/thin3 (dm-3), and 2 more",
		"vgchange -an vg",
	}}
	if diff := cmp.Diff(want, fakeKernel(t, files, holders).deviceUsers("8:0")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOnlyALoopDeviceInUseUsesItsFile(t *testing.T) {
	image, other := writeImage(t, noise(512)), writeImage(t, noise(512))
	k := fakeKernel(t, map[string]string{
		"sys/devices/loop0/dev":               "7:0",
		"sys/devices/loop0/loop/backing_file": image,
		"sys/devices/loop1/dev":               "7:1",
		"sys/devices/loop1/loop/backing_file": image,
		"sys/devices/loop1/loop1p1/dev":       "259:1",
		"sys/devices/loop1/loop1p1/partition": "1",
		"sys/devices/loop2/dev":               "7:2",
		"sys/devices/loop2/loop/backing_file": other,
		"sys/devices/loop3/dev":               "7:3",
		"sys/devices/loop3/loop/backing_file": image + " (deleted)",
		"proc/self/mountinfo": "23 22 259:1 / /mnt rw - ext4 /dev/loop1p1 rw\n" +
			"24 22 7:2 / /other rw - ext4 /dev/loop2 rw\n25 22 7:3 / /gone rw - ext4 /dev/loop3 rw",
	}, nil)
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := []Holder{{"attached to loop1, mounted on /mnt", "umount /mnt && losetup -d /dev/loop1"}}
	if diff := cmp.Diff(want, k.fileUsers(f)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDevicesInACircleAreNotFollowedForever(t *testing.T) {
	k := fakeKernel(t, map[string]string{
		"sys/devices/dm-0/dev":     "253:0",
		"sys/devices/dm-0/dm/name": "a",
		"sys/devices/dm-1/dev":     "253:1",
		"sys/devices/dm-1/dm/name": "b",
	}, [][2]string{{"dm-0", "dm-1"}, {"dm-1", "dm-0"}})
	if users := k.deviceUsers("253:0"); len(users) != 1 {
		t.Errorf("%d users, want 1", len(users))
	}
}

func TestASystemThatTellsNothingHasNoUsers(t *testing.T) {
	k := kernel{sys: filepath.Join(t.TempDir(), "sys"), proc: filepath.Join(t.TempDir(), "proc")}
	if users := k.deviceUsers("8:0"); users != nil {
		t.Errorf("%v", users)
	}
}
