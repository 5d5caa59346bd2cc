package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// attacher attaches LVs for one test.
type attacher struct {
	t       *testing.T
	dir     string            // in place of /run/lvm2fs
	devices map[string]string // that were made, and their marks
}

// newAttacher detaches everything when the test ends, and checks that nothing is left.
func newAttacher(t *testing.T) *attacher {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedLoop(t)
	testenv.NeedFUSE(t)
	a := &attacher{t: t, dir: me().tempDir(t), devices: map[string]string{}}
	t.Setenv("LVM2FS_RUN_DIR", a.dir)
	t.Cleanup(func() {
		if r := me().run(t, program, "detach", "--all"); r.code != 0 {
			t.Errorf("detach --all: exit %d\n%s", r.code, r.stderr)
		}
		a.nothingIsLeft()
	})
	return a
}

// nothingIsLeft of what was attached: no loop device, no link, no process.
func (a *attacher) nothingIsLeft() {
	a.t.Helper()
	for device, mark := range a.devices { // which may have become another's
		if mark != "" && markOf(device) == mark {
			a.t.Errorf("%s is left: %s", device, mark)
		}
	}
	if left := names(a.dir); len(a.devices) > 0 && !slices.Equal(left, []string{"@attached"}) {
		a.t.Errorf("%v are left in the directory", left)
	}
	if !waitFor(10*time.Second, func() bool { return len(a.processes()) == 0 }) {
		a.t.Errorf("the processes %v are left", a.processes())
	}
}

func markOf(device string) string {
	f, err := os.Open(device)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.File_name[:])
}

// processes in the background of this test.
func (a *attacher) processes() (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(p, "environ"))
		if bytes.HasPrefix(args, []byte(program+"\x00")) && bytes.Contains(environment, []byte("LVM2FS_RUN_DIR="+a.dir+"\x00")) {
			found = append(found, filepath.Base(p))
		}
	}
	return found
}

// attach gives the devices that were printed, one for each --lv.
func (a *attacher) attach(args ...string) []string {
	a.t.Helper()
	var devices []string
	for line := range strings.Lines(me().must(a.t, program, append([]string{"attach"}, args...)...)) {
		device := strings.Fields(line)[1]
		devices = append(devices, device)
		a.devices[device] = markOf(device)
	}
	return devices
}

// refused runs a command that must fail and say this.
func (a *attacher) refused(says string, args ...string) {
	a.t.Helper()
	if r := me().run(a.t, program, args...); r.code != 1 || !strings.Contains(r.stderr, says) {
		a.t.Errorf("%v: exit %d, want 1; want %q in:\n%s", args, r.code, says, r.stderr)
	}
}

type attachedLV struct {
	LV, Device, Link, Way, State string
	Size                         int64
	ReadOnly                     bool `json:"read_only"`
	DirectIO                     bool `json:"direct_io"`
	Process                      int
	Partitions                   []string
}

// list is what attach --list --json shows of an LV; nil if it shows none.
func (a *attacher) list(lv string) *attachedLV {
	a.t.Helper()
	var listed struct{ Attached []attachedLV }
	text := me().must(a.t, program, "attach", "--list", "--json")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		a.t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile("../docs/attach.schema.json")
	if err != nil {
		a.t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		a.t.Error(err)
	}
	if err := json.Unmarshal([]byte(text), &listed); err != nil {
		a.t.Fatal(err)
	}
	for i := range listed.Attached {
		if listed.Attached[i].LV == lv {
			return &listed.Attached[i]
		}
	}
	return nil
}

// fioSeconds is how long each file system is written to. LVM2FS_ATTACH_SECONDS is for those who have more time.
func fioSeconds() string {
	if s := os.Getenv("LVM2FS_ATTACH_SECONDS"); s != "" {
		return s
	}
	return "1"
}

