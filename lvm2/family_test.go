package lvm2

import (
	"bytes"
	"errors"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
)

// overlays are the devices of an image, whose changes stay in memory.
func overlays(t *testing.T, c *testimages.Case) []Device {
	t.Helper()
	var devices []Device
	for _, vg := range openImages(t, c).VGs {
		for _, pv := range vg.PVs {
			devices = append(devices, &overlay{Device: pv.Device, changed: map[int64][]byte{}})
		}
	}
	return devices
}

// openAll opens the LVs of a case that can be read, for writing where that can be, and says what they hold.
func openAll(t *testing.T, s *Scan, c *testimages.Case) (open []*Volume, contents [][]byte) {
	t.Helper()
	for i := range c.LVs {
		lv := s.find(c.LVs[i].Path())
		if lv == nil || lv.Fault() != nil || lv.Size() > 256<<20 {
			continue
		}
		v, err := lv.OpenWritable()
		if err != nil {
			t.Log(err)
			if v, err = lv.Open(); errors.Is(err, ErrNoContents) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
		}
		b := make([]byte, v.Size())
		if _, err := v.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		open, contents = append(open, v), append(contents, b)
	}
	return open, contents
}

func holds(t *testing.T, when string, v *Volume, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: %s: %v, or not what was written", when, v.LV(), err)
	}
}

// All LVs of a VG are open at once. Each holds what was written to it, whatever was written to its origin or its
// snapshots; so it does when they are opened anew.
func TestOriginsAndSnapshotsOfTheImagesAreWrittenAtTheSameTime(t *testing.T) {
	for _, name := range []string{"snapshot", "snapshot-crash", "snapshot-invalid", "snap-many", "snap-cowseg"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testimages.Load(t, name)
			devices := overlays(t, c)
			s := Open(devices, Options{})
			open, contents := openAll(t, s, c)
			written := 0
			for _, v := range open {
				if v.Writable() && v.LV().FamilyOf() != nil {
					written++
				}
			}
			if written < 2 {
				t.Errorf("%d origins and snapshots can be written", written)
			}
			refused := 0
			for i := range 40 {
				k := mathrand.IntN(len(open))
				if !open[k].Writable() {
					continue
				}
				off := mathrand.IntN(len(contents[k]))
				p := bytes.Repeat([]byte{byte(i) + 1}, min(len(contents[k])-off, 1+mathrand.IntN(1<<(8+i%10))))
				n, err := open[k].WriteAt(p, int64(off))
				if err != nil && !errors.Is(err, ErrNoSpace) {
					t.Fatalf("%s: %v", open[k].LV(), err)
				}
				if err != nil {
					refused++
				}
				copy(contents[k][off:], p[:n])
			}
			t.Logf("%d writes were refused", refused)
			for k, v := range open {
				holds(t, "while open", v, contents[k])
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
			again := Open(devices, Options{})
			for k, v := range open {
				lv := again.find(v.LV().String())
				v, err := lv.Open()
				if err != nil {
					t.Fatal(err)
				}
				holds(t, "opened anew", v, contents[k])
				if now, was := lv.Usage(), open[k].LV().Usage(); lv.SnapshotOf() != nil && *now.Data != *was.Data {
					t.Errorf("%s: %v is in use, it was said to be %v", lv, now.Data, was.Data)
				}
			}
		})
	}
}

func TestWhatIsWrittenToALVOfAFamilyClaimsTheDevicesOfAll(t *testing.T) {
	vg := someFamily(t)
	for _, name := range []string{"lv", "snap"} {
		lv := vg.LV(name)
		v, err := lv.OpenWritable()
		if err != nil {
			t.Fatal(err)
		}
		for _, pv := range vg.PVs {
			if claims := pv.Device.(interface{ Claims() int }).Claims(); claims != 1 {
				t.Errorf("%s is open, and %s has %d claims", name, pv.Device.Name(), claims)
			}
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNothingOfAFamilyIsWrittenDuringAMerge(t *testing.T) {
	for _, name := range []string{"snapshot-merge-half", "snapshot-merge-pending"} {
		c := testimages.Load(t, name)
		s := Open(overlays(t, c), Options{})
		merging := 0
		for _, vg := range s.VGs {
			for _, lv := range vg.LVs {
				if origin := lv.FamilyOf(); origin == nil || !origin.Merging() || !lv.Visible() {
					continue
				}
				merging++
				if err := lv.ReadOnlyReason(); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "is being merged into it") {
					t.Errorf("%s: %v", lv, err)
				}
			}
		}
		if merging == 0 {
			t.Errorf("%s: nothing is being merged", name)
		}
	}
}

// someFamily is the VG vg with an origin lv of 8 extents and its snapshot snap, on another PV. The snapshot was never
// activated, and has room for 5 chunks of an extent each.
func someFamily(t *testing.T, options ...Options) *VG {
	t.Helper()
	disks := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"}, LVs: []testpv.LV{
		{Name: "lv", Segments: []string{testpv.Linear(0, 8, "pv0", 0)}},
		{Name: "snap", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 7, "pv1", 0)}},
		{Name: "snapshot0", Segments: []string{"start_extent = 0\nextent_count = 8\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"lv\"\ncow_store = \"snap\""}},
	}}.Disks()
	for i := range 7 {
		clear(disks[1].Extent(i, testpv.ExtentSize))
	}
	s := Open(devices(disks...), append(options, Options{})[0])
	if len(s.VGs) != 1 {
		t.Fatalf("no VG: %v %v", s.Rejected, s.Warnings)
	}
	return s.VGs[0]
}

func TestASnapshotIsSacrificedOnlyWhereThatIsAskedFor(t *testing.T) {
	var lost []string
	for _, sacrifice := range []bool{false, true} {
		var options Options
		if sacrifice {
			options.SnapshotLost = func(lv *LV, err error) {
				if !errors.Is(err, ErrNoSpace) {
					t.Error(err)
				}
				lost = append(lost, lv.String())
			}
		}
		vg := someFamily(t, options)
		origin, snap := vg.LV("lv"), vg.LV("snap")
		v, err := origin.OpenWritable()
		if err != nil {
			t.Fatal(err)
		}
		reader, err := snap.Open()
		if err != nil {
			t.Fatal(err)
		}
		before := make([]byte, reader.Size())
		if _, err := reader.ReadAt(before, 0); err != nil {
			t.Fatal(err)
		}
		_, err = v.WriteAt(make([]byte, origin.Size()), 0)
		after := make([]byte, reader.Size())
		_, rerr := reader.ReadAt(after, 0)
		if !sacrifice {
			if !errors.Is(err, ErrNoSpace) || rerr != nil || !bytes.Equal(after, before) || len(lost) > 0 {
				t.Errorf("%v; reading the snapshot: %v; %v are lost", err, rerr, lost)
			}
			continue
		}
		if err != nil || !errors.Is(rerr, ErrInvalidSnapshot) || len(lost) != 1 || lost[0] != "vg/snap" {
			t.Errorf("%v; reading the snapshot: %v; %v are lost", err, rerr, lost)
		}
		if !snap.InvalidSnapshot() || snap.Health() != "invalid" || *snap.Usage().Data != (Share{uint64(snap.Size()), uint64(snap.Size())}) {
			t.Errorf("invalid %v, health %q, usage %v", snap.InvalidSnapshot(), snap.Health(), snap.Usage().Data)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}
