package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// medium is a kind of device. The same table of behaviour runs over each.
type medium struct {
	name   string
	sector int // what SectorSize is to be; 0: whatever the system says
	// make gives a device with these bytes, and a reader that goes another way to them.
	make func(t *testing.T, data []byte) (*Device, io.ReaderAt)
}

// media are those of every system; others are added to it where they exist.
var media = []medium{
	{"image file", 1, func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
		return openForTest(t, writeImage(t, data), Options{})
	}},
	{"raw disk with 512-byte sectors", 512, rawDisk(512)},
	{"raw disk with 4096-byte sectors", 4096, rawDisk(4096)},
}

func rawDisk(sector int64) func(*testing.T, []byte) (*Device, io.ReaderAt) {
	return func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
		disk := newSectorDisk(sector, bytes.Clone(data))
		d, err := disk.device()
		if err != nil {
			t.Fatal(err)
		}
		return d, bytes.NewReader(disk.data)
	}
}

func writeImage(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// openForTest opens path by this package and, to compare, by package os.
func openForTest(t *testing.T, path string, opts Options) (*Device, io.ReaderAt) {
	t.Helper()
	d, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return d, f
}

// testSize is a whole number of sectors, larger than two bounce buffers, and small
// enough for a table that runs often.
const testSize = 2*bounceSize + 7*4096

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func overMedia(t *testing.T, test func(t *testing.T, d *Device, disk io.ReaderAt, data []byte)) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			data := noise(testSize)
			d, disk := m.make(t, data)
			if m.sector != 0 && d.SectorSize() != m.sector {
				t.Errorf("SectorSize is %d, want %d", d.SectorSize(), m.sector)
			}
			if d.Size() != testSize {
				t.Errorf("Size is %d, want %d", d.Size(), testSize)
			}
			test(t, d, disk, data)
		})
	}
}

func claimForTest(t *testing.T, d *Device) {
	t.Helper()
	if err := d.Claim(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Release(); err != nil {
			t.Error(err)
		}
	})
}

// ranges are accesses with every kind of alignment, in a device of testSize bytes.
func ranges() [][2]int {
	list := [][2]int{
		{0, 0},
		{0, 1},
		{0, 512},
		{0, 4096},
		{1, 1},
		{511, 2},
		{512, 511},
		{4095, 2},
		{100, 4096},
		{4096, 100},
		{0, testSize},
		{1, testSize - 1},
		{0, testSize - 1},
		{3, testSize - 5},
		{testSize - 1, 1},
		{testSize - 513, 513},
		{testSize, 0},
		{511, bounceSize},
		{4096, bounceSize},
		{512, bounceSize + 512},
		{513, bounceSize + 4096},
		{4095, worthSplitting + 2},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		off := r.IntN(testSize)
		n := r.IntN(min(testSize-off, 1<<r.IntN(22)) + 1)
		list = append(list, [2]int{off, n})
	}
	return list
}

// memory is n bytes that lie skip bytes behind a page's start.
func memory(n, skip int) []byte {
	b := *bounces.New().(*[]byte)
	if n+skip > len(b) {
		large := make([]byte, n+skip+pageSize)
		for !aligned(large, pageSize) {
			large = large[1:]
		}
		b = large
	}
	return b[skip:][:n:n]
}

func TestAReadGivesTheBytesAskedForWhateverTheAlignment(t *testing.T) {
	testenv.Long(t)
	overMedia(t, func(t *testing.T, d *Device, _ io.ReaderAt, data []byte) {
		for i, r := range ranges() {
			off, n := r[0], r[1]
			p := memory(n, []int{0, 1, 512}[i%3])
			got, err := d.ReadAt(p, int64(off))
			if got != n || err != nil {
				t.Fatalf("reading %d bytes at %d: %d, %v", n, off, got, err)
			}
			if !bytes.Equal(p, data[off:off+n]) {
				t.Fatalf("%d bytes at %d are not those of the device", n, off)
			}
		}
	})
}