func TestFileSystemsOnAttachedVolumesAreCleanAndAllSeeTheSame(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "fsck.ext4", "xfs_repair", "btrfs", "fio")
	large := func(t *testing.T, create ...string) (disks []string) {
		g := newGroupOf(t, 400<<20)
		g.lvm(append(append([]string{"lvcreate", "-an", "-Zn", "-Wn", "-n", "data"}, create...), "tg")...)
		return g.loops
	}
	image := func(name string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			c := testimages.Load(t, name)
			return append(me().flags(t, c), me().unpack(t, c)...)
		}
	}
	for _, c := range []struct {
		name, lv, way, fs string
		disks             func(*testing.T) []string
	}{
		{"ext4 on linear", "tg/data", "direct", "ext4", func(t *testing.T) []string { return large(t, "-L", "320m") }},
		{"XFS on linear", "tg/data", "direct", "xfs", func(t *testing.T) []string { return large(t, "-L", "320m") }},
		{"btrfs on linear", "tg/data", "direct", "btrfs", func(t *testing.T) []string { return large(t, "-L", "320m") }},
		{"ext4 on striped", "tg/data", "mount", "ext4", func(t *testing.T) []string { return large(t, "-L", "320m", "-i2", "-I64k") }},
		{"XFS on striped", "tg/data", "mount", "xfs", func(t *testing.T) []string { return large(t, "-L", "320m", "-i2", "-I64k") }},
		{"btrfs on striped", "tg/data", "mount", "btrfs", func(t *testing.T) []string { return large(t, "-L", "320m", "-i2", "-I64k") }},
		{"ext4 on raid5", "vg_raid5_ls/wide", "mount", "ext4", image("raid5_ls")},
		{"ext4 on cache", "vg_cachewt/wtvol2", "mount", "ext4", image("cache-wt")},
		{"ext4 on LUKS", "vg_luks2/data", "mount", "ext4", image("luks2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAttacher(t)
			disks := c.disks(t)
			device := a.attach(append([]string{"--lv", c.lv}, disks...)...)[0]
			if got := a.list(c.lv); got == nil || got.Way != c.way || got.Device != device || !got.DirectIO || got.State != "ok" {
				t.Fatalf("listed as %+v, want way %s, device %s", got, c.way, device)
			}
			if link, err := os.Readlink(filepath.Join(a.dir, c.lv)); link != device {
				t.Errorf("the link leads to %q, %v", link, err)
			}
			force := map[string]string{"ext4": "-F", "xfs": "-f", "btrfs": "-f"}[c.fs]
			me().must(t, "mkfs."+c.fs, "-q", force, device)
			dir := mountFileSystem(t, device)
			files := map[string][]byte{}
			if freeBytes(t, dir) > 3<<20 {
				files = fill(t, dir)
			}
			free := freeBytes(t, dir)
			me().must(t, "fio", "--name=verify", "--directory="+dir, "--rw=randrw", "--bsrange=4k-64k", "--ioengine=libaio", "--iodepth=16",
				"--direct=1", "--verify=crc32c", "--time_based", "--runtime="+fioSeconds(), "--size="+strconv.FormatInt(min(free/2, 128<<20)>>16*64, 10)+"k") // whole blocks, or fio verifies wrongly
			if trimmed := me().run(t, "fstrim", dir); trimmed.code != 0 && !(strings.Contains(c.name, "LUKS") && strings.Contains(trimmed.stderr, "not supported")) {
				t.Errorf("fstrim: exit %d\n%s", trimmed.code, trimmed.stderr)
			}
			for name, want := range files {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what was written (%v)", name, err)
				}
			}
			unmountFileSystem(t, dir)
			check := map[string][]string{"ext4": {"fsck.ext4", "-fn"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check"}}[c.fs]
			me().must(t, check[0], append(check[1:], device)...)
			want := fileSum(t, device)
			me().must(t, program, "detach", c.lv)
			mnt := me().mount(t, append([]string{"-r"}, disks...)...)
			if got := fileSum(t, filepath.Join(mnt, c.lv)); got != want {
				t.Errorf("the mount shows %s, and the device had %s", got, want)
			}
		})
	}
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

func TestVolumesThatCannotBeWrittenAreAttachedReadOnly(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "qemu-img")
	t.Run("thin", func(t *testing.T) {
		a, c := newAttacher(t), testimages.Load(t, "thin")
		disks := me().unpack(t, c)
		before := stamps(t, disks)
		var args []string
		var lvs []*testimages.LV
		for i := range c.LVs {
			if lv := &c.LVs[i]; !strings.HasSuffix(lv.Path(), "/pool") {
				lvs = append(lvs, lv)
				args = append(args, "--lv", lv.Path())
			}
		}
		for i, device := range a.attach(append(append([]string{"-r"}, args...), disks...)...) {
			verify(t, c, lvs[i], verifyFile(lvs[i], device))
			if f, err := os.OpenFile(device, os.O_WRONLY, 0); err == nil {
				if _, err := f.Write(make([]byte, 512)); err == nil {
					err = f.Sync()
					if err == nil {
						t.Errorf("%s can be written", device)
					}
				}
				f.Close()
			}
		}
		if after := stamps(t, disks); !slices.Equal(before, after) {
			t.Errorf("the disks have been written to: %v, and now %v", before, after)
		}
	})
	t.Run("in a VMDK image for transport, which is only read", func(t *testing.T) {
		a, c := newAttacher(t), testimages.Load(t, "linear-one")
		image := filepath.Join(me().tempDir(t), "disk.vmdk")
		me().must(t, "qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", me().unpack(t, c)[0], image)
		a.refused("(-r attaches it read-only)", "attach", "--lv", c.LVs[0].Path(), image)
		for i := range c.LVs {
			verify(t, c, &c.LVs[i], verifyFile(&c.LVs[i], a.attach("-r", "--lv", c.LVs[i].Path(), image)[0]))
		}
	})
}

