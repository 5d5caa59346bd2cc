package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// update gives the disks new metadata, as another host that uses the VG would. For each pair in names it then replaces
// the old name by the new one, and keeps the UUIDs.
func (m *mounted) update(vg testpv.VG, names ...string) {
	for i := range names {
		names[i] = "\n" + names[i] + " {"
	}
	vg.Seqno++
	text := strings.NewReplacer(names...).Replace("\n" + vg.Text())
	for _, d := range m.disks {
		d.SetText(text)
	}
}

func (m *mounted) mustReload() {
	m.t.Helper()
	if err := m.Reload(); err != nil {
		m.t.Fatal(err)
	}
}

// moved is oneLV with data elsewhere, and one extent longer.
func moved() testpv.VG {
	vg := oneLV()
	vg.LVs[0].Segments = []string{testpv.Linear(0, 5, "pv1", 40)}
	return vg
}

func TestAHandleFollowsItsLVToNewExtents(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDONLY)
	data, other := m.stat("vg/data"), m.stat("vg/other")
	m.update(moved())
	m.mustReload()
	want := m.disks[1].Contents()[testpv.DataStart+40*extent:][:5*extent]
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("through the open handle: %v, or other bytes", err)
	}
	now := m.stat("vg/data")
	if now.Size() != 5*extent || !now.ModTime().After(data.ModTime()) || !os.SameFile(now, data) {
		t.Errorf("size %d, changed at %v (before: %v), same inode: %v", now.Size(), now.ModTime(), data.ModTime(), os.SameFile(now, data))
	}
	if now := m.stat("vg/other"); !now.ModTime().Equal(other.ModTime()) {
		t.Errorf("an LV that stayed as it was has a new time of change")
	}
}

func TestWhatTheKernelCachesIsNotKeptOverAReload(t *testing.T) {
	for how, reload := range map[string]func(m *mounted) error{
		"by a call":       func(m *mounted) error { return m.Reload() },
		"by an attribute": func(m *mounted) error { return unix.Setxattr(m.dir, reloadAttr, nil, 0) },
	} {
		t.Run(how, func(t *testing.T) {
			m := mount(t, oneLV(), kernelCache)
			f := m.open("vg/data", os.O_RDWR)
			got := make([]byte, 5*extent)
			if _, err := f.ReadAt(got[:4*extent], 0); err != nil || !bytes.Equal(got[:4*extent], contents(m.disks)) {
				t.Errorf("before: %v, or other bytes", err)
			}
			m.update(moved())
			if err := reload(m); err != nil {
				t.Fatal(err)
			}
			want := m.disks[1].Contents()[testpv.DataStart+40*extent:][:5*extent]
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("after: %v, or other bytes", err)
			}
		})
	}
}

func kernelCache(c *Config) { c.KernelCache = true }

func TestAReloadOfTheSameMetadataChangesNothing(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	before := []fs.FileInfo{m.stat("."), m.stat("vg"), m.stat("vg/data")}
	m.mustReload()
	for i, name := range []string{".", "vg", "vg/data"} {
		if now := m.stat(name); !now.ModTime().Equal(before[i].ModTime()) {
			t.Errorf("%s: changed at %v, now %v", name, before[i].ModTime(), now.ModTime())
		}
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Error(err)
	}
}

func TestAHandleOfAnLVThatIsGoneFailsForEverything(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	vg := oneLV()
	vg.LVs = vg.LVs[1:]
	m.update(vg)
	m.mustReload()
	if _, err := os.Stat(m.path("vg/data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its name is still there: %v", err)
	}
	if got := names(t, m.path("vg")); !slices.Equal(got, []string{"other"}) {
		t.Errorf("the VG holds %v", got)
	}
	p := make([]byte, 10)
	_, err := f.ReadAt(p, 0)
	wantErrno(t, "read", err, syscall.EIO)
	_, err = f.WriteAt(p, 0)
	wantErrno(t, "write", err, syscall.EIO)
	wantErrno(t, "fsync", f.Sync(), syscall.EIO)
	wantErrno(t, "truncate", f.Truncate(0), syscall.EIO)
	_, err = f.Stat()
	wantErrno(t, "fstat", err, syscall.EIO)
	if n := m.disks[0].Claims(); n != 0 {
		t.Errorf("%d claims are left", n)
	}

	// The LV comes back, by vgcfgrestore for example.
	m.update(moved())
	m.mustReload()
	if _, err := f.WriteAt([]byte("back"), 0); err != nil || string(m.disks[1].Extent(40, extent)[:4]) != "back" {
		t.Errorf("after the LV came back: %v", err)
	}
}

