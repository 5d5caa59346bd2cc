package lvm2

import (
	"errors"
	"testing"

	"lvm2fs/internal/testimages"
	"lvm2fs/lvm2/internal/target"
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
		switch m := lv.mapping().(type) {
		case *Thin:
			return m.Pool.ThinPool().Metadata
		case *VDO:
			return m.Pool.mapping().(*VDOPool).Data
		case *Writecache:
			return m.Fast
		}
		return lv.snapshotOf().Mapping.(*Snapshot).COW
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
				if _, ok := other.mapping().(*Writecache); lv == nil && other.Visible() && (ok || other.snapshotOf() != nil) && other.Health() == "" {
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

func TestAJournalThatIsReadLateIsInTheHealth(t *testing.T) {
	vg := openImages(t, testimages.Load(t, "vdo-plain")).VGs[0]
	devices := devicesOf(vg)
	entry := vdoJournalEntry(0, 812, 680970, [2]uint64{1, 681019}, [2]uint64{})
	bad := Open(patch(devices, devices[0], 10225233*512+3, entry), Options{}).VGs[0]
	for _, name := range []string{"vol", "vpool"} {
		if h, err := bad.LV(name).Health(), bad.LV(name).Fault(); h != "damaged" || !errors.Is(err, target.ErrVDO) {
			t.Errorf("%s: %q, %v", name, h, err)
		}
	}
}
