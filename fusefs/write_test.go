package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/overlay"
)

func TestWritesReachTheExtentsOfTheLVAndNoOthers(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		before := [][]byte{m.disks[0].Contents(), m.disks[1].Contents()}
		data := bytes.Repeat([]byte("written."), 2*extent/8)
		f := m.open("vg/data", os.O_RDWR)
		if n, err := f.WriteAt(data, 2*extent-100); n != len(data) || err != nil {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
		got := make([]byte, len(data))
		if _, err := f.ReadAt(got, 2*extent-100); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read back: %v", err)
		}
		at := func(e int) int { return testpv.DataStart + e*extent }
		copy(before[0][at(12)-100:], data[:extent+100])
		copy(before[1][at(5):], data[extent+100:])
		for i, d := range m.disks {
			if !bytes.Equal(d.Contents(), before[i]) {
				t.Errorf("disk %d: not as expected", i)
			}
		}
	})
}

func TestNothingFitsBehindTheEnd(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		f := m.open("vg/data", os.O_RDWR)
		end := int64(4 * extent)
		// Not WriteAt, which goes on after a short write and forgets its length.
		if n, err := unix.Pwrite(int(f.Fd()), make([]byte, 1000), end-600); n != 600 || err != nil {
			t.Errorf("over the end: wrote %d bytes, %v; want 600", n, err)
		}
		_, err := f.WriteAt([]byte{1}, end)
		wantErrno(t, "at the end", err, syscall.ENOSPC)
		_, err = m.open("vg/data", os.O_WRONLY|os.O_APPEND).Write([]byte{1})
		wantErrno(t, "appending", err, syscall.ENOSPC)
		if size := m.stat("vg/data").Size(); size != end {
			t.Errorf("the size is %d now", size)
		}
	})
}

func TestModesAndOwnersStayAndTimesAreNotKept(t *testing.T) {
	m := mount(t, oneLV())
	before := m.stat("vg/data")
	wantErrno(t, "chmod", os.Chmod(m.path("vg/data"), 0o600), syscall.EPERM)
	wantErrno(t, "chown", os.Chown(m.path("vg/data"), 1, 1), syscall.EPERM)
	if err := os.Chtimes(m.path("vg/data"), time.Unix(5, 0), time.Unix(6, 0)); err != nil {
		t.Errorf("touch: %v", err)
	}
	if now := m.stat("vg/data"); now.Mode() != before.Mode() || !now.ModTime().Equal(before.ModTime()) {
		t.Errorf("was %v %v, is %v %v", before.Mode(), before.ModTime(), now.Mode(), now.ModTime())
	}
}

func TestTheTimeOfTheLastChangeMovesAtWritesAlone(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		data, other := m.stat("vg/data").ModTime(), m.stat("vg/other").ModTime()
		f := m.open("vg/data", os.O_RDWR)
		if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if now := m.stat("vg/data").ModTime(); !now.Equal(data) {
			t.Errorf("moved without a write from %v to %v", data, now)
		}
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if now := m.stat("vg/data").ModTime(); !now.After(data) {
			t.Errorf("was %v, after a write %v", data, now)
		}
		if now := m.stat("vg/other").ModTime(); !now.Equal(other) {
			t.Errorf("that of another LV moved from %v to %v", other, now)
		}
	})
}

