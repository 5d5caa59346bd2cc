package fusefs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
)

func directly(c *Config) { c.DirectIO = true }

// change changes the first bytes of oneLV's data beneath the mount, and returns the data as they are now.
func (m *mounted) change(text string) string {
	m.disks[0].Change(10, extent, 0, []byte(text))
	return text
}

func (m *mounted) wantText(what string, f *os.File, off int64, want string) {
	m.t.Helper()
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, off); err != nil || string(got) != want {
		m.t.Errorf("%s: read %q, %v; want %q", what, got, err, want)
	}
}

func TestWhatIsReadIsKeptUntilAFileIsOpenedAnew(t *testing.T) {
	m := mount(t, oneLV())
	first := m.change("first")
	f := m.open("vg/data", os.O_RDONLY)
	m.wantText("at first", f, 0, first)
	second := m.change("other")
	m.wantText("changed beneath", f, 0, first)
	m.wantText("opened anew", m.open("vg/data", os.O_RDONLY), 0, second)
	m.wantText("after that", f, 0, second)
}

func TestWhoGoesPastThePagesReadsWhatIsThereNow(t *testing.T) {
	for _, c := range []struct {
		name  string
		mode  func(*Config)
		lv    string
		flags int
	}{
		{"mounted with direct_io", directly, "data", os.O_RDONLY},
		{"opened for writing", func(*Config) {}, "data", os.O_RDWR},
		{"an internal LV", func(c *Config) { c.All = true }, "hidden", os.O_RDONLY},
		{"an LV that is not whole", func(c *Config) {}, "partial", os.O_RDONLY},
		{"beneath a block device", func(c *Config) { c.BlockDevices = true }, "data", os.O_RDONLY},
	} {
		t.Run(c.name, func(t *testing.T) {
			vg := oneLV()
			hidden := vg.LVs[0]
			hidden.Name, hidden.Status = "hidden", `"READ"`
			if c.lv == "hidden" {
				vg.LVs[0] = hidden
			}
			disks := vg.Disks()
			if c.lv == "partial" {
				c.lv, disks = "data", disks[:1]
			}
			m := mountDisks(t, disks, c.mode)
			f := m.open("vg/"+c.lv, c.flags)
			for _, text := range []string{"first", "other"} {
				m.wantText(text, f, 0, m.change(text))
			}
		})
	}
}

func TestWhoAsksForDirectReadsGetsThem(t *testing.T) {
	m := mount(t, oneLV())
	kept := m.open("vg/data", os.O_RDONLY)
	f := m.open("vg/data", os.O_RDONLY|unix.O_DIRECT)
	p, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(p) }()
	m.wantText("kept", kept, 0, m.change("first"))
	for _, text := range []string{"other", "third"} {
		m.change(text)
		if _, err := f.ReadAt(p, 0); err != nil || !bytes.HasPrefix(p, []byte(text)) {
			t.Errorf("read %q, %v; want %q", p[:len(text)], err, text)
		}
	}
	m.wantText("what is kept", kept, 0, "first")
}

