package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/layers/md"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// superblock is where an MD superblock lies.
type superblock struct {
	disk    mapping.Device
	off     int64
	version string
}

// superblocks are those of all members that a probe of disks has found, in partitions as well.
func superblocks(t *testing.T, r *Result) (all []superblock) {
	t.Helper()
	for _, root := range r.Roots {
		root.walk(func(n *Node) {
			if n.Device == nil || n.onArray {
				return
			}
			s, err := md.Find(n.Device, n.Device.Size())
			if err != nil || s == nil {
				return
			}
			e := mapping.Extent{Device: n.Device, Offset: s.Offset}
			if v, ok := n.Device.(mapping.Volume); ok && n != root {
				if e, err = v.Map(s.Offset, 4096); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, superblock{e.Device, e.Offset, s.Version})
		})
	}
	return all
}

// changed is a disk, a superblock of which is changed.
type changed struct {
	mapping.Device
	off   int64
	super []byte
}

func (d *changed) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	from, to := max(off, d.off), min(off+int64(n), d.off+int64(len(d.super)))
	if from < to {
		copy(p[from-off:to-off], d.super[from-d.off:])
	}
	return n, err
}

// changes are what power cuts and bad sectors do to a superblock, and more.
func changes(version string) map[string]func(b []byte) {
	le := binary.LittleEndian
	sum := testmd.SumV1
	eventsAt := 200
	if version == "0.90" {
		sum = func(b []byte) { testmd.Sum090(b, le) }
		eventsAt = 4 * 39
	}
	summed := func(change func(b []byte)) func(b []byte) {
		return func(b []byte) { change(b); sum(b) }
	}
	all := map[string]func(b []byte){
		"zeroed":    func(b []byte) { clear(b) },
		"magic":     func(b []byte) { b[1] ^= 0xff },
		"checksum":  func(b []byte) { b[eventsAt+1] ^= 0x40 },
		"no array":  func(b []byte) { clear(b[16:32]) },
		"its array": summed(func(b []byte) { b[23] ^= 1 }), // in both versions
	}
	for _, by := range []int64{-2, -1, 1, 2} {
		all[fmt.Sprintf("events %+d", by)] = summed(func(b []byte) {
			le.PutUint64(b[eventsAt:], le.Uint64(b[eventsAt:])+uint64(by))
		})
	}
	const part = 512 // sectors
	if version == "0.90" {
		const state, checkEvents, recovered, own = 4 * 33, 4 * 41, 4 * 43, 4 * (992 + 4)
		all["not clean"] = summed(func(b []byte) { b[state] &^= 1 })
		all["in sync in part"] = summed(func(b []byte) {
			b[state] &^= 1
			copy(b[checkEvents:][:8], b[eventsAt:])
			le.PutUint32(b[recovered:], part)
		})
		all["not active"] = summed(func(b []byte) { le.PutUint32(b[own:], 0) })
		return all
	}
	const features, resync, recovery, roles = 8, 208, 152, 256
	for _, upTo := range []uint64{0, part, math.MaxUint64} {
		all[fmt.Sprintf("resync_offset %#x", upTo)] = summed(func(b []byte) { le.PutUint64(b[resync:], upTo) })
		all[fmt.Sprintf("recovery_offset %#x", upTo)] = summed(func(b []byte) {
			b[features] |= 2
			le.PutUint64(b[recovery:], upTo)
		})
	}
	all["first is faulty"] = summed(func(b []byte) { le.PutUint16(b[roles:], testmd.Faulty) })
	return all
}

// Whatever is read of an array with one superblock changed is what the kernel read, or an error.
func TestNoOtherBytesAreReadWhereOneMDSuperblockIsChanged(t *testing.T) {
	for _, name := range []string{
		"md-raid1-0.90", "md-raid1-1.0", "md-raid1-1.1", "md-raid1-1.2", "md-raid4-1.0", "md-raid5", "md-raid5-degraded", "md-raid6",
		"md-raid10-f2", "md-raid10-n2", "md-raid10-o2", "md-raid1-replace", "md-raid10-lost", "md-raid10-o2lost", "md-raid5-parity-first",
		"md-raid5-ppl", "md-raid6-ddf-n-continue", "md-raid6-takeover",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testimages.Load(t, name)
			var disks []mapping.Device
			for _, path := range c.Unpack(t) {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				disks = append(disks, &testpv.Disk{Label: filepath.Base(path), Bytes: b})
			}
			supers := superblocks(t, New(Options{}).look(disks, nil))
			if len(supers) < len(disks) {
				t.Fatalf("%d superblocks on %d disks", len(supers), len(disks))
			}
			right := 0
			for _, s := range supers {
				for what, change := range changes(s.version) {
					super := make([]byte, 4096)
					if _, err := s.disk.ReadAt(super, s.off); err != nil {
						t.Fatal(err)
					}
					was := bytes.Clone(super)
					change(super)
					if bytes.Equal(was, super) {
						continue
					}
					with := make([]mapping.Device, len(disks))
					for i, d := range disks {
						if with[i] = d; d == s.disk {
							with[i] = &changed{d, s.off, super}
						}
					}
					read, err := readFirst(c, with)
					if err != nil {
						t.Errorf("%s, byte %d of %s: %v", what, s.off, s.disk.Name(), err)
					}
					if read {
						right++
					}
				}
			}
			if right == 0 {
				t.Error("nothing was read")
			}
		})
	}
}

// readFirst says whether the first LV of a case can be read from disks; the error is that it has other bytes.
func readFirst(c *testimages.Case, disks []mapping.Device) (bool, error) {
	r := New(Options{}).look(disks, nil)
	scan := lvm2.Open(r.Candidates, lvm2.Options{Beats: r.Beats, Unread: r.Unread})
	want := &c.LVs[0]
	for _, vg := range scan.VGs {
		for _, lv := range vg.LVs {
			if lv.Name != want.LV {
				continue
			}
			v, err := lv.Open()
			if err != nil {
				return false, nil
			}
			defer v.Close()
			if err = want.Verify(v, v.Size()); errors.Is(err, testimages.ErrWrong) {
				return false, err
			}
			return err == nil, nil
		}
	}
	return false, nil
}
