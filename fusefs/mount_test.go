package fusefs

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

const extent = testpv.ExtentSize

// logged is what a server has logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func loggerTo(l *logged) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// mounted is a mount for one test.
type mounted struct {
	*Server
	t        *testing.T
	dir      string
	log      *logged
	disks    []*testpv.Disk
	rescan   atomic.Pointer[rescan]   // in place of reading the devices again
	warnings atomic.Pointer[[]string] // of a rescan; nil for none
}

type rescan func() (*lvm2.Scan, error)

// rescanWith is safe while the tree is mounted. To the race detector, the end of a request orders nothing.
func (m *mounted) rescanWith(f rescan) { m.rescan.Store(&f) }

// mount mounts vg, over disks in memory, in a directory that goes with the test.
func mount(t *testing.T, vg testpv.VG, change ...func(*Config)) *mounted {
	t.Helper()
	return mountDisks(t, vg.Disks(), change...)
}

func mountDisks(t *testing.T, disks []*testpv.Disk, change ...func(*Config)) *mounted {
	t.Helper()
	devices := make([]lvm2.Device, len(disks))
	for i, d := range disks {
		devices[i] = d
	}
	m := mountDevices(t, devices, change...)
	m.disks = disks
	return m
}

func mountDevices(t *testing.T, devices []lvm2.Device, change ...func(*Config)) *mounted {
	t.Helper()
	testenv.NeedFUSE(t)
	m := &mounted{t: t, dir: mountpoint(t), log: &logged{}}
	cfg := Config{
		Scan: lvm2.Open(devices, lvm2.Options{}),
		Rescan: func() (*lvm2.Scan, []string, error) {
			var warnings []string
			if w := m.warnings.Load(); w != nil {
				warnings = *w
			}
			if rescan := m.rescan.Load(); rescan != nil {
				scan, err := (*rescan)()
				return scan, warnings, err
			}
			return lvm2.Open(devices, lvm2.Options{}), warnings, nil
		},
		UID:    uint32(os.Getuid()),
		GID:    uint32(os.Getgid()),
		Logger: loggerTo(m.log),
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Mount(m.dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Server = s
	t.Cleanup(func() {
		if err := s.Unmount(); err != nil {
			t.Errorf("at the end of the test: %v", err)
			s.ForceUnmount()
		}
	})
	// Go polls the files that it opens, and the thread that does is missing to its scheduler. The same program serves
	// the mount, so this is a deadlock, unless the kernel has learnt before that there is nothing to poll. This waits
	// until it has.
	if err := s.fuse.WaitMount(); err != nil && !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	return m
}

// cachedAndNot runs a test with all that the kernel may cache.
func cachedAndNot(t *testing.T, test func(t *testing.T, mode func(*Config))) {
	for name, mode := range map[string]func(*Config){
		"default": func(*Config) {},
		"direct":  func(c *Config) { c.DirectIO = true },
		"cached":  func(c *Config) { c.KernelCache = true },
	} {
		t.Run(name, func(t *testing.T) { test(t, mode) })
	}
}

// mountpoint is a directory that other users can reach, too.
func mountpoint(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lvm2fs-fusefs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

// open opens a file until the test ends.
func (m *mounted) open(name string, flags int) *os.File {
	m.t.Helper()
	f, err := os.OpenFile(m.path(name), flags, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	return f
}

func (m *mounted) stat(name string) fs.FileInfo {
	m.t.Helper()
	info, err := os.Stat(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return info
}

// eventually waits for what the kernel does only after it has answered. It sends RELEASE long after close has
// returned.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	t.Errorf("not within 5 s: %s", what)
}

func wantErrno(t *testing.T, what string, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// oneLV is a VG with the LV data of four extents in two places, and another beside it.
func oneLV() testpv.VG {
	return testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{
			{Name: "data", Segments: []string{testpv.Linear(0, 3, "pv0", 10), testpv.Linear(3, 1, "pv1", 5)}},
			{Name: "other", Segments: []string{testpv.Linear(0, 2, "pv0", 20)}},
		},
	}
}

// contents are the bytes of oneLV's data.
func contents(disks []*testpv.Disk) []byte {
	var b []byte
	for _, e := range []struct{ disk, at int }{{0, 10}, {0, 11}, {0, 12}, {1, 5}} {
		b = append(b, disks[e.disk].Extent(e.at, extent)...)
	}
	return b
}

func TestMountReturnsOnceTheTreeAnswersAndUnmountsCleanly(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("", func(t *testing.T) {
		m := mount(t, oneLV())
		if _, err := os.Stat(m.path("vg/data")); err != nil {
			t.Error(err)
		}
		if err := m.Unmount(); err != nil {
			t.Fatal(err)
		}
		m.Wait()
		if entries, err := os.ReadDir(m.dir); err != nil || len(entries) > 0 {
			t.Errorf("after unmounting: %v, %v", entries, err)
		}
		if err := m.Unmount(); err != nil {
			t.Errorf("unmounting again: %v", err)
		}
	})
	eventually(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
}

func TestAMountThatFailsLeavesNothingBehind(t *testing.T) {
	testenv.NeedFUSE(t)
	scan := lvm2.Open(nil, lvm2.Options{})
	if _, err := Mount(filepath.Join(t.TempDir(), "none"), Config{Scan: scan}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("at a directory that is not there: %v", err)
	}
	dir := mountpoint(t)
	before, _ := os.Stat(dir)
	if _, err := Mount(dir, Config{Scan: scan, Options: []string{"no_such_option"}}); err == nil {
		t.Error("with an option that does not exist: no error")
	}
	now, err := os.Stat(dir)
	if err != nil || device(now) != device(before) {
		t.Errorf("something is mounted: %v", err)
	}
}

func TestABusyMountStaysUntilForced(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	wantErrno(t, "unmounting a busy mount", m.Unmount(), syscall.EBUSY)
	if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("after that: %v", err)
	}
	if err := m.ForceUnmount(); err != nil {
		t.Fatal(err)
	}
	m.Wait()
	if _, err := os.Stat(m.path("vg")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after unmounting by force: %v", err)
	}
	if _, err := f.ReadAt(make([]byte, 10), 0); err == nil {
		t.Error("a handle still reads")
	}
	if d := m.disks[0]; d.Claims() > 0 || d.Syncs() == 0 || string(d.Extent(10, extent)[:4]) != "kept" {
		t.Errorf("%d claims are left, %d syncs were made", d.Claims(), d.Syncs())
	}
}

func TestAnUnmountFromOutsideEndsTheServer(t *testing.T) {
	testenv.NeedRoot(t)
	m := mount(t, oneLV())
	if err := syscall.Unmount(m.dir, 0); err != nil {
		t.Fatal(err)
	}
	m.Wait()
}