func TestAVolumeInAnImageIsAttachedForWriting(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "qemu-img")
	for _, format := range []string{"qcow2", "vhdx"} {
		t.Run(format, func(t *testing.T) { attachImageForWriting(t, format) })
	}
}

func attachImageForWriting(t *testing.T, format string) {
	t.Helper()
	a, c := newAttacher(t), testimages.Load(t, "linear-one")
	image := filepath.Join(me().tempDir(t), "disk."+format)
	args := []string{"convert", "-O", format}
	if format == "qcow2" {
		args = append(args, "-c")
	}
	me().must(t, "qemu-img", append(args, me().unpack(t, c)[0], image)...)
	path := c.LVs[0].Path()
	device := a.attach("--lv", path, image)[0]
	want := bytes.Repeat([]byte("written "), 1000)
	if f, err := os.OpenFile(device, os.O_WRONLY, 0); err != nil {
		t.Error(err)
	} else if _, err := f.WriteAt(want, 5000); errors.Join(err, f.Close()) != nil {
		t.Error(err)
	}
	me().must(t, program, "detach", device)
	me().must(t, "qemu-img", "check", image)
	got := make([]byte, len(want))
	if f, err := os.Open(a.attach("-r", "--lv", path, image)[0]); err != nil {
		t.Error(err)
	} else if _, err := f.ReadAt(got, 5000); errors.Join(err, f.Close()) != nil || !bytes.Equal(got, want) {
		t.Errorf("what was written is not read: %v", err)
	}
}

func TestAttachingAgainTellsTheSameDeviceAndDetachingNamesTheMount(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "mkfs.ext4")
	for _, layout := range [][]string{{"-L", "8m"}, {"-L", "8m", "-i2"}} {
		t.Run(strings.Join(layout, " "), func(t *testing.T) {
			a, g := newAttacher(t), newGroup(t)
			g.lvm(append(append([]string{"lvcreate", "-an", "-Zn", "-Wn", "-n", "data"}, layout...), "tg")...)
			args := append([]string{"--lv", "tg/data"}, g.loops...)
			device := a.attach(args...)[0]
			if again := a.attach(args...)[0]; again != device {
				t.Errorf("attached as %s, and again as %s", device, again)
			}
			a.refused("attached already, for writing too, as "+device, append([]string{"attach", "-r"}, args...)...)
			me().must(t, "mkfs.ext4", "-q", device)
			dir := mountFileSystem(t, device)
			a.refused("mounted on "+dir, "detach", "tg/data")
			a.refused("mounted on "+dir, "detach", "--all")
			unmountFileSystem(t, dir)
			me().must(t, program, "detach", device)
			a.refused("not attached", "detach", "tg/data")
		})
	}
}

