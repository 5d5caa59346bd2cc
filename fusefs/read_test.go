package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

func TestReadsGiveTheBytesOfTheLV(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		want := contents(m.disks)
		f := m.open("vg/data", os.O_RDONLY)
		random := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			off := random.IntN(len(want))
			p := make([]byte, random.IntN(len(want)-off+1))
			if n, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+n]) {
				t.Fatalf("%d bytes at %d: got %d, %v, or other bytes", len(p), off, n, err)
			}
		}
		p := make([]byte, 2*len(want))
		if n, err := f.ReadAt(p, 100); n != len(want)-100 || err != io.EOF {
			t.Errorf("over the end: %d bytes, %v; want %d, EOF", n, err, len(want)-100)
		}
		if n, err := f.ReadAt(p, int64(len(want))); n != 0 || err != io.EOF {
			t.Errorf("at the end: %d bytes, %v", n, err)
		}
	})
}

// openImages opens image files until the test ends.
func openImages(t *testing.T, paths []string) []lvm2.Device {
	t.Helper()
	var devices []lvm2.Device
	for _, path := range paths {
		d, err := blockdev.Open(path, blockdev.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		devices = append(devices, d)
	}
	return devices
}

func TestEveryLVOfTheseImagesIsAsTheKernelReadIt(t *testing.T) {
	for _, name := range []string{"banana", "linear-multi", "linear-missing", "striped", "errzero"} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			m := mountDevices(t, openImages(t, c.Unpack(t)))
			for i := range c.LVs {
				lv := &c.LVs[i]
				if lv.Expect == testimages.Absent || lv.Expect == testimages.Pool {
					continue
				}
				f := m.open(lv.Path(), os.O_RDONLY)
				if err := lv.Verify(f, m.stat(lv.Path()).Size()); err != nil {
					t.Errorf("%s: %v", lv.Path(), err)
				}
			}
		})
	}
}

// imageVG is a VG of large extents in image files, with an LV whose extents lie anyhow.
func imageVG(t *testing.T) (paths []string, want []byte) {
	vg := testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"}, PVExtents: 600,
		LVs: []testpv.LV{{Name: "data", Segments: []string{
			testpv.Linear(0, 300, "pv0", 7),
			testpv.Linear(300, 3, "pv1", 9),
			testpv.Linear(303, 200, "pv1", 100),
			testpv.Striped(503, 80, 16, "pv0", 400, "pv1", 400),
		}}},
	}
	disks := vg.Disks()
	random := rand.NewChaCha8([32]byte{1})
	for i, d := range disks {
		random.Read(d.Bytes[testpv.DataStart:])
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(path, d.Bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	add := func(disk, at, count int) {
		want = append(want, disks[disk].Bytes[testpv.DataStart+at*extent:testpv.DataStart+(at+count)*extent]...)
	}
	add(0, 7, 300)
	add(1, 9, 3)
	add(1, 100, 200)
	for i := range 40 {
		for disk := range 2 {
			at := testpv.DataStart + 400*extent + i*16*512
			if i < 20 {
				want = append(want, disks[disk].Bytes[at:at+16*512]...)
			}
		}
	}
	return paths, want
}

func TestLargeReadsOverManyExtentsAreExact(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		paths, want := imageVG(t)
		m := mountDevices(t, openImages(t, paths), mode)
		f := m.open("vg/data", os.O_RDONLY)
		if size := m.stat("vg/data").Size(); size != int64(len(want)) {
			t.Fatalf("size %d, want %d", size, len(want))
		}
		for _, length := range []int{minRead, 128 << 10, 512 << 10, 1 << 20, len(want)} {
			for _, off := range []int{0, 1, 511, 4096, 300*extent - 5, 301*extent + 1, 500 * extent} {
				p := make([]byte, length)
				n, err := f.ReadAt(p, int64(off))
				if wantN := min(length, len(want)-off); n != wantN || !bytes.Equal(p[:n], want[off:off+n]) {
					t.Errorf("%d bytes at %d: got %d, %v, or other bytes", length, off, n, err)
				}
			}
		}
	})
}

const minRead = 100_000

// A file that loses its end under a running mount gives errors, never zeros or an early end.
func TestAnImageCutShortGivesErrors(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		paths, want := imageVG(t)
		m := mountDevices(t, openImages(t, paths), mode)
		f := m.open("vg/data", os.O_RDONLY)
		cut := testpv.DataStart + 150*extent
		if err := os.Truncate(paths[0], int64(cut)); err != nil {
			t.Fatal(err)
		}
		left := cut - testpv.DataStart - 7*extent
		p := make([]byte, 256<<10)
		for _, off := range []int{0, left - len(p)} {
			if _, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
				t.Errorf("before the cut, at %d: %v, or other bytes", off, err)
			}
		}
		for _, off := range []int{left - len(p) + 1, left, left + 4096} {
			_, err := f.ReadAt(p, int64(off))
			wantErrno(t, fmt.Sprintf("over the cut, at %d", off), err, syscall.EIO)
		}
	})
}