func TestTheTimeOfTheLastChangeIsThatOfTheImagesAtFirst(t *testing.T) {
	paths, _ := imageVG(t)
	older, newer := time.Unix(1e9, 0), time.Unix(1.1e9, 5)
	for path, when := range map[string]time.Time{paths[0]: newer, paths[1]: older} {
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	m := mountDevices(t, openImages(t, paths))
	if got := m.stat("vg/data").ModTime(); !got.Equal(newer) {
		t.Errorf("got %v, want %v", got, newer)
	}
}

func TestDevicesAreClaimedWhileAFileIsOpenForWriting(t *testing.T) {
	m := mount(t, oneLV())
	claims := func() int { return m.disks[0].Claims() + m.disks[1].Claims() }
	m.open("vg/data", os.O_RDONLY)
	m.stat("vg/data")
	if claims() != 0 {
		t.Errorf("%d claims before any write", claims())
	}
	a := m.open("vg/data", os.O_RDWR)
	b := m.open("vg/data", os.O_WRONLY)
	if claims() != 2 {
		t.Errorf("%d claims, want one on each disk", claims())
	}
	a.Close()
	if _, err := b.WriteAt([]byte("x"), 0); err != nil {
		t.Errorf("after the other handle was closed: %v", err)
	}
	syncs := m.disks[0].Syncs()
	b.Close()
	eventually(t, "no claims", func() bool { return claims() == 0 })
	if m.disks[0].Syncs() == syncs {
		t.Error("closed without a sync")
	}
}

func TestSyncReachesTheDevices(t *testing.T) {
	m := mount(t, oneLV())
	f := m.open("vg/data", os.O_RDWR)
	before := m.disks[1].Syncs()
	if err := f.Sync(); err != nil || m.disks[1].Syncs() == before {
		t.Errorf("fsync: %v, %d syncs", err, m.disks[1].Syncs()-before)
	}
	reader := m.open("vg/data", os.O_RDONLY)
	before = m.disks[1].Syncs()
	if err := reader.Sync(); err != nil || m.disks[1].Syncs() == before {
		t.Errorf("fsync by a reader: %v, %d syncs", err, m.disks[1].Syncs()-before)
	}
	before = m.disks[1].Syncs()
	if _, err := m.open("vg/data", os.O_RDWR|os.O_SYNC).WriteAt([]byte("x"), 3*extent); err != nil || m.disks[1].Syncs() == before {
		t.Errorf("a write with O_SYNC: %v, %d syncs", err, m.disks[1].Syncs()-before)
	}
}

func TestWithSyncEveryWriteIsStable(t *testing.T) {
	for _, sync := range []bool{true, false} {
		m := mount(t, oneLV(), func(c *Config) { c.Sync = sync })
		f := m.open("vg/data", os.O_RDWR)
		for i := range 3 {
			before := m.disks[1].Syncs()
			if _, err := f.WriteAt([]byte("x"), 3*extent); err != nil || (m.disks[1].Syncs() > before) != sync {
				t.Errorf("sync %t, write %d: %v, %d syncs", sync, i, err, m.disks[1].Syncs()-before)
			}
		}
	}
}

// unsyncable is a disk whose cache cannot be flushed.
type unsyncable struct{ *testpv.Disk }

func (unsyncable) Sync() error { return testpv.ErrIO }

func TestASyncThatFailsIsAnError(t *testing.T) {
	disks := oneLV().Disks()
	m := mountDevices(t, []lvm2.Device{disks[0], unsyncable{disks[1]}})
	reader := m.open("vg/data", os.O_RDONLY)
	if err := reader.Sync(); err != nil {
		t.Errorf("with nothing written: %v", err)
	}
	f := m.open("vg/data", os.O_RDWR)
	wantErrno(t, "fsync", f.Sync(), syscall.EIO)
	wantErrno(t, "fsync by a reader", reader.Sync(), syscall.EIO)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the failed sync of close is logged", func() bool { return m.log.count("msg=close") == 1 })
}

func TestWhatCannotBeWrittenSaysWhy(t *testing.T) {
	m := mount(t, allKinds())
	_, err := os.OpenFile(m.path("vg/locked"), os.O_RDWR, 0)
	wantErrno(t, "a read-only LV", err, rootOr(syscall.EROFS, syscall.EACCES))
	wantErrno(t, "truncating it", os.Truncate(m.path("vg/locked"), 0), rootOr(syscall.EROFS, syscall.EACCES))
	if os.Geteuid() == 0 && m.log.count("vg/locked") == 0 {
		t.Errorf("nothing in the log:\n%s", m.log.text.String())
	}

	m.disks[0].RefuseClaims(fmt.Errorf("sda: in use by mkfs: %w", syscall.EBUSY))
	_, err = os.OpenFile(m.path("vg/plain"), os.O_RDWR, 0)
	wantErrno(t, "a device in use", err, syscall.EBUSY)
	if m.log.count("in use by mkfs") == 0 {
		t.Errorf("nothing in the log:\n%s", m.log.text.String())
	}
	m.disks[0].RefuseClaims(nil)

	vg := allKinds()
	vg.Seqno++
	m.disks[0].SetText(vg.Text())
	_, err = os.OpenFile(m.path("vg/plain"), os.O_RDWR, 0)
	wantErrno(t, "metadata changed since", err, syscall.ESTALE)
	if m.log.count("lvm2fs -o remount "+m.dir) == 0 {
		t.Errorf("no hint in the log:\n%s", m.log.text.String())
	}
	if n := m.disks[0].Claims(); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}

// rootOr is what root gets, to whom modes mean nothing, or others.
func rootOr(root, others syscall.Errno) syscall.Errno {
	if os.Geteuid() == 0 {
		return root
	}
	return others
}

func TestAReadOnlyMountClaimsNothing(t *testing.T) {
	m := mount(t, oneLV(), func(c *Config) { c.ReadOnly = true })
	if mode := m.stat("vg/data").Mode(); mode != 0o440 {
		t.Errorf("mode %v", mode)
	}
	_, err := os.OpenFile(m.path("vg/data"), os.O_RDWR, 0)
	wantErrno(t, "writing", err, syscall.EROFS)
	wantErrno(t, "truncating", os.Truncate(m.path("vg/data"), 0), syscall.EROFS)
	if n := m.disks[0].Claims(); n != 0 {
		t.Errorf("%d claims", n)
	}
}

func TestAWriteThatFailsIsAnError(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		f := m.open("vg/data", os.O_RDWR)
		m.disks[0].Break(testpv.DataStart+11*extent, testpv.DataStart+12*extent)
		_, err := f.WriteAt(make([]byte, extent), extent)
		wantErrno(t, "writing a broken extent", err, syscall.EIO)
		if _, err := f.WriteAt(make([]byte, extent), 2*extent); err != nil {
			t.Errorf("the one behind it: %v", err)
		}
	})
}