func TestWhoHoldsADiskIsNamedToWhoWantsToAttach(t *testing.T) {
	testenv.Long(t)
	for _, layout := range [][]string{{"-L", "8m"}, {"-L", "8m", "-i2"}} {
		t.Run(strings.Join(layout, " "), func(t *testing.T) {
			a, g := newAttacher(t), newGroup(t)
			g.lvm(append(append([]string{"lvcreate", "-an", "-Zn", "-Wn", "-n", "data"}, layout...), "tg")...)
			d := me().serve(t, g.loops...)
			f, err := os.OpenFile(filepath.Join(d.dir, "tg/data"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			a.refused(fmt.Sprintf("in use: open for writing by process %d", d.cmd.Process.Pid), append([]string{"attach", "--lv", "tg/data"}, g.loops...)...)
			f.Close()
			a.attach(append([]string{"--lv", "tg/data"}, g.loops...)...)
			if f, err := os.OpenFile(filepath.Join(d.dir, "tg/data"), os.O_RDWR, 0); err == nil {
				f.Close()
				t.Error("a mount can write to an LV that is attached")
			}
		})
	}
}

// Several commands may attach LVs of one disk, although only one of them can claim it.
func TestLVsOfOneDiskAreAttachedOneAfterTheOtherAndDetachedInAnyOrder(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("one", "4m", 0)
	g.create("two", "4m", 0)
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "striped", "-L", "8m", "-i2", "tg")
	all := []string{"one", "two", "striped"}
	claimed := func() bool {
		f, err := os.OpenFile(g.loops[0], os.O_RDWR|unix.O_EXCL, 0)
		if err == nil {
			f.Close()
		}
		return err != nil
	}
	for i := range 3 {
		for j := range 3 {
			attach := []string{all[i], all[(i+1)%3], all[(i+2)%3]}
			detach := []string{all[j], all[(j+2)%3], all[(j+1)%3]}
			t.Run(strings.Join(append(attach, detach...), " "), func(t *testing.T) {
				a := newAttacher(t)
				for i, name := range attach {
					if r := me().run(t, program, append([]string{"attach", "--lv", "tg/" + name}, g.loops...)...); i > 0 && r.stderr != "" {
						t.Errorf("attaching %s says: %s", name, r.stderr)
					}
					device := a.attach(append([]string{"--lv", "tg/" + name}, g.loops...)...)[0]
					write(t, device, bytes.Repeat([]byte(name[:1]), 1<<20), 1<<20)
				}
				for _, name := range detach {
					if !claimed() {
						t.Errorf("before %s is detached, others can have the disk", name)
					}
					me().must(t, program, "detach", "tg/"+name)
				}
				if claimed() {
					t.Error("others cannot have the disk in the end")
				}
				a.nothingIsLeft()
				mnt := me().mount(t, append([]string{"-r"}, g.loops...)...)
				for _, name := range all {
					content, err := os.ReadFile(filepath.Join(mnt, "tg", name))
					if err != nil || !bytes.Equal(content[1<<20:2<<20], bytes.Repeat([]byte(name[:1]), 1<<20)) {
						t.Errorf("%s is not what was written (%v)", name, err)
					}
				}
			})
		}
	}
}

func TestADeviceWhoseProcessIsKilledFailsAndIsAttachedAnew(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "mkfs.ext4", "fsck.ext4")
	a, g := newAttacher(t), newGroupOf(t, 128<<20)
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "data", "-i2", "-L", "200m", "tg")
	args := append([]string{"--lv", "tg/data"}, g.loops...)
	device := a.attach(args...)[0]
	me().must(t, "mkfs.ext4", "-q", device)
	dir := mountFileSystem(t, device)
	load := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(dir, "file"), "bs=64k", "count=100000", "oflag=direct", "conv=notrunc", "seek=0")
	var said bytes.Buffer
	load.Stderr = &said
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := syscall.Kill(a.list("tg/data").Process, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = load.Wait()
	if !strings.Contains(said.String(), "Input/output error") {
		t.Skipf("SKIP: the load was over before the process was killed: %s", said.String())
	}
	if got := a.list("tg/data"); got == nil || got.State != "dead" {
		t.Errorf("listed as %+v, want it dead", got)
	}
	a.refused("mounted on "+dir, "detach", "tg/data")
	a.refused("the process behind it is gone", append([]string{"attach"}, args...)...)
	unmountFileSystem(t, dir)
	me().must(t, program, "detach", "tg/data")
	a.nothingIsLeft()
	device = a.attach(args...)[0]
	if r := me().run(t, "fsck.ext4", "-fy", device); r.code > 1 {
		t.Errorf("fsck: exit %d\n%s", r.code, r.stdout)
	}
	me().must(t, "fsck.ext4", "-fn", device)

	// Without detaching, if nobody uses it.
	if err := syscall.Kill(a.list("tg/data").Process, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(5*time.Second, func() bool { return a.list("tg/data").State == "dead" })
	device = a.attach(args...)[0]
	if got := a.list("tg/data"); got.State != "ok" || got.Device != device {
		t.Errorf("listed as %+v", got)
	}
}

func TestDevicesFollowTheirVolumesThroughAReload(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "mkfs.ext4", "resize2fs", "fsck.ext4")
	for _, c := range []struct {
		way    string
		layout []string
	}{
		{"direct", nil},
		{"mount", []string{"-i2"}},
	} {
		t.Run(c.way, func(t *testing.T) {
			a, g := newAttacher(t), newGroup(t)
			g.lvm(append(append([]string{"lvcreate", "-an", "-Zn", "-Wn", "-n", "data", "-L", "8m"}, c.layout...), "tg")...)
			device := a.attach(append([]string{"--lv", "tg/data"}, g.loops...)...)[0]
			if got := a.list("tg/data"); got.Way != c.way {
				t.Fatalf("listed as %+v, want way %s", got, c.way)
			}
			size := func(want int64) {
				t.Helper()
				text := strings.TrimSpace(me().must(t, "blockdev", "--getsize64", device))
				if got := a.list("tg/data"); text != strconv.FormatInt(want, 10) || got.Size != want || got.State != "ok" {
					t.Errorf("%s has %s bytes, want %d; listed as %+v", device, text, want, got)
				}
			}
			me().must(t, "mkfs.ext4", "-q", device)
			dir := mountFileSystem(t, device)
			files := fill(t, dir)
			g.lvm("lvextend", "-L", "16m", "tg/data")
			if r := me().run(t, program, "attach", "--reload"); r.code != 0 || !strings.Contains(r.stderr, "has grown from 8388608 to 16777216 bytes") {
				t.Errorf("exit %d\n%s", r.code, r.stderr)
			}
			size(16 << 20)
			for name, want := range files {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what was written (%v)", name, err)
				}
			}
			unmountFileSystem(t, dir)
			me().must(t, "fsck.ext4", "-fn", device)
			me().must(t, "fsck.ext4", "-fy", device) // which resize2fs asks for
			me().must(t, "resize2fs", device)
			me().must(t, "fsck.ext4", "-fn", device)

			g.lvm("lvreduce", "-ff", "-L", "4m", "tg/data")
			if r := me().run(t, program, "attach", "--reload"); r.code != 0 || !strings.Contains(r.stderr, "has shrunk from 16777216 to 4194304 bytes") {
				t.Errorf("exit %d\n%s", r.code, r.stderr)
			}
			size(4 << 20)

			g.lvm("lvremove", "tg/data")
			g.create("other", "20m", 0) // on the extents of the one that is gone
			a.refused("tg/data is gone: all that uses "+device+" gets errors from now on", "attach", "--reload")
			if got := a.list("tg/data"); got.State != "lost" {
				t.Errorf("listed as %+v", got)
			}
			if f, err := os.Open(device); err == nil {
				if n, err := f.ReadAt(make([]byte, 512), 0); n != 0 || err == nil {
					t.Errorf("%d bytes of %s could be read", n, device)
				}
				f.Close()
			}
			me().must(t, program, "detach", "tg/data")
		})
	}
}