func TestLostRangesFailAndTheOthersAreRead(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		disks := oneLV().Disks()
		want := contents(disks)
		m := mountDisks(t, disks[:1], mode)
		f := m.open("vg/data", os.O_RDONLY)
		p := make([]byte, 3*extent)
		if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, want[:len(p)]) {
			t.Errorf("what is there: %v", err)
		}
		for range 10 {
			for _, off := range []int64{1, 3 * extent, 4*extent - 1} {
				_, err := f.ReadAt(p[:min(len(p), int(4*extent-off))], off)
				wantErrno(t, fmt.Sprintf("what is lost, at %d", off), err, syscall.EIO)
			}
		}
		if n := m.log.count("missing"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, m.log.text.String())
		}
		_, err := os.OpenFile(m.path("vg/data"), os.O_WRONLY, 0)
		wantErrno(t, "writing an LV of a partial VG", err, rootOr(syscall.EROFS, syscall.EACCES))
	})
}

func TestADeviceThatFailsFailsForItsRangesAlone(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		want := contents(m.disks)
		f := m.open("vg/data", os.O_RDONLY)
		bad := int64(testpv.DataStart + 11*extent + 512)
		m.disks[0].Break(bad, bad+512)
		p := make([]byte, extent)
		for range 10 {
			_, err := f.ReadAt(p, extent)
			wantErrno(t, "the broken extent", err, syscall.EIO)
		}
		for _, off := range []int64{0, 2 * extent, 3 * extent} {
			if _, err := f.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+extent]) {
				t.Errorf("at %d: %v", off, err)
			}
		}
		if n := m.log.count("input/output error"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, m.log.text.String())
		}
	})
}

func TestFailuresAreLoggedOnceAPlaceAndNotForEver(t *testing.T) {
	log := &logged{}
	fs := failures{log: newServer("", Config{Scan: &lvm2.Scan{}, Logger: loggerTo(log)}).log}
	f := &lvFile{}
	for range 3 {
		for i := range int64(2 * maxFailures) {
			fs.report(f, "read", i*failureSpan, testpv.ErrIO)
			fs.report(f, "read", i*failureSpan+5, testpv.ErrIO)
		}
	}
	if n := log.count("\n"); n != maxFailures+1 {
		t.Errorf("%d lines, want %d", n, maxFailures+1)
	}
	fs.forget()
	fs.report(f, "read", 0, testpv.ErrIO)
	if n := log.count("\n"); n != maxFailures+2 {
		t.Errorf("after a reload %d lines, want %d", n, maxFailures+2)
	}
}

func TestManyFailuresHideNoOtherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		fs := failures{log: loggerTo(log)}
		f, other := &lvFile{}, &lvFile{}
		of := func(dev string, place int64, why error) error {
			return &mapping.Fault{Device: dev, Offset: place * failureSpan, Err: fmt.Errorf("%s: %w", dev, why)}
		}
		for i := range int64(2 * maxFailures) {
			fs.report(f, "read", i*failureSpan, of("sda", i, syscall.EIO))
		}
		n := maxFailures + 1
		lines := func(what string, more int) {
			t.Helper()
			if n += more; log.count("\n") != n {
				t.Errorf("%s: %d lines, want %d", what, log.count("\n"), n)
			}
		}
		lines("one device", 0)
		fs.report(other, "read", 0, of("sda", 5, syscall.EIO))
		lines("a place that another LV has there too", 0)
		fs.report(f, "read", 0, of("sdb", 5, syscall.EIO))
		lines("another device", 1)
		fs.report(f, "read", 0, of("sda", 5, syscall.ENODEV))
		lines("the device in another way", 1)
		fs.report(f, "write", 0, of("sda", 5, syscall.EIO))
		lines("another operation", 1)
		fs.report(f, "read", 0, errors.New("checksum"))
		fs.report(other, "read", 0, errors.New("checksum"))
		lines("LVs without a failing device", 2)
		time.Sleep(failurePeriod)
		fs.report(f, "read", 0, of("sda", 5, syscall.EIO))
		lines("later", 1)
	})
}

func TestAnLVOfAnUnknownTypeIsListedAndNotOpened(t *testing.T) {
	m := mount(t, allKinds())
	if size := m.stat("vg/odd").Size(); size != 2*extent {
		t.Errorf("size %d", size)
	}
	for _, flags := range []int{os.O_RDONLY, os.O_RDWR} {
		_, err := os.OpenFile(m.path("vg/odd"), flags, 0)
		if flags == os.O_RDONLY {
			wantErrno(t, "open", err, syscall.EOPNOTSUPP)
		} else {
			wantErrno(t, "open for writing", err, rootOr(syscall.EROFS, syscall.EACCES))
		}
	}
	if m.log.count("vg/odd") == 0 {
		t.Errorf("nothing in the log:\n%s", m.log.text.String())
	}
}
