package fusefs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/splice"
	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

func TestAProgramMayAskForTheSizeAsOfADisk(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDONLY)
	var size uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 || size != 4*extent {
		t.Errorf("BLKGETSIZE64: %d, %v", size, errno)
	}
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	wantErrno(t, "another ioctl", err, unix.ENOTTY)
}

func TestTheTimeOfCreationIsTheTimeOfBirth(t *testing.T) {
	m := mount(t, allKinds())
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, m.path("vg/plain"), 0, unix.STATX_BTIME|unix.STATX_BASIC_STATS, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mask&unix.STATX_BTIME == 0 {
		t.Skip("this kernel does not ask FUSE for it")
	}
	if st.Btime.Sec != 1700000000 || st.Size != 3*extent || st.Mode != unix.S_IFREG|0o640 || st.Uid != uint32(os.Getuid()) {
		t.Errorf("got %+v", st)
	}
	if err := unix.Statx(unix.AT_FDCWD, m.path("vg/odd"), 0, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME != 0 {
		t.Errorf("an LV that does not say: %v, born at %+v", err, st.Btime)
	}
}

// sparseVG has the LVs mixed, of data, zeros, lost extents and zeros, and zeros, of nothing else.
func sparseVG() testpv.VG {
	zero := func(start, count string) string {
		return "start_extent = " + start + "\nextent_count = " + count + "\ntype = \"zero\""
	}
	return testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda"},
		LVs: []testpv.LV{
			{Name: "mixed", Segments: []string{
				testpv.Linear(0, 2, "pv0", 0),
				zero("2", "3"),
				"start_extent = 5\nextent_count = 1\ntype = \"error\"",
				zero("6", "2"),
			}},
			{Name: "zeros", Segments: []string{zero("0", "4")}},
		},
	}
}

func TestHolesCanBeFoundBySeeking(t *testing.T) {
	m := mount(t, sparseVG())
	f := m.open("vg/mixed", os.O_RDONLY)
	for _, c := range []struct{ off, data, hole int64 }{
		{0, 0, 2}, {1, 1, 2}, {2, 5, 2}, {5, 5, 6}, {6, -1, 6}, {8, -1, -1},
	} {
		for whence, want := range map[int]int64{unix.SEEK_DATA: c.data, unix.SEEK_HOLE: c.hole} {
			got, err := f.Seek(c.off*extent, whence)
			if want == -1 {
				wantErrno(t, "no more", err, unix.ENXIO)
			} else if err != nil || got != want*extent {
				t.Errorf("whence %d from extent %d: got %d, %v; want extent %d", whence, c.off, got, err, want)
			}
		}
	}
	for name, blocks := range map[string]int64{"vg/mixed": 3 * extent / 512, "vg/zeros": 0} {
		if got := m.stat(name).Sys().(*syscall.Stat_t).Blocks; got != blocks {
			t.Errorf("%s has %d blocks, want %d", name, got, blocks)
		}
	}
}

func TestWithSyncAHoleIsStable(t *testing.T) {
	for _, sync := range []bool{true, false} {
		m := mount(t, oneLV(), func(c *Config) { c.Sync = sync })
		f := m.open("vg/data", os.O_RDWR)
		before := m.disks[1].Syncs()
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 3*extent, 4096)
		if err != nil || (m.disks[1].Syncs() > before) != sync {
			t.Errorf("sync %t: %v, %d syncs", sync, err, m.disks[1].Syncs()-before)
		}
	}
}

func TestAPunchedHoleReadsAsZeros(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	fd := int(f.Fd())
	want := contents(m.disks)
	for _, c := range []struct {
		mode     uint32
		off, len int64
	}{
		{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, extent + 100, extent},
		{unix.FALLOC_FL_ZERO_RANGE, 10, 20},
		{unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, 4*extent - 50, 1000},
		{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 4 * extent, 1000},
		{0, 0, 4 * extent},
		{unix.FALLOC_FL_KEEP_SIZE, 100, extent},
	} {
		if err := unix.Fallocate(fd, c.mode, c.off, c.len); err != nil {
			t.Errorf("mode %#x at %d: %v", c.mode, c.off, err)
		}
		if c.mode != 0 && c.mode != unix.FALLOC_FL_KEEP_SIZE {
			clear(want[min(c.off, int64(len(want))):min(c.off+c.len, int64(len(want)))])
		}
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("afterwards: %v, or other bytes", err)
	}
	wantErrno(t, "growing", unix.Fallocate(fd, 0, 0, 5*extent), unix.EPERM)
	wantErrno(t, "growing by zeros", unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 4*extent-1, 2), unix.EPERM)
	wantErrno(t, "collapsing", unix.Fallocate(fd, unix.FALLOC_FL_COLLAPSE_RANGE, 0, extent), unix.EOPNOTSUPP)
}

