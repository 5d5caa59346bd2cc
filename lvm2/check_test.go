package lvm2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/raid"
)

func check(t *testing.T, lv *LV) ([]Finding, CheckSummary) {
	t.Helper()
	var found []Finding
	c := Checker{
		Found: func(f Finding) error { found = append(found, f); return nil },
		Progress: func(lv *LV, done, total int64) {
			if done <= 0 || done > total {
				t.Errorf("%s: progress %d of %d", lv, done, total)
			}
		},
	}
	sum, err := c.Check(context.Background(), lv)
	if err != nil {
		t.Fatal(err)
	}
	return found, sum
}

func TestACheckOfEveryImageFindsWhatIsWrongWithItAndNothingElse(t *testing.T) {
	testenv.Long(t)
	// LVs of which some is not in sync, or not there: all others are compared as a whole.
	inPart := []string{
		"raid-degraded", "raid6-degraded2", "raid-stale", "raid-stale-meta", "outdated-pv", "sector4k", "sync-half", "reshape-half", "integrity-corrupt",
		"raid-extended", "raid-nosync-lost", "raid-regions", "raid-replace-half", "raid-stale-each", "raid-upconvert-half", "raid6-stale-missing", "reshape-cut", "takeovers-half", "reshape-half-lost",
	}
	for _, c := range testimages.All(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := openImages(t, c)
			for i := range c.LVs {
				want := &c.LVs[i]
				lv := s.find(want.Path())
				if lv == nil || !c.Supported() || lv.Partial() && want.Expect == testimages.OK && lv.RAID() == nil {
					continue // on PVs that lie in something else
				}
				found, sum := check(t, lv)
				if sum.Differing != 0 {
					t.Errorf("%s: legs differ: %+v", lv, found)
				}
				var bad, lost int64
				for _, b := range want.Bad {
					bad += b[1]
				}
				for _, f := range found {
					if f.Legs == nil {
						lost += f.Length
					}
				}
				switch {
				case sum.Lost != lost:
					t.Errorf("%s: %d bytes lost, and %d found", lv, sum.Lost, lost)
				case want.Expect == testimages.OK && (sum.Lost != 0 || sum.Err != nil):
					t.Errorf("%s: %+v: %v", lv, sum, found)
				case want.Expect == testimages.Partial && (sum.Lost != bad || sum.Good()):
					t.Errorf("%s: %d bytes are lost, want %d", lv, sum.Lost, bad)
				case want.Expect == testimages.Error && sum.Good():
					t.Errorf("%s: nothing is wrong", lv)
				case sum.Unreadable != 0 && c.Name != "integrity-corrupt":
					t.Errorf("%s: %d bytes of legs cannot be read: %v", lv, sum.Unreadable, found)
				}
				if (sum.Compared < sum.Redundant) != (len(sum.Uncompared) > 0) && sum.Unreadable == 0 {
					t.Errorf("%s: %d bytes of %d were compared, because %v", lv, sum.Compared, sum.Redundant, sum.Uncompared)
				}
				if log := lv.MirrorLog(); sum.Compared != sum.Redundant && !slices.Contains(inPart, c.Name) && !lv.Partial() &&
					!(lv.Segments[0].Type == "mirror" && log == nil) && !(log != nil && sum.Compared == lv.Size()) {
					t.Errorf("%s: %d bytes of %d were compared", lv, sum.Compared, sum.Redundant)
				}
			}
		})
	}
}

func TestACheckNamesEachSectorThatFailsItsChecksumOnEachLeg(t *testing.T) {
	for _, c := range testimages.All(t) {
		if c.Name != "integrity-corrupt" {
			continue
		}
		lv := openImages(t, c).find(c.LVs[0].Path())
		found, sum := check(t, lv)
		var got []string
		for _, f := range found {
			if !errors.Is(f.Err, ErrIntegrity) {
				t.Error(f.Err)
			}
			got = append(got, fmt.Sprintf("%d at %d: leg %d: %s at %d", f.Length, f.Offset, f.Legs.Places[0].Leg, f.Places[0].Device.Name(), f.Places[0].Offset))
		}
		want := []string{"65536 at 1048576: leg 0: pv0.img at 2621440", "32768 at 2097152: leg 1: pv1.img at 3670016"}
		if diff := cmp.Diff(want, got); diff != "" || sum.Unreadable != 98304 || sum.Lost != 0 || sum.Good() {
			t.Errorf("%+v\n%s", sum, diff)
		}
		if h := lv.Health(); h != "" {
			t.Errorf("the check has changed the health to %q", h)
		}
		return
	}
	t.Skip("no image integrity-corrupt")
}