func TestAReadPastTheEndGivesWhatIsThereAndEOF(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, _ io.ReaderAt, data []byte) {
		for _, c := range []struct{ off, want int }{
			{testSize - 10, 10}, {testSize - 5000, 5000}, {testSize, 0}, {testSize + 4096, 0},
		} {
			p := make([]byte, c.want+100)
			n, err := d.ReadAt(p, int64(c.off))
			if n != c.want || err != io.EOF {
				t.Errorf("at %d: %d, %v; want %d, EOF", c.off, n, err, c.want)
			}
			if n > 0 && !bytes.Equal(p[:n], data[c.off:]) {
				t.Errorf("at %d: wrong bytes", c.off)
			}
		}
		if _, err := d.ReadAt(make([]byte, 1), -1); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("at -1: %v", err)
		}
	})
}

func TestAWriteChangesTheBytesGivenAndNoOthers(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, disk io.ReaderAt, data []byte) {
		claimForTest(t, d)
		want := bytes.Clone(data)
		news := noise(2 * testSize)[testSize:]
		for i, r := range ranges() {
			off, n := r[0], r[1]
			p := memory(n, []int{0, 1, 512}[i%3])
			copy(p, news[(i*997)%1000:])
			copy(want[off:], p)
			if got, err := d.WriteAt(p, int64(off)); got != n || err != nil {
				t.Fatalf("writing %d bytes at %d: %d, %v", n, off, got, err)
			}
			// The neighbours too, through the descriptor that was there before.
			lo, hi := max(off-5000, 0), min(off+n+5000, testSize)
			seen := make([]byte, hi-lo)
			if _, err := d.ReadAt(seen, int64(lo)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(seen, want[lo:hi]) {
				t.Fatalf("after writing %d bytes at %d, the bytes around are not what they should be", n, off)
			}
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		compareDisk(t, disk, want)
	})
}

func compareDisk(t *testing.T, disk io.ReaderAt, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := disk.ReadAt(got, 0); n != len(got) {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("byte %d on the disk is %#x, want %#x", i, got[i], want[i])
		}
	}
	if f, ok := disk.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() != int64(len(want)) {
			t.Errorf("the file has %d bytes, want %d", info.Size(), len(want))
		}
	}
}

func TestConcurrentWritersOfNeighbouringBytesLoseNothing(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, disk io.ReaderAt, data []byte) {
		claimForTest(t, d)
		want := bytes.Clone(data)
		const writers, step, each = 8, 100, 64 // sectors are shared by all of them
		var wait sync.WaitGroup
		for w := range writers {
			for i := range each {
				off := (i*writers + w) * step
				copy(want[off:off+step], bytes.Repeat([]byte{byte(w + 1)}, step))
			}
			wait.Go(func() {
				for i := range each {
					off := int64((i*writers + w) * step)
					if _, err := d.WriteAt(bytes.Repeat([]byte{byte(w + 1)}, step), off); err != nil {
						t.Error(err)
					}
					if _, err := d.ReadAt(make([]byte, step), off); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		if err := d.Sync(); err != nil {
			t.Error(err)
		}
		compareDisk(t, disk, want)
	})
}

// An aligned write must not come between the read and the write of a part of one of its sectors: that write would undo
// it.
func TestAWriteOfWholeSectorsWaitsForAReadModifyWrite(t *testing.T) {
	disk := newSectorDisk(512, make([]byte, 1<<20))
	d, err := disk.device()
	if err != nil {
		t.Fatal(err)
	}
	claimForTest(t, d)
	whole := bytes.Repeat([]byte{2}, 512)
	var once sync.Once
	var other sync.WaitGroup
	disk.between = func() {
		once.Do(func() {
			started := make(chan struct{})
			other.Go(func() {
				close(started)
				if _, err := d.WriteAt(whole, 0); err != nil {
					t.Error(err)
				}
			})
			<-started
			time.Sleep(20 * time.Millisecond) // enough for a write that does not wait
		})
	}
	if _, err := d.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	other.Wait()
	if !bytes.Equal(disk.data[:512], whole) {
		t.Errorf("the later write of the whole sector is gone: it starts %v", disk.data[:4])
	}
}

func TestAPunchedHoleReadsAsZerosAndNothingElseChanges(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, disk io.ReaderAt, data []byte) {
		claimForTest(t, d)
		want := bytes.Clone(data)
		for _, r := range [][2]int{
			{0, 0}, {10, 1}, {600, 3000}, {8192, 4096}, {12288 + 1, 3 * 4096}, {50000, 512}, {1 << 20, 1 << 19}, {testSize - 4097, 4097},
		} {
			off, n := r[0], r[1]
			err := d.PunchHole(int64(off), int64(n))
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatalf("hole of %d bytes at %d: %v", n, off, err)
			}
			clear(want[off : off+n])
			p := make([]byte, n)
			if _, err := d.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+n]) {
				t.Fatalf("hole of %d bytes at %d is not zeros (%v)", n, off, err)
			}
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		compareDisk(t, disk, want)
	})
}

