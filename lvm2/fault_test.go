package lvm2

import (
	"bytes"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
)

// deaf is a device that fails from one byte to another.
type deaf struct {
	Device
	from, to int64
}

var errDeaf = errors.New("input/output error")

func (d *deaf) ReadAt(p []byte, off int64) (int, error) {
	if off < d.to && off+int64(len(p)) > d.from {
		return 0, errDeaf
	}
	return d.Device.ReadAt(p, off)
}

func TestWhateverKeepsAnLVFromBeingReadIsInItsHealth(t *testing.T) {
	metadataOf := func(lv *LV) *LV {
		switch m := lv.Mapping().(type) {
		case *metadata.Thin:
			return lv.VG.Of(m.Pool.ThinPool().Metadata)
		case *metadata.VDO:
			return lv.VG.Of(m.Pool.Data())
		case *metadata.Writecache:
			return lv.VG.Of(m.Fast)
		}
		return lv
	}
	for _, c := range []struct{ image, lv, pool string }{
		{"thin", "vol_a", "pool"},
		{"vdo-plain", "vol", "vpool"},
		{"writecache", "", ""},
		{"snapshot", "", ""},
	} {
		t.Run(c.image, func(t *testing.T) {
			vg := openImages(t, testimages.Load(t, c.image)).VGs[0]
			lv := vg.LV(c.lv)
			for _, other := range vg.LVs {
				if _, ok := other.Mapping().(*metadata.Writecache); lv == nil && other.Visible() && (ok || other.SnapshotOf() != nil) && other.Health() == "" {
					lv = other
				}
			}
			at := placeOf(t, metadataOf(lv))
			damaged := Open(patch(devicesOf(vg), at.device, at.offset, []byte("damaged")), Options{}).VGs[0]
			unreadable := devicesOf(vg)
			for i, d := range unreadable {
				if d == at.device {
					unreadable[i] = &deaf{d, at.offset, at.offset + 4096}
				}
			}
			failing := Open(unreadable, Options{}).VGs[0]
			for _, name := range []string{lv.Name, c.pool} {
				if name == "" {
					continue
				}
				if h := vg.LV(name).Health(); h != "" || vg.LV(name).Fault() != nil {
					t.Errorf("%s as it was: health %q, %v", name, h, vg.LV(name).Fault())
				}
				if h := damaged.LV(name).Health(); h != "damaged" {
					t.Errorf("%s, damaged: health %q, %v", name, h, damaged.LV(name).Fault())
				}
				if h := failing.LV(name).Health(); h != "unreadable" || !errors.Is(failing.LV(name).Fault(), errDeaf) {
					t.Errorf("%s on a device that fails: health %q, %v", name, h, failing.LV(name).Fault())
				}
			}
		})
	}
}

// flaky is a device that fails the next reads of some bytes.
type flaky struct {
	Device
	from, to int64
	left     *atomic.Int32 // reads that fail
	tried    *atomic.Int32 // reads
}

func (d *flaky) ReadAt(p []byte, off int64) (int, error) {
	if off < d.to && off+int64(len(p)) > d.from {
		d.tried.Add(1)
		if d.left.Add(-1) >= 0 {
			return 0, errDeaf
		}
	}
	return d.Device.ReadAt(p, off)
}

// failNext is devices on which the next n reads of the first size bytes of an LV fail.
func failNext(t *testing.T, lv *LV, size int64, n int32) (devices []Device, left, tried *atomic.Int32) {
	t.Helper()
	at := placeOf(t, lv)
	left, tried = new(atomic.Int32), new(atomic.Int32)
	left.Store(n)
	devices = devicesOf(lv.VG)
	for i, d := range devices {
		if d == at.device {
			devices[i] = &flaky{d, at.offset, at.offset + size, left, tried}
		}
	}
	return devices, left, tried
}