func TestACheckComparesLegsWhereTheyShouldBeEqual(t *testing.T) {
	const extents = testLegExtents * testpv.ExtentSize
	onDisk := func(off int64) int64 { return testpv.DataStart + 10*testpv.ExtentSize + off }
	// Bit 1 of the bitmap is of bytes 8192 to 16383.
	dirty := super{events: 20, recovery: inSync, resync: inSync, dirty: 2}
	for name, c := range map[string]struct {
		typ      string
		legs     int
		super    super
		status   string
		without  []int
		compared int64
		want     string
	}{
		"in sync":          {"raid1", 2, super{events: 20, recovery: inSync, resync: inSync}, "", nil, extents, "512 at 8192: leg 1 (sdb at %d) from leg 0"},
		"three legs":       {"raid1", 3, super{events: 20, recovery: inSync, resync: inSync}, "", nil, extents, "512 at 8192: leg 1 (sdb at %d) from leg 0"},
		"of three two":     {"raid1", 3, super{events: 20, recovery: inSync, resync: inSync}, "", []int{0}, extents, "512 at 8192: leg 2 (sdc at %d) from leg 1"},
		"dirty":            {"raid1", 2, dirty, "", nil, extents - 8192, ""},
		"resync not done":  {"raid1", 2, super{events: 20, recovery: inSync, resync: 8192}, "", nil, 8192, ""},
		"a leg is missing": {"raid1", 2, super{events: 20, recovery: inSync, resync: inSync}, "", []int{1}, 0, ""},
		"stale":            {"raid1", 2, super{events: 20, recovery: inSync, resync: inSync, failed: 2}, "", nil, 0, ""},
		"raid5":            {"raid5_n", 3, super{events: 20, recovery: inSync, resync: inSync}, "", nil, 2 * extents, "512 of a row at 16384: leg -1"},
		"raid5 dirty":      {"raid5_n", 3, dirty, "", nil, 2 * (extents - 8192), ""},
		"raid5 degraded":   {"raid5_n", 3, super{events: 20, recovery: inSync, resync: inSync}, "", []int{0}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRAID{typ: c.typ, legs: c.legs, supers: map[int]super{}}
			if c.typ != "raid1" {
				r.stripe = 16
			}
			for i := range r.legs {
				r.supers[i] = c.super
			}
			disks := r.disks()
			for i := range disks {
				clear(leg(disks, i)) // equal, and of parity 0
			}
			leg(disks, 1)[8192+100] ^= 0x10
			lv := r.open(t, disks, Options{}, c.without...)
			found, sum := check(t, lv)
			var got []string
			for _, f := range found {
				if f.Legs.Problem == raid.ParityDiffers {
					got = append(got, fmt.Sprintf("%d of a row at %d: leg %d", f.Length, f.Offset, f.Legs.Blamed))
					if at := f.Places[1]; at.Device != disks[1] || at.Offset != onDisk(8192) {
						t.Errorf("leg 1 is at %d of %v", at.Offset, at.Device)
					}
					continue
				}
				at := f.Places[f.Legs.Blamed]
				got = append(got, fmt.Sprintf("%d at %d: leg %d (%s at %d) from leg %d", f.Length, f.Offset,
					f.Legs.Places[f.Legs.Blamed].Leg, at.Device.Name(), at.Offset, f.Legs.Places[f.Legs.Against].Leg))
			}
			want := c.want
			if strings.Contains(want, "%d") {
				want = fmt.Sprintf(want, onDisk(8192))
			}
			if strings.Join(got, "; ") != want || sum.Compared != c.compared || sum.Good() != (want == "") {
				t.Errorf("%q and %+v, want %q and %d compared", got, sum, want, c.compared)
			}
		})
	}
}

