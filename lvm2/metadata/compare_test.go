package metadata

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// written is a VG of two PVs of 100 extents of 1 MiB, at byte 1 MiB each, and LVs as they are written.
func written(t *testing.T, seqno int, lvs ...string) *VG {
	t.Helper()
	src := fmt.Sprintf(`contents = "Text Format Volume Group"
version = 1
vg { id = "%s" seqno = %d status = ["READ"] extent_size = 2048
physical_volumes {
pv0 { id = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 100 }
pv1 { id = "%s" status = ["ALLOCATABLE"] pe_start = 2048 pe_count = 100 }
}
logical_volumes { %s }
}`, id("vg"), seqno, id("pv0"), id("pv1"), strings.Join(lvs, "\n"))
	vg, err := Decode([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	for _, lv := range vg.LVs {
		if lv.Broken() != nil {
			t.Fatal(lv.Broken())
		}
	}
	return vg
}

// id is a UUID that shows what it is of.
func id(name string) UUID {
	return UUID((strings.ReplaceAll(name, "_", "") + strings.Repeat("x", 32))[:32])
}

// linear is an LV of segments "PV:extent+extents", whose UUID is that of its first name.
func linear(names string, segments ...string) string {
	name, first, _ := strings.Cut(names, "/")
	if first == "" {
		first = name
	}
	s := fmt.Sprintf("%s { id = %q status = [\"READ\", \"VISIBLE\"] segment_count = %d\n", name, id(first), len(segments))
	at := 0
	for i, seg := range segments {
		var pv, extent, extents int
		if _, err := fmt.Sscanf(seg, "pv%d:%d+%d", &pv, &extent, &extents); err != nil {
			panic(err)
		}
		s += fmt.Sprintf("segment%d { start_extent = %d extent_count = %d type = \"striped\" stripe_count = 1 stripes = [\"pv%d\", %d] }\n", i+1, at, extents, pv, extent)
		at += extents
	}
	return s + "}"
}

func mirrored(name, typ string, legs ...string) string {
	var list []string
	for _, leg := range legs {
		list = append(list, fmt.Sprintf("%q", leg))
	}
	return fmt.Sprintf("%s { id = %q status = [\"READ\", \"VISIBLE\"] segment_count = 1\nsegment1 { start_extent = 0 extent_count = 10 type = %q device_count = %d raids = [%s] } }", name, id(name), typ, len(legs)/2, strings.Join(list, ", "))
}

func TestWhatChangedBetweenTwoTextsIsTold(t *testing.T) {
	before := written(t, 1, linear("a", "pv0:0+10"), linear("b", "pv0:10+10"), linear("c", "pv0:20+10"), linear("d", "pv0:30+10"), linear("e", "pv0:40+10"))
	after := written(t, 2, linear("a", "pv0:0+20"), linear("b", "pv1:10+10"), linear("cc/c", "pv0:20+10"), linear("d", "pv0:30+5"), linear("f", "pv0:50+3"))
	var got []string
	for _, c := range Compare(before, after) {
		got = append(got, c.String())
	}
	want := []string{"LV e removed", "LV a grown", "LV b moved", "LV cc renamed from c", "LV d shrunk", "LV f made"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if changes := Compare(before, before); len(changes) > 0 {
		t.Errorf("against itself: %v", changes)
	}
	if changes := Compare(nil, before); len(changes) != 7 {
		t.Errorf("against nothing: %v", changes)
	}
}

func TestASegmentThatIsSplitHasNotMoved(t *testing.T) {
	before := written(t, 1, linear("a", "pv0:0+10"))
	after := written(t, 2, linear("a", "pv0:0+4", "pv0:4+6"))
	if changes := Compare(before, after); len(changes) > 0 {
		t.Errorf("%v", changes)
	}
}

// ranges are the reused ranges of pv0 in MiB from where its extents begin.
func ranges(s *Since) (list []string) {
	const mib = 1 << 20
	for _, r := range s.Ranges(id("pv0")) {
		list = append(list, fmt.Sprintf("%d-%d %s", r.Start/mib-1, r.End/mib-1, r.By))
	}
	return list
}

func TestExtentsGivenToAnotherLVAreReused(t *testing.T) {
	old := written(t, 1, linear("gone", "pv0:10+10"), linear("keep", "pv0:30+10"))
	for _, test := range []struct {
		name  string
		later []*VG
		want  []string
	}{
		{"nothing has changed", []*VG{written(t, 2, linear("gone", "pv0:10+10"), linear("keep", "pv0:30+10"))}, nil},
		{"removed", []*VG{written(t, 2, linear("keep", "pv0:30+10"))}, nil},
		{"renamed", []*VG{written(t, 2, linear("other/gone", "pv0:10+10"))}, nil},
		{"grown over it", []*VG{written(t, 2, linear("keep", "pv0:30+10", "pv0:15+10"))}, []string{"15-20 vg/keep (seqno 2)"}},
		{"reused in the end", []*VG{written(t, 2), written(t, 3, linear("new", "pv0:12+2", "pv0:18+8"))}, []string{"12-14 vg/new (seqno 3)", "18-20 vg/new (seqno 3)"}},
		{"reused between", []*VG{written(t, 2, linear("new", "pv0:5+10")), written(t, 3)}, []string{"10-15 vg/new (seqno 2)"}},
		{"shifted within itself", []*VG{written(t, 2, linear("gone", "pv0:12+8"))}, []string{"12-20 vg/gone (seqno 2)"}},
		{"a text is not found", []*VG{written(t, 3, linear("keep", "pv0:30+10"))}, []string{"10-20 texts of vg that are not found (seqno 2 to 2)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var later []Later
			for _, vg := range test.later {
				later = append([]Later{{VG: vg}}, later...)
			}
			if diff := cmp.Diff(test.want, ranges(NewSince(old, later))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestAPVThatWasMadeAnewIsTheSameDevice(t *testing.T) {
	old := written(t, 1, linear("gone", "pv0:10+10"))
	anew := written(t, 1, linear("new", "pv1:15+10"))
	anew.UUID = id("other")
	s := NewSince(old, []Later{{VG: anew, PVs: map[UUID]UUID{id("pv1"): id("pv0"), id("pv0"): id("else")}}})
	if diff := cmp.Diff([]string{"15-20 vg/new (seqno 1)"}, ranges(s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestALaterTextThatMakesNoSenseGivesNothingBack(t *testing.T) {
	old := written(t, 1, linear("gone", "pv0:10+10"))
	later := written(t, 2, linear("keep", "pv0:30+10"))
	later.LVs[0].fail(fmt.Errorf("nonsense"))
	s := NewSince(old, []Later{{VG: later}})
	if r := s.Ranges(id("pv0")); len(r) != 1 || r[0].Start != 0 || !strings.Contains(r[0].By, "vg/keep") {
		t.Errorf("%+v", r)
	}
}

func TestAnArrayWhosePartsWereUsedInAnotherWayIsReassembled(t *testing.T) {
	parts := []string{linear("r_rmeta_0", "pv0:0+1"), linear("r_rimage_0", "pv0:1+10"), linear("r_rmeta_1", "pv1:0+1"), linear("r_rimage_1", "pv1:1+10")}
	array := mirrored("r", "raid1", "r_rmeta_0", "r_rimage_0", "r_rmeta_1", "r_rimage_1")
	old := written(t, 1, append(parts, array)...)
	for _, test := range []struct {
		name  string
		later []string
		want  bool
	}{
		{"nothing has changed", append(parts[:4:4], array), false},
		{"removed with all parts", nil, false},
		{"a leg lives on alone", parts[1:2], true},
		{"another level", append(parts[:4:4], mirrored("r", "raid5_n", "r_rmeta_0", "r_rimage_0", "r_rmeta_1", "r_rimage_1")), true},
		{"another array", append(parts[:4:4], mirrored("q", "raid1", "r_rmeta_0", "r_rimage_0", "r_rmeta_1", "r_rimage_1")), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewSince(old, []Later{{VG: written(t, 2, test.later...)}})
			if why := s.Reassembled(old.LV("r")); (why != "") != test.want {
				t.Errorf("reassembled: %q", why)
			}
			if why := s.Reassembled(old.LV("r_rimage_0")); why != "" {
				t.Errorf("a leg: %q", why)
			}
		})
	}
}

func TestOfNothingNothingIsKnownSince(t *testing.T) {
	var s *Since
	if s.Ranges(id("pv0")) != nil || s.Reassembled(nil) != "" {
		t.Error("something is")
	}
}

// snapshotOf is the LV that ties a COW store to its origin.
func snapshotOf(origin, cow string) string {
	return fmt.Sprintf("snapshot0 { id = %q status = [\"READ\"] segment_count = 1\nsegment1 { start_extent = 0 extent_count = 10 type = \"snapshot\" chunk_size = 8 origin = %q cow_store = %q } }", id("snapshot0"), origin, cow)
}

func TestAnLVThatServedAsSomethingElseIsNotWhatItWas(t *testing.T) {
	o, cow, hidden := linear("o", "pv0:0+10"), linear("cow", "pv0:20+5"), strings.ReplaceAll(linear("cow_cvol/cow", "pv0:20+5"), `, "VISIBLE"`, "")
	for _, test := range []struct {
		name       string
		old, later []string
		lv         string
		want       bool
	}{
		{"it is as it was", []string{o, cow}, []string{o, cow}, "cow", false},
		{"it became a part of another", []string{o, cow}, []string{o, hidden}, "cow", true},
		{"it became a COW store", []string{o, cow}, []string{o, cow, snapshotOf("o", "cow")}, "cow", true},
		{"it is a COW store no more", []string{o, cow, snapshotOf("o", "cow")}, []string{o, cow}, "cow", true},
		{"an origin lost its snapshot", []string{o, cow, snapshotOf("o", "cow")}, []string{o}, "o", false},
		{"the snapshot's store is as it was", []string{o, cow, snapshotOf("o", "cow")}, []string{o}, "cow", false},
		{"but not the origin", []string{o, cow, snapshotOf("o", "cow")}, []string{o}, "snapshot0", true},
		{"both went", []string{o, cow, snapshotOf("o", "cow")}, nil, "snapshot0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			old := written(t, 1, test.old...)
			s := NewSince(old, []Later{{VG: written(t, 2, test.later...)}})
			if why := s.Reassembled(old.LV(test.lv)); (why != "") != test.want {
				t.Errorf("%q", why)
			}
		})
	}
}