func TestWhatADeviceFailedToReadOnceIsReadTheNextTime(t *testing.T) {
	testenv.Long(t)
	for _, c := range []struct{ image, lv, metadata string }{
		{"thin", "vol_a", "pool_tmeta"},
		{"vdo-plain", "vol", "vpool_vdata"},
		{"cache-dirty", "wbpool1", "wbpool1_fast_cpool_cmeta"},
		{"integrity-corrupt", "mir", "mir_rimage_0_imeta"},
		{"integrity-corrupt", "mir", "mir_rmeta_0"},
		{"raid5_ls", "", ""},
		{"writecache", "", ""},
		{"snapshot", "", ""},
	} {
		t.Run(c.image+" "+c.metadata, func(t *testing.T) {
			t.Parallel()
			vg := openImages(t, testimages.Load(t, c.image)).VGs[0]
			lv, meta := vg.LV(c.lv), vg.LV(c.metadata)
			for _, other := range vg.LVs {
				switch m := other.Mapping().(type) {
				case *metadata.Writecache:
					lv, meta = other, vg.Of(m.Fast)
				case *metadata.RAID:
					if c.lv == "" {
						lv, meta = other, vg.Of(m.Legs[0].Meta)
					}
				}
				if seg := other.SnapshotOf(); seg != nil && other.Health() == "" {
					lv, meta = other, vg.Of(seg.Mapping.(*metadata.Snapshot).COW)
				}
			}
			truth := readBlocks(t, lv)
			for skip := range int32(2) { // the first read that is wanted, and those that come later
				devices, left, tried := failNext(t, meta, 1<<20, 0)
				again := Open(devices, Options{}).VGs[0]
				again.assembly.RetryAfter = 0
				if skip > 0 {
					_, _ = again.LV(lv.Name).Open()
				}
				left.Store(1)
				_, _ = again.LV(lv.Name).read(make([]byte, 1))
				if tried.Load() == 0 || left.Load() > 0 && skip == 0 {
					t.Fatal("nothing was read")
				}
				if got := readBlocks(t, again.LV(lv.Name)); !maps.EqualFunc(got, truth, bytes.Equal) {
					t.Errorf("failed once, after %d: %d blocks of %d", skip, len(got), len(truth))
				}
			}
		})
	}
}

func TestADeviceThatGoesOnFailingIsNotAskedAtEveryOpen(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "thin")).VGs[0]
	devices, _, tried := failNext(t, vg.LV("pool_tmeta"), 4096, 1<<20)
	failing := Open(devices, Options{}).VGs[0]
	failing.assembly.RetryAfter = time.Hour
	for range 3 {
		if _, err := failing.LV("vol_a").Open(); !errors.Is(err, errDeaf) {
			t.Error(err)
		}
		if h := failing.LV("pool").Health(); h != "unreadable" {
			t.Errorf("health %q", h)
		}
	}
	if n := tried.Load(); n != 1 {
		t.Errorf("read %d times", n)
	}
	t.Run("nor are metadata that make no sense read again", func(t *testing.T) {
		at := placeOf(t, vg.LV("pool_tmeta"))
		damaged, tried := devicesOf(vg), new(atomic.Int32)
		for i, d := range damaged {
			if d == at.device {
				damaged[i] = &flaky{&patched{d, at.offset, []byte("damaged")}, at.offset, at.offset + 4096, new(atomic.Int32), tried}
			}
		}
		lv := Open(damaged, Options{}).VGs[0].LV("vol_a")
		lv.VG.assembly.RetryAfter = 0
		for range 3 {
			if _, err := lv.Open(); err == nil {
				t.Error("opened")
			}
		}
		if n := tried.Load(); n != 1 {
			t.Errorf("read %d times", n)
		}
	})
}

func TestAJournalThatIsReadLateIsInTheHealth(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "vdo-plain")).VGs[0]
	devices := devicesOf(vg)
	entry := vdoJournalEntry(0, 812, 680970, [2]uint64{1, 681019}, [2]uint64{})
	bad := Open(patch(devices, devices[0], 10225233*512+3, entry), Options{}).VGs[0]
	for _, name := range []string{"vol", "vpool"} {
		if h, err := bad.LV(name).Health(), bad.LV(name).Fault(); h != "damaged" || !errors.Is(err, dm.ErrVDO) {
			t.Errorf("%s: %q, %v", name, h, err)
		}
	}
}