func TestNothingIsWrittenBeyondTheEnd(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, disk io.ReaderAt, data []byte) {
		claimForTest(t, d)
		for _, off := range []int64{testSize - 1, testSize - 512, testSize, testSize + 4096} {
			if n, err := d.WriteAt(make([]byte, 1024), off); n != 0 || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("writing 1024 bytes at %d: %d, %v; want ENOSPC", off, n, err)
			}
			if err := d.PunchHole(off, 1024); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("hole of 1024 bytes at %d: %v; want ENOSPC", off, err)
			}
		}
		if _, err := d.WriteAt([]byte{1}, -1); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("writing at -1: %v", err)
		}
		if err := d.PunchHole(4096, -4096); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("hole of -4096 bytes: %v", err)
		}
		compareDisk(t, disk, data)
	})
}

func TestWithoutAClaimNothingIsWritten(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, disk io.ReaderAt, data []byte) {
		refused := func(when string) {
			t.Helper()
			_, err := d.WriteAt([]byte("x"), 0)
			for _, err := range []error{err, d.PunchHole(0, 4096), d.Sync()} {
				if !errors.Is(err, ErrNotClaimed) {
					t.Errorf("%s: %v; want ErrNotClaimed", when, err)
				}
			}
			if err := d.Release(); !errors.Is(err, ErrNotClaimed) {
				t.Errorf("%s: Release: %v; want ErrNotClaimed", when, err)
			}
		}
		refused("before a claim")
		for range 2 {
			if err := d.Claim(); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Release(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteAt(data[:1], 0); err != nil {
			t.Errorf("with one of two claims given up: %v", err)
		}
		if err := d.Release(); err != nil {
			t.Fatal(err)
		}
		refused("after the last claim")
		compareDisk(t, disk, data)
	})
}

func TestAClosedDeviceAnswersWithErrClosed(t *testing.T) {
	data := noise(8192)
	d, _ := openForTest(t, writeImage(t, data), Options{})
	if err := d.Claim(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, readErr := d.ReadAt(make([]byte, 1), 0)
	_, writeErr := d.WriteAt(make([]byte, 1), 0)
	for what, err := range map[string]error{
		"ReadAt": readErr, "WriteAt": writeErr, "PunchHole": d.PunchHole(0, 1), "Sync": d.Sync(),
		"Claim": d.Claim(), "Release": d.Release(), "Refresh": d.Refresh(), "Close": d.Close(),
	} {
		if !errors.Is(err, os.ErrClosed) || !strings.HasPrefix(err.Error(), d.Name()+": ") {
			t.Errorf("%s: %v; want ErrClosed with the name", what, err)
		}
	}
}

func TestABadSectorFailsOnlyWhatTouchesIt(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			const size = 4 << 20
			disk := newSectorDisk(sector, noise(size))
			bad := int64(bounceSize + 5*4096)
			disk.bad[bad] = true
			d, err := disk.device()
			if err != nil {
				t.Fatal(err)
			}
			claimForTest(t, d)
			for _, r := range [][2]int64{{0, bad}, {3, bad - 3}, {bad + sector, size - bad - sector}, {bad + sector + 1, 10}, {bad - 1, 1}} {
				if _, err := d.ReadAt(memory(int(r[1]), 1), r[0]); err != nil {
					t.Errorf("reading %d bytes at %d: %v", r[1], r[0], err)
				}
			}
			for _, skip := range []int{0, 1} {
				for _, off := range []int64{0, 5, bad - 4096, bad - 1, bad, bad + 1} {
					p := memory(int(bad+sector-off), skip)
					n, err := d.ReadAt(p, off)
					if want := max(bad-off, 0); int64(n) != want {
						t.Errorf("reading over the bad sector from %d: %d good bytes, want %d", off, n, want)
					}
					if !bytes.Equal(p[:n], disk.data[off:off+int64(n)]) {
						t.Errorf("reading over the bad sector from %d: the bytes before it are wrong", off)
					}
					where := fmt.Sprintf("raw0: reading %d bytes at byte %d: input/output error", len(p)-n, max(off, bad))
					if !errors.Is(err, syscall.EIO) || err.Error() != where {
						t.Errorf("reading over the bad sector from %d: %v; want %s", off, err, where)
					}
				}
			}
			if n, err := d.WriteAt([]byte{1}, bad+3); n != 0 || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "to change a part of it") {
				t.Errorf("changing a byte of the bad sector: %d, %v", n, err)
			}
			if n, err := d.WriteAt(make([]byte, 10000), bad-5000); n > 5000 || !errors.Is(err, syscall.EIO) {
				t.Errorf("writing over the bad sector: %d, %v", n, err)
			}
		})
	}
}