// Until somebody says reload, a process in the background may know that an LV is shorter now while the kernel does
// not.
func TestReadingBehindTheEndOfAVolumeThatHasShrunkIsAnError(t *testing.T) {
	testenv.Long(t)
	a, g := newAttacher(t), newGroup(t)
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "data", "-L", "8m", "-i2", "tg")
	device := a.attach(append([]string{"--lv", "tg/data"}, g.loops...)...)[0]
	g.lvm("lvreduce", "-ff", "-L", "4m", "tg/data")
	if err := syscall.Kill(a.list("tg/data").Process, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	fails := func() bool {
		f, err := os.OpenFile(device, os.O_RDONLY|syscall.O_DIRECT, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(p)
		_, err = f.ReadAt(p, 6<<20)
		return err != nil
	}
	if !waitFor(5*time.Second, fails) {
		t.Error("bytes behind the end could be read")
	}
}

func TestAHundredTimesLeaveNothing(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("linear", "4m", 0)
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "striped", "-L", "8m", "-i2", "tg")
	for lv, times := range map[string]int{"tg/linear": 90, "tg/striped": 10} {
		t.Run(lv, func(t *testing.T) {
			a := newAttacher(t)
			for range times {
				a.attach(append([]string{"--lv", lv}, g.loops...)...)
				me().must(t, program, "detach", lv)
			}
			a.nothingIsLeft()
		})
	}
	for _, loop := range g.loops {
		f, err := os.OpenFile(loop, os.O_RDWR|unix.O_EXCL, 0)
		if err != nil {
			t.Fatalf("somebody has the disk still: %v", err)
		}
		f.Close()
	}
}

