package lvm2

import (
	"errors"
	"fmt"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/metadata"
)

// LVs refer to one another in a chain. What is said of them is right at both ends. There are so many that a walk would
// not end if it visited, for each, all that is beneath.
func TestLVsInLongChains(t *testing.T) {
	testenv.Long(t)
	const n = 20000
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}}
	stacked := func(i int) string { return fmt.Sprintf("stacked%05d", i) }
	thin := func(i int) string { return fmt.Sprintf("thin%05d", i) }
	add := func(name, segment string) {
		vg.LVs = append(vg.LVs, testpv.LV{Name: name, Segments: []string{segment}})
	}
	add("tmeta", testpv.Linear(0, 1, "pv0", 1))
	add("tdata", testpv.Linear(0, 1, "pv0", 2))
	add("pool", "start_extent = 0\nextent_count = 1\ntype = \"thin-pool\"\nmetadata = \"tmeta\"\npool = \"tdata\"\ntransaction_id = 1\nchunk_size = 128")
	add(stacked(0), testpv.Linear(0, 1, "pv0", 0))
	for i := range n {
		origin := ""
		if i > 0 {
			origin = fmt.Sprintf("origin = %q", thin(i-1))
			add(stacked(i), testpv.Linear(0, 1, stacked(i-1), 0))
		}
		add(thin(i), fmt.Sprintf("start_extent = 0\nextent_count = 1\ntype = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = %d\n%s", i+1, origin))
	}
	decoded, err := metadata.Decode([]byte(vg.Text()))
	if err != nil {
		t.Fatal(err)
	}
	got := newVG(decoded)
	got.assemble(Options{})
	last := got.LV(thin(n - 1))
	ancestors, descendants := 0, 0
	for range last.Ancestors(true) {
		ancestors++
	}
	for range got.LV(thin(0)).Descendants(true) {
		descendants++
	}
	if ancestors != n-1 || descendants != n-1 {
		t.Errorf("%d ancestors of the last, %d descendants of the first", ancestors, descendants)
	}
	for _, lv := range got.LVs {
		if len(lv.Modules()) == 0 && lv.Pool() != nil || len(lv.PVs()) != 1 || !lv.Partial() || !lv.Incomplete() {
			t.Fatalf("%s: on %d PVs, partial %t, incomplete %t", lv, len(lv.PVs()), lv.Partial(), lv.Incomplete())
		}
		if lv.Stateful() != (lv.Pool() != nil || lv.Data() != nil) {
			t.Fatalf("%s: stateful is %t", lv, lv.Stateful())
		}
	}
	if _, err := got.LV(stacked(metadata.MaxDepth)).Open(); err != nil {
		t.Errorf("on %d others: %v", metadata.MaxDepth, err)
	}
	if _, err := got.LV(stacked(metadata.MaxDepth + 1)).Open(); !errors.Is(err, ErrMetadata) {
		t.Errorf("on %d others: %v", metadata.MaxDepth+1, err)
	}
}
