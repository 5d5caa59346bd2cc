package fusefs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/overlay"
)

// overlaidIn has a mount keep what is written in dir.
func overlaidIn(t *testing.T, dir string) func(*Config) {
	t.Helper()
	d, err := overlay.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return func(c *Config) { c.Overlays = d }
}

func readOnlyMount(c *Config) { c.ReadOnly = true }

// unwritable is oneLV, but its VG and its LV data are read-only: without an overlay nothing can be written.
func unwritable() testpv.VG {
	vg := oneLV()
	vg.Status = `"RESIZEABLE", "READ"`
	vg.LVs[0].Status = `"READ", "VISIBLE"`
	return vg
}

func (m *mounted) unmount() {
	m.t.Helper()
	if err := m.Unmount(); err != nil {
		m.t.Fatal(err)
	}
}

// wantFile compares all of a file.
func (m *mounted) wantFile(name string, want []byte) {
	m.t.Helper()
	got, err := os.ReadFile(m.path(name))
	if err != nil || !bytes.Equal(got, want) {
		m.t.Errorf("%s: %d bytes of %d, %v, or other bytes", name, len(got), len(want), err)
	}
}

func TestWhatIsWrittenGoesToTheOverlayAndNothingElseIsTouched(t *testing.T) {
	for kind, vg := range map[string]testpv.VG{"writable": oneLV(), "read-only": unwritable()} {
		t.Run(kind, func(t *testing.T) {
			cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
				disks, dir := vg.Disks(), t.TempDir()
				before := [][]byte{disks[0].Contents(), disks[1].Contents()}
				want := contents(disks)
				m := mountDisks(t, disks, mode, overlaidIn(t, dir))
				m.wantFile("vg/data", want)
				if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
					t.Errorf("reading made %v, %v", files, err)
				}
				f := m.open("vg/data", os.O_RDWR)
				data := bytes.Repeat([]byte("written."), 2*extent/8)
				if _, err := f.WriteAt(data, 2*extent-100); err != nil {
					t.Fatal(err)
				}
				copy(want[2*extent-100:], data)
				if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100, extent); err != nil {
					t.Fatal(err)
				}
				clear(want[100 : 100+extent])
				m.wantFile("vg/data", want)
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
				f.Close()
				m.wantFile("vg/data", want)
				if n := disks[0].Claims() + disks[1].Claims(); n > 0 {
					t.Errorf("%d claims", n)
				}
				m.unmount()

				m = mountDisks(t, disks, overlaidIn(t, dir))
				m.wantFile("vg/data", want)
				m.unmount()
				m = mountDisks(t, disks, overlaidIn(t, dir), readOnlyMount)
				m.wantFile("vg/data", want)
				m.unmount()
				for i, d := range disks {
					if !bytes.Equal(d.Contents(), before[i]) {
						t.Errorf("disk %d has changed", i)
					}
				}
			})
		})
	}
}

func TestAFileWithAnOverlaySaysSoAndWhyNotOtherwise(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, unwritable(), overlaidIn(t, dir))
	path, ok := m.attribute("vg/data", "user.lvm2.overlay")
	if !ok || filepath.Dir(path) != dir {
		t.Errorf("got %q", path)
	}
	if reason, ok := m.attribute("vg/data", "user.lvm2.readonly"); ok {
		t.Errorf("it says that it is read-only: %s", reason)
	}
	if mode := m.stat("vg/data").Mode().Perm(); mode != 0o640 {
		t.Errorf("its mode is %v", mode)
	}
	m.open("vg/data", os.O_RDWR)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	m.mustReload()
	m = mount(t, unwritable(), overlaidIn(t, t.TempDir()), readOnlyMount)
	if mode := m.stat("vg/data").Mode().Perm(); mode != 0o440 {
		t.Errorf("mounted read-only, its mode is %v", mode)
	}
	m = mount(t, unwritable())
	if path, ok := m.attribute("vg/data", "user.lvm2.overlay"); ok {
		t.Errorf("without an overlay it is %q", path)
	}
}

func TestAnOverlayIsUsedByOneMountAtATime(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, oneLV(), overlaidIn(t, dir))
	f := m.open("vg/data", os.O_RDWR)
	other := mount(t, oneLV(), overlaidIn(t, dir))
	for _, flags := range []int{os.O_RDONLY, os.O_RDWR} {
		_, err := os.OpenFile(other.path("vg/data"), flags, 0)
		wantErrno(t, "in the second mount", err, syscall.EBUSY)
	}
	if f, err := os.OpenFile(other.path("vg/other"), os.O_RDWR, 0); err != nil {
		t.Error("another LV:", err)
	} else {
		f.Close()
	}
	f.Close()
	m.unmount()
	f, err := os.OpenFile(other.path("vg/data"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal("after the first was unmounted:", err)
	}
	f.Close()
}