func TestAGoneLVIsForgottenOnceNobodyHasItOpen(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDONLY)
	vg := oneLV()
	vg.LVs = vg.LVs[1:]
	m.update(vg)
	m.mustReload()
	f.Close()
	eventually(t, "forgotten", func() bool { m.mustReload(); return len(m.tree.Load().files) == 1 })
}

func TestARenamedLVHasItsNewNameAloneAndKeepsItsHandles(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	before := m.stat("vg/data")
	m.update(oneLV(), "data", "neu")
	m.mustReload()
	if got := names(t, m.path("vg")); !slices.Equal(got, []string{"neu", "other"}) {
		t.Errorf("the VG holds %v", got)
	}
	if _, err := os.Stat(m.path("vg/data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	if now := m.stat("vg/neu"); !os.SameFile(now, before) || !now.ModTime().Equal(before.ModTime()) {
		t.Error("it is another file now, or has another time of change")
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Errorf("writing through the open handle: %v", err)
	}
}

func TestARenamedVGIsTheSameDirectory(t *testing.T) {
	vg := oneLV()
	m := mount(t, vg)
	before := m.stat("vg")
	root := m.stat(".").ModTime()
	inside := m.open("vg", os.O_RDONLY)
	m.update(vg, "vg", "gv")
	m.mustReload()
	if got := names(t, m.dir); !slices.Equal(got, []string{"gv"}) {
		t.Errorf("the root holds %v", got)
	}
	if now := m.stat("gv"); !os.SameFile(now, before) {
		t.Error("it is another directory now")
	}
	if !m.stat(".").ModTime().After(root) {
		t.Error("the root has not changed")
	}
	if got, err := inside.Readdirnames(-1); err != nil || len(got) != 2 {
		t.Errorf("a directory open since before: %v, %v", got, err)
	}
}

func TestTwoLVsMaySwapNames(t *testing.T) {
	m := mount(t, oneLV())
	data, other := m.stat("vg/data"), m.stat("vg/other")
	m.update(oneLV(), "data", "other", "other", "data")
	m.mustReload()
	if !os.SameFile(m.stat("vg/data"), other) || !os.SameFile(m.stat("vg/other"), data) {
		t.Error("the names have not changed places")
	}
}

func TestAReloadThatFailsKeepsTheOldMetadata(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	broken := errors.New("the disk is on holiday")
	m.rescanWith(func() (*lvm2.Scan, error) { return nil, broken })
	if err := m.Reload(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if m.log.count("on holiday") != 1 {
		t.Errorf("log:\n%s", m.log.text.String())
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Error(err)
	}
	wantErrno(t, "asking for a reload", unix.Setxattr(m.dir, reloadAttr, nil, 0), syscall.EIO)
	if value, _ := m.attribute(".", reloadAttr); !strings.Contains(value, "on holiday") {
		t.Errorf("reading the attribute: %q", value)
	}
}

func TestSettingAnAttributeOfTheRootReloads(t *testing.T) {
	m := mount(t, oneLV())
	m.update(moved())
	if err := unix.Setxattr(m.dir, reloadAttr, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if size := m.stat("vg/data").Size(); size != 5*extent {
		t.Errorf("size %d", size)
	}
	m.update(oneLV())
	if _, err := unix.Getxattr(m.dir, reloadAttr, nil); err != nil || m.stat("vg/data").Size() != 5*extent {
		t.Errorf("asking for its size: %v, or it reloads", err)
	}
	m.warnings.Store(&[]string{"the disk is\nhot"})
	value, ok := m.attribute(".", reloadAttr)
	if !ok || m.stat("vg/data").Size() != 4*extent {
		t.Errorf("reading it: %q, %t, or no reload", value, ok)
	}
	want := Report{Warnings: []string{"the disk is hot"}, Changes: []string{"LV vg/data: 16384 bytes, before 20480; mapped otherwise"}}
	if diff := cmp.Diff(want, DecodeReport(value)); diff != "" {
		t.Error(diff)
	}
	wantErrno(t, "another attribute", unix.Setxattr(m.dir, "user.lvm2.other", nil, 0), syscall.EPERM)
	wantErrno(t, "on a VG", unix.Setxattr(m.path("vg"), reloadAttr, nil, 0), syscall.EPERM)
	wantErrno(t, "on an LV", unix.Setxattr(m.path("vg/data"), reloadAttr, nil, 0), syscall.EPERM)
}

func TestAHandleThatWritesClaimsTheDevicesOfTheNewExtents(t *testing.T) {
	vg := oneLV()
	vg.LVs[0].Segments = []string{testpv.Linear(0, 4, "pv0", 10)}
	m := mount(t, vg)
	f := m.open("vg/data", os.O_RDWR)
	if a, b := m.disks[0].Claims(), m.disks[1].Claims(); a != 1 || b != 0 {
		t.Fatalf("claims %d and %d", a, b)
	}
	syncs := m.disks[0].Syncs()
	m.update(moved())
	m.mustReload()
	if a, b := m.disks[0].Claims(), m.disks[1].Claims(); a != 0 || b != 1 {
		t.Errorf("after the move: claims %d and %d", a, b)
	}
	if m.disks[0].Syncs() == syncs {
		t.Error("what was written to the old extents is not synced")
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil || string(m.disks[1].Extent(40, extent)[:3]) != "new" {
		t.Errorf("writing: %v", err)
	}
	f.Close()
	eventually(t, "no claims", func() bool { return m.disks[1].Claims() == 0 })
}

// aMirror has an LV on two legs with a log, in which both of its regions are in sync.
func aMirror() (testpv.VG, []*testpv.Disk) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb", "sdc"}, LVs: []testpv.LV{
		{Name: "m", Segments: []string{"start_extent = 0\nextent_count = 4\ntype = \"mirror\"\nmirror_count = 2\nregion_size = 16\nmirror_log = \"m_mlog\"\nmirrors = [\"m_mimage_0\", 0, \"m_mimage_1\", 0]"}},
		{Name: "m_mimage_0", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 4, "pv0", 10)}},
		{Name: "m_mimage_1", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 4, "pv1", 10)}},
		{Name: "m_mlog", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 1, "pv2", 0)}},
	}}
	disks := vg.Disks()
	log := disks[2].Extent(0, extent)
	clear(log)
	copy(log, "rRiM\x02\x00\x00\x00\x02")
	log[1024] = 0b11
	copy(disks[1].Extent(10, 4*extent)[:4*extent], disks[0].Extent(10, extent))
	return vg, disks
}

