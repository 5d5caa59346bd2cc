package lvm2

import (
	"bytes"
	"errors"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/metadata"
)

// All LVs of a VG are open at once. Each holds what was written to it, and no other changes; so it is when they are
// opened anew. The metadata of all pools are right then.
func TestThinLVsOfTheImagesAreWrittenAtTheSameTime(t *testing.T) {
	testenv.Long(t)
	for _, name := range []string{"thin", "thin-chunks", "thin-external", "thin-raid", "thin-segments", "thin-chain", "thin-extgrown"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testimages.Load(t, name)
			devices := overlays(t, c)
			s := Open(devices, Options{})
			open, contents := openAll(t, s, c)
			written := 0
			for _, v := range open {
				if _, ok := v.LV().Mapping().(*metadata.Thin); ok && v.Writable() {
					written++
				}
			}
			t.Logf("%d thin LVs are written", written)
			if written == 0 {
				t.Error("no thin LV can be written")
			}
			for i := range 150 {
				k := mathrand.IntN(len(open))
				if !open[k].Writable() {
					continue
				}
				off := mathrand.IntN(len(contents[k]))
				p := bytes.Repeat([]byte{byte(i) + 1}, min(len(contents[k])-off, 1+mathrand.IntN(1<<(8+i%12))))
				if i%7 == 0 {
					clear(p)
					err := open[k].PunchHole(int64(off), int64(len(p)))
					if errors.Is(err, ErrNoSpace) { // some of it is zeros now
						_, err = open[k].ReadAt(p, int64(off))
					}
					if err != nil {
						t.Fatal(err)
					}
					copy(contents[k][off:], p)
					continue
				}
				n, err := open[k].WriteAt(p, int64(off))
				if err != nil && !errors.Is(err, ErrNoSpace) {
					t.Fatalf("%s: %v", open[k].LV(), err)
				}
				copy(contents[k][off:], p[:n])
			}
			for k, v := range open {
				holds(t, "while open", v, contents[k])
			}
			for _, v := range open {
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
			again := Open(devices, Options{})
			for k, v := range open {
				v, err := again.find(v.LV().String()).Open()
				if err != nil {
					t.Fatal(err)
				}
				holds(t, "opened anew", v, contents[k])
			}
			checker := Checker{Found: func(f Finding) error {
				t.Errorf("%s: %v", f.LV, f.Err)
				return nil
			}}
			for _, vg := range again.VGs {
				for _, lv := range vg.LVs {
					if lv.ThinPool() == nil {
						continue
					}
					if sum, err := checker.Check(t.Context(), lv); err != nil || sum.Faults > 0 || sum.Metadata == 0 {
						t.Errorf("%s: %v %+v", lv, err, sum)
					}
				}
			}
		})
	}
}

func TestThinLVsThatAreNotWrittenSayWhy(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"thin-needscheck":    {"held": ""},
		"thin-merge-pending": {"is being merged into it": ""},
	} {
		var said []string
		for _, vg := range Open(overlays(t, testimages.Load(t, name)), Options{}).VGs {
			for _, lv := range vg.LVs {
				if _, ok := lv.Mapping().(*metadata.Thin); ok {
					if err := lv.ReadOnlyReason(); err != nil {
						said = append(said, err.Error())
					}
				}
			}
		}
		for phrase := range want {
			if !strings.Contains(strings.Join(said, "\n"), phrase) {
				t.Errorf("%s: nothing says %q: %q", name, phrase, said)
			}
		}
	}
}

// What is left of a removed device lies in free chunks, and a write would take them.
func TestAPoolWhoseRemovedLVsAreShownIsNotWritten(t *testing.T) {
	for _, vg := range Open(overlays(t, testimages.Load(t, "thin")), Options{}).VGs {
		for _, lv := range vg.LVs {
			m, ok := lv.Mapping().(*metadata.Thin)
			if !ok || lv.ReadOnlyReason() != nil {
				continue
			}
			const never = 1<<24 - 1
			for _, id := range []uint64{never, m.DeviceID} {
				if _, err := vg.assembly.RemovedThins(m.Pool, []uint64{id}); err != nil {
					t.Fatal(err)
				}
				reason := lv.ReadOnlyReason()
				if shown := reason != nil && strings.Contains(reason.Error(), "removed"); shown != (id == m.DeviceID) {
					t.Errorf("%s, device %d: %v", lv, id, reason)
				}
			}
			return
		}
	}
	t.Error("no thin LV")
}
