package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// On a running system a PV is found where the system has it: on the partition's own device and not on the whole
// disk's; on an array that runs and not on its members, but on the members of one that does not run. It is found once,
// however many devices show it, and its users are named. Writing claims only the partition.
func TestAScanTakesPVsFromTheDevicesOfTheSystem(t *testing.T) {
	testenv.NeedVM(t)
	var disks []string
	for _, name := range []string{"part-mbr", "md-raid1-1.0", "md-raid5", "linear-one"} {
		c := testimages.Load(t, name)
		disks = append(disks, me().unpack(t, c)...)
	}
	dir := me().tempDir(t)
	in := filepath.Join(dir, "in")
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in, "lvm2fs"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	out := guest{in: in, memory: 1024, disks: disks, script: guestScript(t, `set -e
cp /in/lvm2fs /tmp
mdadm --assemble --readonly /dev/md7 /run/d/d001 /run/d/d002
vgchange -ay --sysinit vg_mbr
/tmp/lvm2fs list --scan --json >/out/scan.json 2>/out/scan.err
/tmp/lvm2fs list --json /run/d/d000 >/out/disk.json 2>/out/disk.err
readlink -f /run/d/d000 /run/d/d006 >/out/nodes
`)}.run(t)
	pvs := func(name string) (names []string) {
		t.Helper()
		var doc struct {
			Report []struct {
				PV []struct {
					Name string `json:"pv_name"`
				}
			}
		}
		if err := json.Unmarshal([]byte(guestFile(t, out, name)), &doc); err != nil {
			t.Fatal(err)
		}
		for _, pv := range doc.Report[0].PV {
			names = append(names, pv.Name)
		}
		slices.Sort(names)
		return names
	}
	nodes := strings.Fields(guestFile(t, out, "nodes"))
	want := []string{"/dev/md7", "MD array factory:md-raid5", nodes[0] + "2", nodes[0] + "6", nodes[1]}
	slices.Sort(want)
	if got := pvs("scan.json"); !slices.Equal(got, want) {
		t.Errorf("the scan found %v, want %v\n%s", got, want, guestFile(t, out, "scan.err"))
	}
	if got, want := pvs("disk.json"), []string{nodes[0] + "2", nodes[0] + "6"}; !slices.Equal(got, want) {
		t.Errorf("on the disk there are %v, want %v", got, want)
	}
	for _, name := range []string{"scan.err", "disk.err"} {
		text := guestFile(t, out, name)
		if n := strings.Count(text, "in use: active LV vg_mbr/"); n != 2 || strings.Contains(text, "duplicate") || strings.Contains(text, "no PV") {
			t.Errorf("%s: %q", name, text)
		}
	}
}