func TestWhereNoZerosAreGuaranteedNoHoleIsPunched(t *testing.T) {
	disks := oneLV().Disks()
	m := mountDevices(t, []lvm2.Device{unpunchable{disks[0]}, unpunchable{disks[1]}})
	f := m.open("vg/data", os.O_RDWR)
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, extent)
	wantErrno(t, "punching", err, unix.EOPNOTSUPP)
}

// asNobody runs a program as a user who owns nothing here.
func asNobody(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestOtherUsersNeedBothAllowOtherAndTheModes(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedTools(t, "cat", "ls")
	allow := func(c *Config) { c.AllowOther = true }
	owned := func(c *Config) { c.AllowOther, c.UID, c.GID = true, 65534, 65534 }
	for _, c := range []struct {
		what   string
		change func(*Config)
		may    bool
	}{
		{"without allow_other", func(c *Config) { c.UID = 65534 }, false},
		{"with allow_other, files of root's", allow, false},
		{"with allow_other, own files", owned, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := mount(t, oneLV(), c.change)
			for _, args := range [][]string{{"ls", m.dir}, {"cat", m.path("vg/data")}} {
				if out, err := asNobody(args[0], args[1:]...); (err == nil) != c.may {
					t.Errorf("%v: %v, %.100q", args, err, out)
				}
			}
		})
	}
}

func TestOnlyTheOwnerAndRootReload(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedTools(t, "setfattr")
	reload := func(m *mounted) error {
		out, err := asNobody("setfattr", "-n", reloadAttr, m.dir)
		if err != nil && !strings.Contains(out, "denied") && !strings.Contains(out, "permitted") {
			t.Errorf("setfattr: %v, %s", err, out)
		}
		return err
	}
	// Modes may let everybody in. That makes nobody else the owner.
	open := func(c *Config) { c.AllowOther, c.GID = true, 65534 }
	if reload(mount(t, oneLV(), open)) == nil {
		t.Error("somebody else could")
	}
	if err := reload(mount(t, oneLV(), func(c *Config) { c.AllowOther, c.UID = true, 65534 })); err != nil {
		t.Errorf("the owner could not: %v", err)
	}
}

func TestAnLVWorksAsALoopDevice(t *testing.T) {
	testenv.NeedLoop(t)
	paths, want := imageVG(t)
	m := mountDevices(t, openImages(t, paths))
	out, err := exec.Command("losetup", "--find", "--show", m.path("vg/data")).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v, %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	defer exec.Command("losetup", "--detach", loop).Run()
	dev, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(dev)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, or other ones", len(got), err)
	}
	if _, err := dev.WriteAt(bytes.Repeat([]byte("loop"), 1024), 301*extent); err != nil {
		t.Error(err)
	}
	if err := errors.Join(dev.Sync(), dev.Close()); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(m.path("vg/data")); err != nil || !bytes.Equal(got[301*extent:][:4096], bytes.Repeat([]byte("loop"), 1024)) {
		t.Errorf("what was written through it: %v, or other bytes", err)
	}
	if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
		t.Errorf("detaching: %v, %s", err, out)
	}
	eventually(t, "the loop device lets go", func() bool { return m.Unmount() == nil })
}

// onFile is a volume of one file with extents at these offsets, each of the same length.
func onFile(t *testing.T, length int64, offsets ...int64) (v extents, want []byte) {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	random := rand.NewChaCha8([32]byte{2})
	disk := make([]byte, 4<<20)
	random.Read(disk)
	if _, err := f.Write(disk); err != nil {
		t.Fatal(err)
	}
	dev := spliceDevice{f, int64(len(disk))}
	for _, off := range offsets {
		v = append(v, mapping.Extent{Kind: mapping.Data, Device: dev, Offset: off, Length: length})
		want = append(want, disk[off:off+length]...)
	}
	return v, want
}

type spliceDevice struct {
	f    *os.File
	size int64
}

func (d spliceDevice) ReadAt(p []byte, off int64) (int, error) { return d.f.ReadAt(p, off) }
func (d spliceDevice) Size() int64                             { return d.size }
func (d spliceDevice) Name() string                            { return "disk" }
func (d spliceDevice) File() (*os.File, bool)                  { return d.f, true }