func TestADeviceThatEndsBeforeItsSizeIsAnErrorAndNotEOF(t *testing.T) {
	data := noise(3 * 4096)
	path := writeImage(t, data)
	file, _ := openForTest(t, path, Options{})
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	disk := newSectorDisk(512, bytes.Clone(data))
	raw, err := disk.device()
	if err != nil {
		t.Fatal(err)
	}
	disk.data = disk.data[:8192]
	for name, d := range map[string]*Device{"image file": file, "raw disk": raw} {
		p := make([]byte, 4096)
		n, err := d.ReadAt(p, 6000)
		if n != 2192 || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "ends at byte 8192") {
			t.Errorf("%s: %d, %v; want 2192 bytes and ErrUnexpectedEOF", name, n, err)
		}
		if !bytes.Equal(p[:n], data[6000:8192]) {
			t.Errorf("%s: wrong bytes before the end", name)
		}
		var fault *mapping.Fault
		if !errors.As(err, &fault) || fault.Offset != 8192 || fault.Device != d.Name() {
			t.Errorf("%s: %v is a fault %+v", name, err, fault)
		}
		_, err = d.ReadAt(p, 8292)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "ends at byte 8192,") {
			t.Errorf("%s: beyond the end: %v", name, err)
		}
	}
}

func TestAFileCutShortIsNotMadeLongerByAWrite(t *testing.T) {
	path := writeImage(t, noise(3*4096))
	d, _ := openForTest(t, path, Options{})
	claimForTest(t, d)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("x"), 9000); !errors.Is(err, ErrChanged) {
		t.Errorf("write: %v; want ErrChanged", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 4096 {
		t.Errorf("the file has %d bytes now", info.Size())
	}
}

func TestClaimsWritesAndReadsMayRunTogether(t *testing.T) {
	d, _ := openForTest(t, writeImage(t, noise(1<<16)), Options{})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for range 50 {
				if err := d.Claim(); err != nil {
					t.Error(err)
					return
				}
				off := int64(i * 4096)
				if _, err := d.WriteAt([]byte{byte(i)}, off); err != nil {
					t.Error(err)
				}
				if err := d.Refresh(); err != nil {
					t.Error(err)
				}
				p := make([]byte, 1)
				if _, err := d.ReadAt(p, off); err != nil || p[0] != byte(i) {
					t.Error(p, err)
				}
				if err := d.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func TestAllWhoSyncADeviceLearnThatBytesWereLost(t *testing.T) {
	disk := newSectorDisk(512, make([]byte, 4096))
	d, err := disk.device()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // each for an LV
		if err := d.Claim(); err != nil {
			t.Fatal(err)
		}
	}
	disk.lost = syscall.EIO
	var syncing sync.WaitGroup
	for range 4 {
		syncing.Go(func() {
			if err := d.Sync(); !errors.Is(err, syscall.EIO) {
				t.Errorf("Sync: %v", err)
			}
		})
	}
	syncing.Wait()
	if err := d.Release(); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("with one claim left: %v", err)
	}
	if err := errors.Join(d.Release(), d.Claim(), d.Sync(), d.Release()); err != nil {
		t.Errorf("claimed anew: %v", err)
	}
}