func TestWhatNoLegCanGiveIsLost(t *testing.T) {
	r := testRAID{typ: "raid1", legs: 2}
	disks := r.disks()
	copy(leg(disks, 1), leg(disks, 0))
	at := int64(testpv.DataStart + 10*testpv.ExtentSize)
	disks[0].Break(at+2048, at+6144)
	disks[1].Break(at+4096, at+8192)
	lv := r.open(t, disks, Options{LegFailed: func(*LV, int, int64, int64, error) { t.Error("LegFailed was told") }})
	found, sum := check(t, lv)
	var got []string
	for _, f := range found {
		if f.Legs != nil {
			got = append(got, fmt.Sprintf("leg %d: %d at %d", f.Legs.Places[0].Leg, f.Length, f.Offset))
		} else {
			got = append(got, fmt.Sprintf("lost: %d at %d", f.Length, f.Offset))
		}
	}
	slices.Sort(got)
	want := []string{"leg 0: 4096 at 2048", "leg 1: 4096 at 4096", "lost: 2048 at 4096"}
	if diff := cmp.Diff(want, got); diff != "" || sum.Lost != 2048 || sum.Unreadable != 8192 {
		t.Errorf("%+v\n%s", sum, diff)
	}
}

func TestACheckStopsWhenItIsToldTo(t *testing.T) {
	lv := testRAID{typ: "raid1", legs: 2}.open(t, testRAID{typ: "raid1", legs: 2}.disks(), Options{})
	stop := errors.New("enough")
	c := Checker{Found: func(Finding) error { return stop }}
	if _, err := c.Check(context.Background(), lv); err != stop {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Check(ctx, lv); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestACheckFindsWhatDamagedMetadataMakesUnreadable(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"thin", "cache-dirty"} {
		s := openImages(t, testimages.Load(t, name))
		devices := devicesOf(s.VGs[0])
		failed := 0
		for _, lv := range metadataLVs(s.VGs[0]) {
			all := places(t, lv)
			for i := 0; i < len(all); i += 1 + len(all)/6 { // a few of them, the superblock among them
				damaged := all[i]
				for _, lv := range Open(replace(devices, damaged), Options{}).VGs[0].LVs {
					if !lv.Visible() {
						continue
					}
					readable := false
					if v, err := lv.Open(); err == nil {
						_, err := v.ReadAt(make([]byte, v.Size()), 0)
						readable = err == nil
					}
					found, sum := check(t, lv)
					whole := readable && sum.Faults == 0 // of a pool, perhaps in what belongs to others
					lost := slices.ContainsFunc(found, func(f Finding) bool { return !f.Metadata })
					if sum.Good() != whole || sum.Lost != 0 != lost || sum.Faults != 0 != slices.ContainsFunc(found, func(f Finding) bool { return f.Metadata }) {
						t.Errorf("%s of %s can be read: %v; check: %+v", lv, name, readable, sum)
					}
					if !sum.Good() {
						failed++
					}
				}
			}
		}
		if failed == 0 {
			t.Error("no damage had any effect")
		}
	}
}

func TestACheckNamesACacheThatIsDoneWithout(t *testing.T) {
	t.Parallel()
	vg := openImages(t, testimages.Load(t, "cache-clean")).VGs[0]
	devices, damaged := devicesOf(vg), 0
	for _, place := range places(t, vg.LV("p2_cpool_cmeta")) {
		lv := Open(replace(devices, place), Options{}).VGs[0].LV("wtpool")
		found, sum := check(t, lv)
		if len(found) > 0 || sum.Lost > 0 || sum.Size != lv.Size() {
			t.Fatalf("%+v %+v", found, sum)
		}
		if lost := lv.Health() == "cache-lost"; sum.Good() == lost || lost != errors.Is(sum.Err, dm.ErrCache) {
			t.Errorf("health %q, %+v", lv.Health(), sum)
		}
		if !sum.Good() {
			damaged++
		}
	}
	if damaged == 0 {
		t.Error("no damage had any effect")
	}
}

func TestACheckSaysOfALegWithADamagedSuperblockThatItIsNotGood(t *testing.T) {
	for _, c := range []struct{ image, leg, lv string }{
		{"integrity-corrupt", "mir_rimage_0_imeta", "mir"},
		{"integrity-corrupt", "mir_rmeta_1", "mir"},
	} {
		vg := openImages(t, testimages.Load(t, c.image)).VGs[0]
		at := placeOf(t, vg.LV(c.leg))
		lv := Open(patch(devicesOf(vg), at.device, at.offset, []byte("damaged")), Options{}).VGs[0].LV(c.lv)
		if h := lv.Health(); h != "degraded" {
			t.Errorf("%s: health %q", c.leg, h)
		}
		_, sum := check(t, lv)
		if sum.Good() || sum.Err == nil || sum.Compared != 0 || len(sum.Uncompared) != 1 {
			t.Errorf("%s: %+v", c.leg, sum)
		}
	}
}
