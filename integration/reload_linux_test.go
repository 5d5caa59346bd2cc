package integration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
)

// group is a VG on loop devices that lvm2 itself changes. As long as nothing is activated, lvm2 needs no device-mapper
// for that.
type group struct {
	t     *testing.T
	loops []string
}

// newGroup makes the VG tg, with extents of 1 MiB, on two PVs of 32 MiB.
func newGroup(t *testing.T) *group {
	t.Helper()
	return newGroupOf(t, 32<<20)
}

// newGroupOf is newGroup on PVs of as many bytes.
func newGroupOf(t *testing.T, size int64) *group {
	t.Helper()
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "lvm")
	g := &group{t: t}
	dir := me().tempDir(t)
	for _, name := range []string{"a.img", "b.img"} {
		disk := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, size)); err != nil {
			t.Fatal(err)
		}
		g.loops = append(g.loops, loopDevice(t, disk))
	}
	g.lvm(append([]string{"vgcreate", "-s", "1m", "tg"}, g.loops...)...)
	return g
}

func (g *group) lvm(args ...string) string {
	g.t.Helper()
	filter := `"r|.*|"`
	for _, loop := range slices.Backward(g.loops) {
		filter = `"a|^` + loop + `$|",` + filter
	}
	config := `global{activation=0 locking_dir="` + os.TempDir() + `/lvm2fs-test-lock"} backup{backup=0 archive=0} ` +
		`devices{use_devicesfile=0 global_filter=[` + filter + `]}`
	return me().must(g.t, "lvm", append(append([]string{args[0], "--config", config}, args[1:]...), "-y")...)
}

// create makes an LV of one PV's extents; size is like 4m.
func (g *group) create(name, size string, pv int) {
	g.t.Helper()
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", name, "-L", size, "tg", g.loops[pv])
}

