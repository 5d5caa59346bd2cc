package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
)

// TestLVMListsOddPropertiesTheSame holds what list says of rare properties against the lvm2 that is installed.
func TestLVMListsOddPropertiesTheSame(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "lvm")
	lv := testpv.LV{Name: "a", Segments: []string{testpv.Linear(0, 3, "pv0", 0)}}
	vg := testpv.VG{Name: "vg", Seqno: 3, PVs: []string{"sda"}, PVExtents: 1000, LVs: []testpv.LV{lv}}
	with := func(change func(*testpv.VG, *testpv.LV)) string {
		v, l := vg, lv
		change(&v, &l)
		v.LVs = []testpv.LV{l}
		return v.Text()
	}
	texts := map[string]string{
		"FIXED_MINOR without a major": with(func(_ *testpv.VG, lv *testpv.LV) {
			lv.Status, lv.Extra = `"READ", "WRITE", "VISIBLE", "FIXED_MINOR"`, "minor = 5"
		}),
		"FIXED_MINOR": with(func(_ *testpv.VG, lv *testpv.LV) {
			lv.Status, lv.Extra = `"READ", "WRITE", "VISIBLE", "FIXED_MINOR"`, "major = 253\nminor = 5"
		}),
		"a minor that is not fixed": with(func(_ *testpv.VG, lv *testpv.LV) { lv.Extra = "major = 253\nminor = 5" }),
		"SHARED without a lock type": with(func(vg *testpv.VG, _ *testpv.LV) {
			vg.Status = `"RESIZEABLE", "SHARED", "READ", "WRITE"`
		}),
		"lock type none":       with(func(vg *testpv.VG, _ *testpv.LV) { vg.Extra = `lock_type = "none"` }),
		"an unknown lock type": with(func(vg *testpv.VG, _ *testpv.LV) { vg.Extra = `lock_type = "odd"` }),
	}
	for _, policy := range []string{"contiguous", "cling", "cling_by_tags", "normal", "anywhere", "inherit", "next free", "odd"} {
		texts["VG with policy "+policy] = with(func(vg *testpv.VG, _ *testpv.LV) { vg.Extra = `allocation_policy = "` + policy + `"` })
		texts["LV with policy "+policy] = with(func(_ *testpv.VG, lv *testpv.LV) { lv.Extra = `allocation_policy = "` + policy + `"` })
	}
	vgFields := []string{"vg_attr", "vg_allocation_policy", "vg_clustered", "vg_shared", "vg_lock_type"}
	lvFields := []string{"lv_name", "lv_allocation_policy", "lv_layout", "lv_fixed_minor", "lv_major", "lv_minor"}
	dir := t.TempDir()
	file := filepath.Join(dir, "sda")
	if err := os.WriteFile(file, testpv.New("sda", testpv.UUID("sda"), testpv.DataStart+1000*testpv.ExtentSize, "").Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := loopDevice(t, file)
	for name, text := range texts {
		disk := testpv.New("sda", testpv.UUID("sda"), testpv.DataStart+1000*testpv.ExtentSize, text)
		if err := os.WriteFile(loop, disk.Bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		want := lvmRows(t, dir, loop, "vgs", vgFields)
		want = append(want, lvmRows(t, dir, loop, "lvs", lvFields)...)
		if diff := cmp.Diff(want, listedRows(t, loop, vgFields, lvFields)); diff != "" {
			t.Errorf("%s (-lvm +lvm2fs):\n%s", name, diff)
		}
	}
}

func lvmRows(t *testing.T, dir, loop, command string, fields []string) []string {
	t.Helper()
	rows, stderr := lvmReport(t, dir, []string{loop}, command, strings.Join(fields, ","))
	if len(rows) != 1 {
		t.Fatalf("%s gives %d rows\n%s", command, len(rows), stderr)
	}
	return rows
}

func listedRows(t *testing.T, device string, vgFields, lvFields []string) []string {
	t.Helper()
	out, err := exec.Command(program, "list", "--json", device).Output()
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Report []struct{ VG, LV []map[string]any }
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for i, of := range []struct {
		rows   []map[string]any
		fields []string
	}{{all.Report[0].VG, vgFields}, {all.Report[0].LV, lvFields}} {
		if len(of.rows) != 1 {
			t.Fatalf("list gives %d rows in table %d", len(of.rows), i)
		}
		var values []string
		for _, f := range of.fields {
			value, _ := of.rows[0][f].(string)
			values = append(values, value)
		}
		rows = append(rows, strings.Join(slices.Clip(values), ","))
	}
	return rows
}