func TestBlocksAreAsLargeAsTheSectorsOfTheDisk(t *testing.T) {
	a, c := newAttacher(t), testimages.Load(t, "sector4k")
	var loops []string
	for _, disk := range me().unpack(t, c) {
		loops = append(loops, loopDevice(t, disk, "--sector-size", "4096"))
	}
	lv := &c.LVs[0]
	for _, flags := range [][]string{nil, {"--mounted"}} {
		device := a.attach(append(append(flags, "--lv", lv.Path()), loops...)...)[0]
		if got := strings.TrimSpace(me().must(t, "blockdev", "--getss", device)); got != "4096" || !a.list(lv.Path()).DirectIO {
			t.Errorf("%v: blocks of %s bytes, listed as %+v", flags, got, a.list(lv.Path()))
		}
		verify(t, c, lv, verifyFile(lv, device))
		me().must(t, program, "detach", lv.Path())
	}
}

func TestAPassphraseIsAskedForOnceAlthoughTwoProcessesNeedIt(t *testing.T) {
	a, c := newAttacher(t), testimages.Load(t, "luks2-4k")
	lv := &c.LVs[0]
	shown, code := typeAtTerminal(t, []string{c.Extra.Passphrase + "\n"}, program, "attach", "-r", "--lv", lv.Path(), me().unpack(t, c)[0])
	if code != 0 || strings.Count(shown, "assphrase") != 1 {
		t.Fatalf("exit %d, shown:\n%s", code, shown)
	}
	device := a.list(lv.Path()).Device
	a.devices[device] = markOf(device)
	verify(t, c, lv, verifyFile(lv, device))
}

// partitioned makes tg/linear and tg/striped, each with a GPT of two partitions.
func partitioned(t *testing.T, a *attacher) *group {
	t.Helper()
	testenv.NeedTools(t, "sfdisk")
	g := newGroup(t)
	g.create("linear", "16m", 0)
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "striped", "-L", "16m", "-i2", "tg")
	for _, device := range a.attach(append([]string{"--lv", "tg/linear", "--lv", "tg/striped"}, g.loops...)...) {
		label := exec.Command("sfdisk", "-q", device)
		label.Stdin = strings.NewReader("label: gpt\n,4M\n,\n")
		if out, err := label.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	me().must(t, program, "detach", "--all")
	return g
}