func TestManyWritersAndReadersAtOnce(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				mine := bytes.Repeat([]byte{byte('a' + i)}, extent)
				got := make([]byte, extent)
				for range 20 {
					f, err := os.OpenFile(m.path("vg/data"), os.O_RDWR, 0)
					if err != nil {
						t.Error(err)
						return
					}
					_, werr := f.WriteAt(mine, int64(i*extent))
					_, rerr := f.ReadAt(got, int64(i*extent))
					if werr != nil || rerr != nil || !bytes.Equal(got, mine) {
						t.Errorf("writer %d: %v, %v, or other bytes", i, werr, rerr)
					}
					f.Close()
				}
			})
		}
		wg.Wait()
		eventually(t, "no claims", func() bool { return m.disks[0].Claims() == 0 })
	})
}

func TestErrorsBecomeErrnos(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("LV vg/x: %w", err) }
	for _, c := range []struct {
		err      error
		open, io syscall.Errno
	}{
		{nil, 0, 0},
		{wrap(lvm2.ErrMissing), syscall.EIO, syscall.EIO},
		{wrap(lvm2.ErrReadOnly), syscall.EROFS, syscall.EROFS},
		{wrap(lvm2.ErrStale), syscall.ESTALE, syscall.EIO},
		{wrap(lvm2.ErrUnsupported), syscall.EOPNOTSUPP, syscall.EIO},
		{wrap(lvm2.ErrNoContents), syscall.EOPNOTSUPP, syscall.EIO},
		{wrap(syscall.EBUSY), syscall.EBUSY, syscall.EIO},
		{wrap(fs.ErrPermission), syscall.EIO, syscall.EIO},
		{wrap(syscall.EACCES), syscall.EACCES, syscall.EIO},
		{wrap(syscall.ENOSPC), syscall.ENOSPC, syscall.ENOSPC},
		{wrap(lvm2.ErrNoSpace), syscall.ENOSPC, syscall.ENOSPC},
		{wrap(errGone), syscall.ESTALE, syscall.EIO},
		{wrap(overlay.ErrForeign), syscall.ESTALE, syscall.EIO},
		{wrap(fmt.Errorf("%w: %w", overlay.ErrFull, syscall.ENOSPC)), syscall.ENOSPC, syscall.ENOSPC},
		{wrap(overlay.ErrDamaged), syscall.EIO, syscall.EIO},
		{wrap(testpv.ErrIO), syscall.EIO, syscall.EIO},
	} {
		if got := openErrno(c.err); got != c.open {
			t.Errorf("open: %v is %v, want %v", c.err, got, c.open)
		}
		if got := ioErrno(c.err); got != c.io {
			t.Errorf("I/O: %v is %v, want %v", c.err, got, c.io)
		}
	}
	if got := ioErrno(wrap(errors.ErrUnsupported)); got != syscall.EOPNOTSUPP {
		t.Errorf("what the platform cannot do is %v", got)
	}
}
