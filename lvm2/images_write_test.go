package lvm2

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/mapping"
)

// overlay is a disk whose changes stay in memory.
type overlay struct {
	Device
	mu      sync.RWMutex
	changed map[int64][]byte // blocks, by number
}

const overlayBlock = 4096

func (d *overlay) Claim() error   { return nil }
func (d *overlay) Release() error { return nil }
func (d *overlay) Sync() error    { return nil }

func (d *overlay) each(p []byte, off int64, do func(part []byte, number, at int64) error) error {
	for len(p) > 0 {
		number, at := off/overlayBlock, off%overlayBlock
		n := min(int64(len(p)), overlayBlock-at)
		if err := do(p[:n], number, at); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (d *overlay) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n, err := d.Device.ReadAt(p, off)
	_ = d.each(p[:n], off, func(part []byte, number, at int64) error {
		if block := d.changed[number]; block != nil {
			copy(part, block[at:])
		}
		return nil
	})
	return n, err
}

func (d *overlay) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.each(p, off, func(part []byte, number, at int64) error {
		block := d.changed[number]
		if block == nil {
			block = make([]byte, overlayBlock)
			if _, err := d.Device.ReadAt(block, number*overlayBlock); err != nil && err != io.EOF {
				return err
			}
			d.changed[number] = block
		}
		copy(block[at:], part)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *overlay) PunchHole(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

var _ mapping.WritableDevice = (*overlay)(nil)

// The LVs of the images lie as close together as lvm2 puts them, so a write to a wrong place hits another LV.
func TestWhatIsWrittenToAnLVOfTheImagesIsThereAndChangesNoOther(t *testing.T) {
	for _, c := range testimages.All(t) {
		if !strings.HasPrefix(c.Name, "raid") && !strings.HasPrefix(c.Name, "reshape") && !strings.HasPrefix(c.Name, "integrity") && c.Name != "mirror" && c.Name != "striped" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var devices []Device
			for _, pv := range openImages(t, c).VGs[0].PVs {
				if pv.Device != nil {
					devices = append(devices, &overlay{Device: pv.Device, changed: map[int64][]byte{}})
				}
			}
			written := map[string][]byte{}
			for i := range c.LVs {
				lv := Open(devices, Options{}).find(c.LVs[i].Path())
				if lv == nil || lv.ReadOnlyReason() != nil {
					if (strings.HasPrefix(c.Name, "raid") || strings.HasPrefix(c.Name, "integrity")) && !strings.HasPrefix(c.Name, "raid-") && !strings.HasPrefix(c.Name, "raid6-") {
						t.Errorf("%s: %v", lv, lv.ReadOnlyReason())
					}
					continue
				}
				data, err := scribbleOn(lv)
				if err != nil {
					t.Fatalf("%s: %v", lv, err)
				}
				written[c.LVs[i].Path()] = data
			}
			s := Open(devices, Options{})
			for i := range c.LVs {
				want := &c.LVs[i]
				lv := s.find(want.Path())
				data := written[want.Path()]
				if data == nil {
					if lv != nil {
						checkLV(t, lv, want)
					}
					continue
				}
				v, err := lv.Open()
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, v.Size())
				if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %v, or not what was written", lv, err)
				}
				if found, sum := check(t, lv); !sum.Good() && c.Name != "integrity-corrupt" {
					t.Errorf("%s: %+v: %+v", lv, sum, found)
				}
				if err := lv.ReadOnlyReason(); err != nil {
					t.Errorf("%s cannot be written again: %v", lv, err)
				}
			}
		})
	}
}

// scribbleOn writes pieces and holes all over an LV, and returns what it then holds.
func scribbleOn(lv *LV) ([]byte, error) {
	v, err := lv.OpenWritable()
	if err != nil {
		return nil, err
	}
	data := make([]byte, v.Size())
	_, err = v.ReadAt(data, 0)
	for i := 0; i < 60 && err == nil; i++ {
		off := mathrand.IntN(len(data))
		part := data[off:min(len(data), off+1+mathrand.IntN(1<<(6+i%13)))]
		if i%10 == 9 {
			clear(part)
			err = v.PunchHole(int64(off), int64(len(part)))
			continue
		}
		rand.Read(part)
		_, err = v.WriteAt(part, int64(off))
	}
	return data, errors.Join(err, v.Close())
}