// Readers see nothing old of what is written through the mount, whoever came first and however it is written.
func TestReadersSeeWhatIsWrittenBesideThem(t *testing.T) {
	m := mount(t, oneLV())
	before := m.open("vg/data", os.O_RDONLY)
	want := bytes.Clone(contents(m.disks))
	read := func(what string) {
		t.Helper()
		for name, f := range map[string]*os.File{"opened before": before, "opened now": m.open("vg/data", os.O_RDONLY)} {
			got := make([]byte, lvSize)
			if _, err := f.ReadAt(got, 0); err != nil || firstDifference(got, want) >= 0 {
				t.Errorf("%s, %s: %v, or other bytes from %d on", what, name, err, firstDifference(got, want))
			}
		}
	}
	read("at first")
	inode := m.stat("vg/data").Sys().(*syscall.Stat_t).Ino
	w := m.open("vg/data", os.O_RDWR)
	read("nothing written")
	if _, err := w.WriteAt([]byte("written"), extent-3); err != nil {
		t.Fatal(err)
	}
	copy(want[extent-3:], "written")
	read("written")
	if err := unix.Fallocate(int(w.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100, 5000); err != nil {
		t.Fatal(err)
	}
	clear(want[100:5100])
	read("punched")
	if err := w.Truncate(2 * extent); err != nil {
		t.Fatal(err)
	}
	m.wantSize("cut", 2*extent)
	read("cut")
	if _, err := w.WriteAt([]byte("beyond"), 3*extent+9); err != nil {
		t.Fatal(err)
	}
	clear(want[2*extent : 3*extent+9])
	copy(want[3*extent+9:], "beyond")
	read("written beyond the end")
	if err := w.Truncate(4 * extent); err != nil {
		t.Fatal(err)
	}
	clear(want[3*extent+15:])
	read("grown again")
	w.Close()
	read("closed")
	if now := m.stat("vg/data").Sys().(*syscall.Stat_t).Ino; now != inode {
		t.Errorf("the file's number was %d and is %d", inode, now)
	}
}

// A read that begins after a write has ended gives what was written, or something newer.
func TestReadsFollowWrites(t *testing.T) {
	m := mount(t, oneLV())
	reader := m.open("vg/data", os.O_RDONLY)
	writer := m.open("vg/data", os.O_RDWR)
	const writes = 300
	number := func(f io.ReaderAt) uint64 {
		p := make([]byte, 8)
		if _, err := f.ReadAt(p, 4096); err != nil {
			t.Error(err)
		}
		return binary.LittleEndian.Uint64(p)
	}
	if _, err := writer.WriteAt(make([]byte, 8), 4096); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	for range 3 {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					number(reader)
				}
			}
		})
	}
	for i := range uint64(writes) {
		if _, err := writer.WriteAt(binary.LittleEndian.AppendUint64(nil, i), 4096); err != nil {
			t.Error(err)
		}
		if got := number(reader); got != i {
			t.Errorf("read %d after %d was written", got, i)
			break
		}
	}
	close(done)
	others.Wait()
}

// Whoever opens the file for writing succeeds, however many others read it or open it at the same time.
func TestReadersKeepNobodyFromWriting(t *testing.T) {
	m := mount(t, oneLV())
	var all sync.WaitGroup
	for range 4 {
		for _, flags := range []int{os.O_RDONLY, os.O_RDWR} {
			all.Go(func() {
				for range 50 {
					f, err := os.OpenFile(m.path("vg/data"), flags, 0)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := f.ReadAt(make([]byte, 100), 0); err != nil {
						t.Error(err)
					}
					f.Close()
				}
			})
		}
	}
	all.Wait()
	f := m.tree.Load().byName["vg"].byName["data"]
	eventually(t, "nobody is left", func() bool {
		f.inodes.mu.Lock()
		defer f.inodes.mu.Unlock()
		return f.inodes.writers == 0 && f.inodes.cached == 0 && len(f.inodes.handles) == 0
	})
}

func TestAReloadReachesReadersAtEveryInode(t *testing.T) {
	m := mount(t, oneLV())
	var readers []*os.File
	for range 3 {
		readers = append(readers, m.open("vg/data", os.O_RDONLY))
		m.open("vg/data", os.O_RDWR).Close()
		eventually(t, "the writer is gone", func() bool {
			i := &m.tree.Load().byName["vg"].byName["data"].inodes
			i.mu.Lock()
			defer i.mu.Unlock()
			return i.writers == 0
		})
	}
	p := make([]byte, extent)
	for _, f := range readers {
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	m.update(moved())
	m.mustReload()
	want := m.disks[1].Contents()[testpv.DataStart+40*extent:][:extent]
	for i, f := range readers {
		if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, want) {
			t.Errorf("reader %d: %v, or other bytes", i, err)
		}
	}
}