func TestAReloadSeesAMirrorAtRestAndItsWriterGoesOn(t *testing.T) {
	vg, disks := aMirror()
	m := mountDisks(t, disks)
	f := m.open("vg/m", os.O_RDWR)
	log := func() byte { return disks[2].Contents()[testpv.DataStart+1024] }
	for i, reload := range []func(){
		func() {},
		m.mustReload, // of the same metadata
		func() { // that fails
			m.rescanWith(func() (*lvm2.Scan, error) { return nil, errors.New("no metadata") })
			if err := m.Reload(); err == nil {
				t.Error("it did not fail")
			}
			m.rescan.Store(nil)
		},
		func() { m.update(vg); m.mustReload() },
	} {
		reload()
		if got := log(); i > 0 && got != 0b11 {
			t.Errorf("after reload %d: the log is %02b", i, got)
		}
		data := bytes.Repeat([]byte{byte('a' + i)}, 1000)
		if _, err := f.WriteAt(data, 100); err != nil {
			t.Fatalf("after reload %d: %v", i, err)
		}
		if got := log(); got != 0b10 {
			t.Errorf("while it is written: the log is %02b", got)
		}
		for leg := range 2 {
			if !bytes.Equal(disks[leg].Extent(10, extent)[100:1100], data) {
				t.Errorf("after reload %d: leg %d has other bytes", i, leg)
			}
		}
	}
}

func TestAReloadMayAskForTheAttributesOfAFileThatItHolds(t *testing.T) {
	_, disks := aMirror()
	m := mountDisks(t, disks)
	f := m.open("vg/m", os.O_RDWR)
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	m.rescanWith(func() (*lvm2.Scan, error) {
		go func() {
			info, err := os.Stat(m.path("vg/m")) // as for a loop device on it
			if err == nil && info.Size() != 4*extent {
				err = fmt.Errorf("it has %d bytes", info.Size())
			}
			asked <- err
		}()
		select {
		case err := <-asked:
			return nil, errors.Join(errors.New("answered"), err)
		case <-time.After(10 * time.Second):
			return nil, errors.New("no answer")
		}
	})
	if err := m.Reload(); err == nil || !strings.HasSuffix(err.Error(), "answered") {
		t.Error(err)
	}
}

func TestAWriterOfACacheGoesOnAfterAReload(t *testing.T) {
	var disks []*testpv.Disk
	for _, path := range testimages.Load(t, "cache-clean").Unpack(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		disks = append(disks, &testpv.Disk{Label: path, Bytes: b})
	}
	m := mountDisks(t, disks)
	f := m.open("vg_cacheclean/wbvol", os.O_RDWR)
	write := func(when string, f *os.File) {
		t.Helper()
		data := []byte("written " + when)
		if _, err := f.WriteAt(data, 5000); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		got := make([]byte, len(data))
		if _, err := f.ReadAt(got, 5000); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %v, or other bytes", when, err)
		}
	}
	write("before", f)
	m.mustReload()
	write("after a reload", f)
	m.mustReload()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	m.mustReload() // with nobody writing
	write("opened anew", m.open("vg_cacheclean/wbvol", os.O_RDWR))
}