func (d *daemon) reload(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func write(t *testing.T, path string, content []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(content, off)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSIGHUPShowsWhatLVM2HasChangedAndFilesFollowTheirVolume(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("keep", "4m", 0)
	g.create("gone", "4m", 0)
	g.create("grow", "4m", 1)
	d := me().serve(t, g.loops...)
	tg := filepath.Join(d.dir, "tg")
	if got, want := names(tg), []string{"gone", "grow", "keep"}; !slices.Equal(got, want) {
		t.Fatalf("the VG holds %v, want %v", got, want)
	}
	content := map[string][]byte{}
	open := map[string]*os.File{}
	for i, name := range names(tg) {
		content[name] = bytes.Repeat([]byte{byte('a' + i)}, 4<<20)
		write(t, filepath.Join(tg, name), content[name], 0)
		f, err := os.Open(filepath.Join(tg, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		open[name] = f
	}

	g.lvm("lvrename", "tg", "keep", "kept")
	g.lvm("lvremove", "-f", "tg/gone")
	g.lvm("lvextend", "-L", "6m", "tg/grow", g.loops[0]) // its end lies where gone was
	g.create("new", "2m", 1)
	if got := names(tg); slices.Contains(got, "new") {
		t.Errorf("the change shows without a reload: %v", got)
	}
	d.reload(t)
	want := []string{"grow", "kept", "new"}
	if !waitFor(10*time.Second, func() bool { return slices.Equal(names(tg), want) }) {
		t.Fatalf("after the reload the VG holds %v, want %v\n%s", names(tg), want, d.stderr)
	}

	got := make([]byte, 4<<20)
	if _, err := open["keep"].ReadAt(got, 0); err != nil || !bytes.Equal(got, content["keep"]) {
		t.Errorf("the open file of a renamed LV does not follow it (%v)", err)
	}
	if _, err := open["gone"].ReadAt(got[:4096], 1<<20); !errors.Is(err, syscall.EIO) {
		t.Errorf("the open file of a removed LV: %v, want EIO", err)
	}
	if _, err := open["grow"].ReadAt(got, 0); err != nil || !bytes.Equal(got, content["grow"]) {
		t.Errorf("the open file of an extended LV does not follow it (%v)", err)
	}
	if info, err := os.Stat(filepath.Join(tg, "grow")); err != nil || info.Size() != 6<<20 {
		t.Errorf("an extended LV: %v, size %d", err, info.Size())
	}
	if got, err := os.ReadFile(filepath.Join(tg, "kept")); err != nil || !bytes.Equal(got, content["keep"]) {
		t.Errorf("the renamed LV differs (%v)", err)
	}
	for _, line := range []string{
		"LV tg/keep: called tg/kept now", "LV tg/gone: gone", "LV tg/new: new, 2097152 bytes",
		"LV tg/grow: 6291456 bytes, before 4194304; mapped otherwise",
	} {
		if !waitFor(10*time.Second, func() bool { return strings.Contains(d.stderr.String(), "lvm2fs: "+line+"\n") }) {
			t.Errorf("the log does not say %q:\n%s", line, d.stderr)
		}
	}
}

func TestRemountReloadsAndWaits(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("one", "4m", 0)
	dir := me().mount(t, g.loops...)
	g.create("two", "4m", 1)
	r := me().run(t, program, "-o", "remount", dir)
	if got, want := names(filepath.Join(dir, "tg")), []string{"one", "two"}; !slices.Equal(got, want) {
		t.Errorf("after remount the VG holds %v, want %v", got, want)
	}
	if r.code != 0 || !regexp.MustCompile(`^lvm2fs: VG tg: metadata \d+, before \d+\nlvm2fs: LV tg/two: new, 4194304 bytes\n$`).MatchString(r.stderr) {
		t.Errorf("exit %d, %q", r.code, r.stderr)
	}
	if r := me().run(t, program, "-o", "remount", dir); r.code != 0 || r.stderr != "" {
		t.Errorf("where nothing has changed: exit %d, %q", r.code, r.stderr)
	}
}

// When the metadata is read again, whoever asked for that gets the warnings of mounting again.
func TestRemountWarnsOfWhatMountingWarnsOf(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("one", "4m", 0)
	g.create("two", "4m", 1)
	who := me()
	dir := who.mountpoint(t)
	first := who.run(t, program, g.loops[0], dir)
	said := first.aboutTheDisks()
	if first.code != 0 || !strings.Contains(said, "warning: ") {
		t.Fatalf("mounting without a PV: exit %d, %q", first.code, first.stderr)
	}
	defer who.must(t, program, "umount", dir)
	if again := who.run(t, program, "-o", "remount", dir); again.code != 0 || again.stderr != said {
		t.Errorf("exit %d, %q; mounting said %q", again.code, again.stderr, said)
	}
}

func TestAReloadThatFailsKeepsTheOldVolumes(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("one", "4m", 0)
	dir := me().mount(t, append([]string{"-r"}, g.loops...)...)
	for _, loop := range g.loops {
		// The label and the metadata area of both PVs.
		write(t, loop, make([]byte, 1<<20), 0)
	}
	if r := me().run(t, program, "-o", "remount", dir); r.code != 1 || !strings.Contains(r.stderr, "still shows the old metadata: reload: no volume group found") {
		t.Errorf("remount with no metadata left: exit %d\n%s", r.code, r.stderr)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "tg", "one")); err != nil || len(got) != 4<<20 {
		t.Errorf("the LV of before is no longer there: %d bytes, %v", len(got), err)
	}
}

// Others may have changed something since the metadata was read. It must not be written over.
func TestOpeningForWritingFailsOnceLVM2HasChangedTheGroup(t *testing.T) {
	g := newGroup(t)
	g.create("one", "4m", 0)
	dir := me().mount(t, g.loops...)
	g.create("two", "4m", 1)
	one := filepath.Join(dir, "tg", "one")
	if _, err := os.OpenFile(one, os.O_RDWR, 0); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("before the reload: %v, want ESTALE", err)
	}
	me().must(t, program, "-o", "remount", dir)
	write(t, one, []byte("written"), 0)
}

func TestVolumesThatLVM2MadeReadAsTheirDevices(t *testing.T) {
	testenv.Long(t)
	g := newGroup(t)
	g.create("first", "3m", 0)
	g.create("second", "5m", 0)
	g.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "striped", "-i", "2", "-I", "64k", "-L", "8m", "tg")
	for i, loop := range g.loops {
		pattern := make([]byte, 31<<20)
		for at := range pattern {
			pattern[at] = byte(at>>16) ^ byte(i*0x80)
		}
		write(t, loop, pattern, 1<<20)
	}
	dir := me().mount(t, append([]string{"-r"}, g.loops...)...)
	got, err := os.ReadFile(filepath.Join(dir, "tg", "second"))
	if err != nil || len(got) != 5<<20 || got[0] != 3<<4 || got[len(got)-1] != 8<<4-1 {
		t.Errorf("second: %d bytes, first %#x, last %#x, %v", len(got), got[0], got[len(got)-1], err)
	}
	got, err = os.ReadFile(filepath.Join(dir, "tg", "striped"))
	if err != nil || len(got) != 8<<20 {
		t.Fatalf("striped: %d bytes, %v", len(got), err)
	}
	for chunk := range 128 {
		// 8 extents of the first PV are taken; chunks go to the PVs in turn.
		pv := chunk % 2
		want := byte(chunk/2) ^ byte(pv*0x80)
		if pv == 0 {
			want = byte(8<<4 + chunk/2)
		}
		if got := got[chunk<<16]; got != want {
			t.Fatalf("chunk %d of striped starts with %#x, want %#x", chunk, got, want)
		}
	}
}