func TestARenamedLVKeepsItsOverlayAndAMovedOneDoesNot(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, oneLV(), overlaidIn(t, dir))
	f := m.open("vg/data", os.O_RDWR)
	if _, err := f.WriteAt([]byte("before"), 5000); err != nil {
		t.Fatal(err)
	}
	m.update(oneLV(), "data", "renamed")
	m.mustReload()
	if _, err := f.WriteAt([]byte("after"), 9000); err != nil {
		t.Fatal(err)
	}
	want := contents(m.disks)
	copy(want[5000:], "before")
	copy(want[9000:], "after")
	m.wantFile("vg/renamed", want)
	path, _ := m.attribute("vg/renamed", "user.lvm2.overlay")

	m.update(moved())
	m.mustReload()
	_, err := f.WriteAt([]byte("x"), 0)
	wantErrno(t, "a write by who had it open", err, syscall.EIO)
	for _, flags := range []int{os.O_RDONLY, os.O_RDWR} {
		_, err := os.OpenFile(m.path("vg/data"), flags, 0)
		wantErrno(t, "opening it anew", err, syscall.ESTALE)
	}
	if m.log.count("the overlay belongs to something else") == 0 {
		t.Errorf("the log does not say why:\n%s", m.log.text.String())
	}
	// Nobody holds it any more.
	d, err := overlay.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Discard(filepath.Base(path)); err != nil {
		t.Fatal(err)
	}
	m.wantFile("vg/data", m.disks[1].Contents()[testpv.DataStart+40*extent:][:5*extent])
}

func TestACopyThatTruncatesLeavesNoOldBytesInAnOverlay(t *testing.T) {
	m := mount(t, oneLV(), overlaidIn(t, t.TempDir()))
	f := m.open("vg/data", os.O_RDWR|os.O_TRUNC)
	if _, err := f.WriteAt([]byte("first"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("last"), 3*extent); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want := contents(m.disks)
	clear(want[:3*extent])
	copy(want, "first")
	copy(want[3*extent:], "last")
	eventually(t, "the whole LV is back", func() bool { return m.stat("vg/data").Size() == 4*extent })
	m.wantFile("vg/data", want)
	// What was left out lies nowhere.
	r := m.open("vg/data", os.O_RDONLY)
	if at, err := unix.Seek(int(r.Fd()), 0, unix.SEEK_HOLE); err != nil || at != 4096 {
		t.Errorf("the first hole is at %d, %v", at, err)
	}
	if at, err := unix.Seek(int(r.Fd()), 4096, unix.SEEK_DATA); err != nil || at != 3*extent {
		t.Errorf("data come again at %d, %v", at, err)
	}
}

func TestADamagedOverlayIsNotTakenForNone(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, oneLV(), overlaidIn(t, dir))
	m.open("vg/data", os.O_RDWR).Close()
	path, _ := m.attribute("vg/data", "user.lvm2.overlay")
	m.unmount()
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	m = mount(t, oneLV(), overlaidIn(t, dir))
	for _, flags := range []int{os.O_RDONLY, os.O_RDWR} {
		_, err := os.OpenFile(m.path("vg/data"), flags, 0)
		wantErrno(t, "opening it", err, syscall.EIO)
	}
}

func TestARemovedLVIsWrittenInAnOverlay(t *testing.T) {
	disks, dir := oneLV().Disks(), t.TempDir()
	before := [][]byte{disks[0].Contents(), disks[1].Contents()}
	shown := func(c *Config) { c.Scan = withRemoved(t, disks, gone(), [2]int64{51, 52}) }
	m := mountDisks(t, disks, shown, overlaidIn(t, dir))
	f := m.open("vg/.removed/gone@1", os.O_RDWR)
	want := bytes.Repeat([]byte("new "), extent/4)
	// What was lost can be written too.
	for _, at := range []int64{0, extent} {
		if _, err := f.WriteAt(want, at); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	m.unmount()
	again := mountDisks(t, disks, shown, overlaidIn(t, dir))
	f = again.open("vg/.removed/gone@1", os.O_RDONLY)
	got := make([]byte, 2*extent)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, append(want, want...)) {
		t.Errorf("%v, or other bytes", err)
	}
	for i, d := range disks {
		if !bytes.Equal(d.Contents(), before[i]) {
			t.Errorf("disk %d was written", i)
		}
	}
}