func TestAHandleLosesTheRightToWriteWithItsLV(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	vg := oneLV()
	vg.LVs[0].Status = `"READ", "VISIBLE"`
	m.update(vg)
	m.mustReload()
	_, err := f.WriteAt([]byte("x"), 0)
	wantErrno(t, "writing", err, syscall.EROFS)
	if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("reading: %v", err)
	}
	if n := m.disks[0].Claims(); n != 0 {
		t.Errorf("%d claims are left", n)
	}
	m.update(moved())
	m.mustReload()
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Errorf("when it is writable again: %v", err)
	}
}

func TestAClaimThatFailsAtAReloadIsAnErrorUntilItWorks(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	m.update(moved())
	m.disks[1].RefuseClaims(syscall.EBUSY)
	m.mustReload()
	_, err := f.WriteAt([]byte("x"), 0)
	wantErrno(t, "writing", err, syscall.EIO)
	_, err = os.OpenFile(m.path("vg/data"), os.O_RDWR, 0)
	wantErrno(t, "opening for writing", err, syscall.EBUSY)
	m.disks[1].RefuseClaims(nil)
	m.open("vg/data", os.O_RDWR)
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Errorf("writing when the claim is there: %v", err)
	}
}

// Each reload moves a to extents that were free, and b to those that a had. Whoever still read a in its old place
// would meet what is written to b.
func TestReloadsNeverMixTheBytesOfLVs(t *testing.T) {
	const length = 4 * extent
	places := func(round int) testpv.VG {
		return testpv.VG{
			Name: "vg", Seqno: round, PVs: []string{"sda"},
			LVs: []testpv.LV{
				{Name: "a", Segments: []string{testpv.Linear(0, 4, "pv0", 2*round%3*4)}},
				{Name: "b", Segments: []string{testpv.Linear(0, 4, "pv0", (2*round+1)%3*4)}},
			},
		}
	}
	m := mount(t, places(0))
	bytesOfA, bytesOfB := bytes.Repeat([]byte("a"), length), bytes.Repeat([]byte("b"), length)
	copy(m.disks[0].Bytes[testpv.DataStart:], bytesOfA)

	a, b := m.open("vg/a", os.O_RDONLY), m.open("vg/b", os.O_RDWR)
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var wg sync.WaitGroup
	var reads atomic.Int64
	for range 2 {
		wg.Go(func() {
			p := make([]byte, length)
			for ; !stopped(); reads.Add(1) {
				if _, err := a.ReadAt(p, 0); err != nil || !bytes.Equal(p, bytesOfA) {
					t.Errorf("a: %v, or bytes of b", err)
					return
				}
			}
		})
		wg.Go(func() {
			for !stopped() {
				if _, err := b.WriteAt(bytesOfB, 0); err != nil {
					t.Errorf("b: %v", err)
					return
				}
			}
		})
	}
	for round := 1; round <= 100; round++ {
		// The host copies a before it changes the metadata.
		if _, err := m.disks[0].WriteAt(bytesOfA, testpv.DataStart+int64(2*round%3)*length); err != nil {
			t.Error(err)
		}
		m.disks[0].SetText(places(round).Text())
		if err := m.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d reads", reads.Load())
}

func TestReloadsWhileFilesAreOpenedAndClosed(t *testing.T) {
	m := mount(t, oneLV())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				f, err := os.OpenFile(m.path("vg/other"), os.O_RDWR, 0)
				if errors.Is(err, syscall.ESTALE) {
					continue // between the update of the disks and the reload
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := f.WriteAt([]byte("x"), 0); err != nil {
					t.Error(err)
				}
				f.Close()
			}
		})
	}
	for i := range 50 {
		vg := oneLV()
		vg.LVs[1].Segments = []string{testpv.Linear(0, 2, "pv0", 20+i)}
		scan := vg.Disks()
		m.rescanWith(func() (*lvm2.Scan, error) {
			return lvm2.Open([]lvm2.Device{scan[0], scan[1]}, lvm2.Options{}), nil
		})
		m.mustReload()
		m.disks = scan
	}
	close(stop)
	wg.Wait()
	eventually(t, "no claims", func() bool { return m.disks[0].Claims() == 0 })
}