func TestSplicedRepliesHoldExactlyTheBytes(t *testing.T) {
	v, want := onFile(t, 120<<10, 0, 200_000, 77, 2<<20, 3<<20+1)
	for _, c := range []struct {
		off     int64
		n       int
		spliced bool
	}{
		{0, minSplice, true},
		{5, minSplice, true},
		{60_000, 300_000, true},
		{0, 5 * 120 << 10, true},
		{0, minSplice - 1, false},
	} {
		r := spliceReply(v, c.off, c.n)
		if (r != nil) != c.spliced {
			t.Errorf("%d bytes at %d: spliced is %t, want %t", c.n, c.off, r != nil, c.spliced)
		}
		if r == nil {
			continue
		}
		got, status := r.Bytes(make([]byte, c.n))
		if !status.Ok() || !bytes.Equal(got, want[c.off:c.off+int64(c.n)]) {
			t.Errorf("%d bytes at %d: %v, or other bytes", c.n, c.off, status)
		}
		r.Done()
	}
	if splice.Used() != 0 || len(spliceSlots) != 0 {
		t.Errorf("%d pipes and %d slots are still in use", splice.Used(), len(spliceSlots))
	}
}

func TestWhatDoesNotLieInFilesIsNotSpliced(t *testing.T) {
	good, _ := onFile(t, 256<<10, 0)
	if r := spliceReply(good, 0, 256<<10); r == nil {
		t.Error("what does lie there is not")
	} else {
		r.Done()
	}
	short, _ := onFile(t, 256<<10, 0)
	short[0].Offset = 4<<20 - 1000 // and the file ends there
	many, _ := onFile(t, 4<<10, 0, 8<<10, 16<<10, 24<<10, 32<<10, 40<<10, 48<<10, 56<<10, 64<<10, 72<<10)
	for what, v := range map[string]extents{
		"zeros":             {of(mapping.Zero, 256<<10)},
		"computed":          {of(mapping.Computed, 256<<10)},
		"missing":           {good[0], of(mapping.Missing, 256<<10)},
		"no descriptor":     {{Kind: mapping.Data, Device: &testpv.Disk{}, Length: 256 << 10}},
		"beyond the end":    short,
		"too many extents":  append(many, good...),
		"cannot be mapped":  {good[0], {Length: 256 << 10, Err: errors.New("damaged")}},
		"data, then a hole": {good[0], of(mapping.Zero, 256<<10)},
	} {
		if r := spliceReply(v, 0, int(min(v.Size(), 512<<10))); r != nil {
			t.Errorf("%s: spliced", what)
			r.Done()
		}
	}
	if splice.Used() != 0 || len(spliceSlots) != 0 {
		t.Errorf("%d pipes and %d slots are still in use", splice.Used(), len(spliceSlots))
	}
}

func TestAReplyThatLostBytesIsAnError(t *testing.T) {
	v, _ := onFile(t, 256<<10, 0)
	r := spliceReply(v, 0, 256<<10).(*spliced)
	defer r.Done()
	if _, err := r.pair.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if _, status := r.Bytes(make([]byte, 256<<10)); status.Ok() {
		t.Error("it was whole")
	}
}

// Spliced replies may take so many pages. The pipe of go-fuse has room for them.
func TestSplicedRepliesFitTheirPipe(t *testing.T) {
	for _, n := range []int{minSplice, 300_000, maxRequest} {
		pair, err := splice.Get()
		if err != nil {
			t.Fatal(err)
		}
		if err := pair.Grow(16 + n + os.Getpagesize()); err == nil && pair.Cap() < pipePages(n)*os.Getpagesize() {
			t.Errorf("%d bytes: the pipe has %d bytes, counted on %d pages", n, pair.Cap(), pipePages(n))
		}
		splice.Drop(pair)
	}
}

func TestNativeByteOrderOfIoctl(t *testing.T) {
	out := make([]byte, 8)
	if errno := ioctl(unix.BLKGETSIZE64, 1<<40+5, out); errno != 0 || binary.NativeEndian.Uint64(out) != 1<<40+5 {
		t.Errorf("got %x, %v", out, errno)
	}
	if errno := ioctl(unix.BLKGETSIZE64, 5, out[:4]); errno != unix.ENOTTY {
		t.Errorf("a short answer: %v", errno)
	}
}