// Where the kernel reads no GPT, partx tells it the partitions. It was asked to look all the same.
func TestPartitionsInVolumesGetDevices(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "partx", "mkfs.ext4")
	a := newAttacher(t)
	g := partitioned(t, a)
	for _, lv := range []string{"tg/linear", "tg/striped"} {
		t.Run(lv, func(t *testing.T) {
			device := a.attach(append([]string{"--partitions", "--lv", lv}, g.loops...)...)[0]
			if flag, err := os.ReadFile("/sys/class/block/" + filepath.Base(device) + "/loop/partscan"); err != nil || string(flag) != "1\n" {
				t.Errorf("whether the kernel looks for partitions in %s: %q, %v", device, flag, err)
			}
			want := []string{device + "p1", device + "p2"}
			if !slices.Equal(a.list(lv).Partitions, want) {
				me().must(t, "partx", "--add", device)
			}
			if got := a.list(lv).Partitions; !slices.Equal(got, want) {
				t.Fatalf("listed are the partitions %v, want %v", got, want)
			}
			me().must(t, "mkfs.ext4", "-q", want[1])
			dir := mountFileSystem(t, want[1])
			a.refused("mounted on "+dir, "detach", lv)
			unmountFileSystem(t, dir)
			me().must(t, program, "detach", lv)
			if _, err := os.Stat("/sys/class/block/" + filepath.Base(want[1])); err == nil {
				t.Errorf("%s is left", want[1])
			}
		})
	}
}

// A kernel that reads GPT finds the partitions itself, and attach prints them.
func TestTheKernelFindsThePartitionsInVolumes(t *testing.T) {
	testenv.NeedVM(t)
	g := partitioned(t, newAttacher(t))
	in := me().tempDir(t)
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(in, "lvm2fs"), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := guest{in: in, memory: 1024, disks: g.loops, script: guestScript(t, `set -e
cp /in/lvm2fs /tmp
modprobe -a loop fuse
/tmp/lvm2fs attach --partitions --lv tg/linear --lv tg/striped /run/d/d000 /run/d/d001 >/out/printed
while read -r lv device first second; do
	mkfs.ext4 -q $second
	mount $second /mnt
	if /tmp/lvm2fs detach $lv 2>>/out/refused; then exit 1; fi
	umount /mnt
done </out/printed
/tmp/lvm2fs detach --all
ls /sys/class/block >/out/left
`)}.run(t)
	var lvs []string
	for line := range strings.Lines(guestFile(t, out, "printed")) {
		f := strings.Fields(line)
		if len(f) != 4 || f[2] != f[1]+"p1" || f[3] != f[1]+"p2" {
			t.Fatalf("printed %q, want an LV, its device and two partitions", line)
		}
		lvs = append(lvs, f[0])
	}
	if want := []string{"tg/linear", "tg/striped"}; !slices.Equal(lvs, want) {
		t.Errorf("printed are %v, want %v", lvs, want)
	}
	if n := strings.Count(guestFile(t, out, "refused"), "mounted on /mnt"); n != 2 {
		t.Errorf("refused %d times to detach what is mounted, want 2", n)
	}
	for name := range strings.FieldsSeq(guestFile(t, out, "left")) {
		if disk, isLoop := strings.CutPrefix(name, "loop"); isLoop && strings.Contains(disk, "p") {
			t.Errorf("%s is left", name)
		}
	}
}

func TestAnOrdinaryUserIsToldThatAttachingTakesRoot(t *testing.T) {
	testenv.NeedRoot(t)
	for _, who := range people() {
		if who.uid == 0 {
			continue
		}
		r := who.run(t, program, "attach", "--lv", "vg/lv", "disk.img")
		if want := "lvm2fs: making a block device takes root; a mount needs none: lvm2fs DEVICE... MOUNTPOINT\n"; r.code != 1 || r.stderr != want {
			t.Errorf("exit %d, %q; want 1, %q", r.code, r.stderr, want)
		}
	}
}