// Read-ahead may meet what cannot be read. It fails nobody who reads beside that, and puts nothing in its place.
func TestGoodBytesAreReadBesideBadOnes(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		const page = 4096
		vg := testpv.VG{
			Name: "vg", Seqno: 1, PVs: []string{"sda"}, PVExtents: 400,
			LVs: []testpv.LV{{Name: "data", Segments: []string{testpv.Linear(0, 300, "pv0", 0)}}},
		}
		disks := vg.Disks()
		want := disks[0].Contents()[testpv.DataStart:][:300*extent]
		bad := map[int]bool{}
		for _, b := range []int{3, 17, 32, 33, 34, 80, 127, 128, 200, len(want)/page - 1} {
			bad[b] = true
			disks[0].Break(int64(testpv.DataStart+b*page+1000), int64(testpv.DataStart+b*page+1001))
		}
		m := mountDisks(t, disks, mode)
		for _, size := range []int{page, 4 * page, 32 * page} {
			f := m.open("vg/data", os.O_RDONLY)
			_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
			for off := 0; off < len(want); off += size {
				p := make([]byte, min(size, len(want)-off))
				broken := false
				for b := off / page; b < (off+len(p))/page; b++ {
					broken = broken || bad[b]
				}
				n, err := f.ReadAt(p, int64(off))
				switch {
				case !broken && (err != nil || !bytes.Equal(p, want[off:off+len(p)])):
					t.Errorf("%d bytes at %d: %v, or other bytes", len(p), off, err)
				case broken && err == nil:
					t.Errorf("%d bytes at %d, some of which cannot be read: no error", len(p), off)
				case broken && n > 0 && !bytes.Equal(p[:n], want[off:off+n]):
					t.Errorf("%d bytes at %d: other bytes in front of the bad ones", n, off)
				}
			}
		}
	})
}

func TestADescriptorOfAReaderCanBeOpenedForWriting(t *testing.T) {
	m := mount(t, oneLV())
	m.change("first")
	reader := m.open("vg/data", os.O_RDONLY)
	m.wantText("at first", reader, 0, "first")
	w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", reader.Fd()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	other := m.open("vg/data", os.O_RDONLY)
	if _, err := w.WriteAt([]byte("other"), 0); err != nil {
		t.Fatal(err)
	}
	m.wantText("written", reader, 0, "other")
	m.wantText("at another inode", other, 0, "other")
}

// Good bytes in front of what cannot be read are not the end of the file.
func TestAProgramFailsAtWhatCannotBeRead(t *testing.T) {
	disks := oneLV().Disks()
	const bad = 2*extent + 100
	disks[0].Break(testpv.DataStart+10*extent+bad, testpv.DataStart+10*extent+bad+1)
	m := mountDisks(t, disks)
	out, err := exec.Command("dd", "if="+m.path("vg/data"), "bs=512", "status=none").Output()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || len(out) == 0 || !bytes.Equal(out, contents(disks)[:len(out)]) || len(out) > bad {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	if !bytes.Contains(failed.Stderr, []byte("Input/output error")) {
		t.Errorf("said %q", failed.Stderr)
	}
}

// Readers leave pages in the cache. Memory that a writer maps has none of them.
func TestPagesDoNotOutliveTheirReaders(t *testing.T) {
	m := mount(t, oneLV())
	m.change("first")
	if _, err := os.ReadFile(m.path("vg/data")); err != nil {
		t.Fatal(err)
	}
	m.disks[0].Change(10, extent, 1000, []byte("other"))
	if got := m.mapped("write", "vg/data"); !bytes.HasPrefix(got[1000:], []byte("other")) {
		t.Errorf("the memory has %q", got[1000:1005])
	}
}

func TestRootsMountsAreReadAheadByMore(t *testing.T) {
	testenv.NeedRoot(t)
	for name, c := range map[string]struct {
		mode func(*Config)
		want string
	}{"by default": {func(*Config) {}, "2048"}, "direct": {directly, "128"}} {
		m := mount(t, oneLV(), c.mode)
		dev := device(m.stat("."))
		got, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(dev), unix.Minor(dev)))
		if errors.Is(err, os.ErrNotExist) {
			t.Skip("no /sys here")
		}
		if err != nil || string(bytes.TrimSpace(got)) != c.want {
			t.Errorf("%s: reads %q KiB ahead, %v; want %s", name, got, err, c.want)
		}
	}
}
