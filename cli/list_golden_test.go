package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// reportRow is a row of a report of lvm's, or of ours, by field.
type reportRow map[string]any

// reports are the rows of vg, pv, lv and seg.
type reports map[string][]reportRow

func parseReports(t *testing.T, data []byte) reports {
	t.Helper()
	var doc struct{ Report []reports }
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Report) != 1 {
		t.Fatalf("%d reports, not 1", len(doc.Report))
	}
	return doc.Report[0]
}

// listJSON runs list --json -a.
func listJSON(t *testing.T, devices []string) reports {
	t.Helper()
	return runList(t, append([]string{"--json", "-a"}, devices...), exitOK)
}

func runList(t *testing.T, args []string, codes ...int) reports {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := Main(append([]string{"list"}, args...), strings.NewReader(""), &stdout, &stderr); !slices.Contains(codes, code) {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return parseReports(t, stdout.Bytes())
}

// notCompared are the fields that are not a matter of the disks, and why.
var notCompared = map[string]string{
	"lv_active":                   "what is active is a matter of the host",
	"lv_active_locally":           "as lv_active",
	"lv_active_remotely":          "as lv_active",
	"lv_active_exclusively":       "as lv_active",
	"lv_kernel_major":             "a number that the kernel gives out at activation",
	"lv_kernel_minor":             "a number that the kernel gives out at activation",
	"lv_kernel_read_ahead":        "the kernel's setting of an active LV",
	"lv_live_table":               "whether the kernel has a table loaded",
	"lv_inactive_table":           "whether the kernel has a table loaded",
	"lv_suspended":                "the kernel's state of an active LV",
	"lv_device_open":              "who uses the LV on the host",
	"lv_merge_failed":             "status of an active snapshot",
	"lv_image_synced":             "status of an active RAID",
	"raid_mismatch_count":         "result of a check by the kernel since activation",
	"raid_sync_action":            "what the kernel does now",
	"integritymismatches":         "counted by the kernel since activation",
	"kernel_cache_settings":       "the kernel's settings of an active cache",
	"kernel_cache_policy":         "the kernel's settings of an active cache",
	"kernel_metadata_format":      "the kernel's settings of an active cache",
	"kernel_discards":             "the kernel's settings of an active pool",
	"writecache_writeback_blocks": "status of an active writecache",
	"writecache_error":            "status of an active writecache",
	"vdo_index_state":             "whether the kernel has read the index, once the pool is active",
	"pv_major":                    "number of the host's device",
	"pv_minor":                    "number of the host's device",
}

// oursAlone are fields that lvm leaves out in some reports, and why. Where both reports have them, they must be equal.
var oursAlone = map[string]string{
	"vg_uuid":         "not asked for in some of the reports",
	"lv_permissions":  "lvm says it of active LVs only, we of all that can be",
	"data_offset":     "lvm asks the kernel, we the superblocks",
	"new_data_offset": "as data_offset",
	"segtype":         "not asked for in some of the reports, of LVs",
	"cache_mode":      "as segtype",
	"discards":        "as segtype",
	"zero":            "as segtype",
	"thin_id":         "as segtype",

	"lv_snapshot_invalid": "lvm asks the kernel, we the COW store",
	"data_percent":        "lvm asks the kernel, we the metadata of the pool or the COW store",
	"snap_percent":        "as data_percent",
	"metadata_percent":    "as data_percent",
	"copy_percent":        "lvm asks the kernel, we the metadata of the cache or the integrity layer",
	"sync_percent":        "as copy_percent",

	"cache_total_blocks":      "as copy_percent",
	"cache_used_blocks":       "as copy_percent",
	"cache_dirty_blocks":      "as copy_percent",
	"cache_read_hits":         "as copy_percent",
	"cache_read_misses":       "as copy_percent",
	"cache_write_hits":        "as copy_percent",
	"cache_write_misses":      "as copy_percent",
	"writecache_total_blocks": "lvm asks the kernel, we the table of the writecache",
	"writecache_free_blocks":  "as writecache_total_blocks",
	"vdo_operating_mode":      "lvm asks the kernel, we the block map of the pool",
	"vdo_compression_state":   "as vdo_operating_mode",
	"vdo_used_size":           "as vdo_operating_mode",
	"vdo_saving_percent":      "as vdo_operating_mode",
}

// fullness are the fields that tell how full an LV is, and of what is in a cache how much is not yet
// in the origin.
var (
	fullness = map[string]bool{"data_percent": true, "snap_percent": true, "metadata_percent": true}
	progress = map[string]bool{"copy_percent": true, "sync_percent": true, "cache_dirty_blocks": true}
)

// comparable says whether a field of an LV means the same to lvm and to us. We ask the disks; lvm asks the kernel,
// where merges go on meanwhile, and dirty blocks of a cache are written back as soon as it is active. How far a RAID
// or mirror is in sync we do not tell.
func comparable(field string, ours, lvm reportRow) bool {
	attr := fmt.Sprint(lvm["lv_attr"])
	switch {
	case fullness[field]:
		return strings.Contains("VtsCodv", attr[:1])
	case progress[field]:
		return lvm["segtype"] == "integrity" || lvm["cache_total_blocks"] != nil && ours["cache_dirty_blocks"] == "0"
	}
	return true
}

var deviceNames = regexp.MustCompile(`/dev/[^]:(),\s]+`)

// identify gives what a row of a report is about. Segments have no UUID: if their VGs have one name, the UUID of the VG
// tells them apart, where lvm was asked for it.
func (r reportRow) identify(report string, vgUUID bool) string {
	switch {
	case report == "vg":
		return fmt.Sprint(r["vg_uuid"])
	case report == "pv":
		return fmt.Sprint(r["pv_uuid"], " duplicate ", r["pv_duplicate"])
	case report == "lv":
		return fmt.Sprint(r["lv_uuid"])
	case vgUUID:
		return fmt.Sprint(r["vg_uuid"], "/", r["lv_name"], " from ", r["seg_start_pe"])
	}
	return fmt.Sprint(r["vg_name"], "/", r["lv_name"], " from ", r["seg_start_pe"])
}

// compareReports says how our reports differ from lvm's. A device has the name that the PV's own row gives it. active
// says whether the LVs were active when lvm was asked.
func compareReports(t *testing.T, got, want reports, active bool) {
	t.Helper()
	ours := map[string]string{}
	for _, pv := range got["pv"] {
		ours[pv.identify("pv", false)] = fmt.Sprint(pv["pv_name"])
	}
	names := map[string]string{}
	for _, pv := range want["pv"] {
		names[fmt.Sprint(pv["pv_name"])] = ours[pv.identify("pv", false)]
	}
	rename := func(s string) string {
		s = deviceNames.ReplaceAllStringFunc(s, func(name string) string {
			if ours := names[name]; ours != "" {
				return ours
			}
			return name
		})
		if ours := names[s]; ours != "" {
			return ours
		}
		return s
	}
	for _, report := range []string{"vg", "pv", "lv", "seg"} {
		compareReport(t, report, got[report], want[report], rename, active)
	}
}

func compareReport(t *testing.T, report string, got, want []reportRow, rename func(string) string, active bool) {
	t.Helper()
	vgUUID := !slices.ContainsFunc(want, func(row reportRow) bool { return row["vg_uuid"] == nil })
	find := map[string]reportRow{}
	for _, row := range got {
		id := row.identify(report, vgUUID)
		if find[id] != nil {
			t.Errorf("%s: %s is there twice", report, id)
		}
		find[id] = row
	}
	compared := map[string]bool{}
	for _, row := range want {
		id := row.identify(report, vgUUID)
		if compared[id] {
			continue // lvm repeats an LV for each of its segments
		}
		compared[id] = true
		if find[id] == nil {
			t.Errorf("%s: no row for %s %v", report, id, row["lv_name"])
			continue
		}
		compareRow(t, fmt.Sprint(report, " ", id, " ", row["lv_name"]), find[id], row, rename, active)
	}
	for id, row := range find {
		if !compared[id] {
			t.Errorf("%s: a row for %s %v, which lvm does not list", report, id, row["lv_name"])
		}
	}
}

func compareRow(t *testing.T, what string, got, want reportRow, rename func(string) string, active bool) {
	t.Helper()
	for field, value := range want {
		text := fmt.Sprint(value)
		if notCompared[field] != "" || text == "unknown" || !comparable(field, got, want) {
			continue
		}
		_, wasActive := want["lv_active"]
		if field == "lv_attr" {
			text = inactive(text, fmt.Sprint(got[field]), active && wasActive)
		}
		if !equalValue(got[field], rename(text)) {
			t.Errorf("%s: %s is %v, lvm says %s", what, field, got[field], rename(text))
		}
	}
	for field := range got {
		if _, ok := want[field]; !ok && oursAlone[field] == "" {
			t.Errorf("%s: %s is %v, lvm has none", what, field, got[field])
		}
	}
}

// inactive is lvm's lv_attr without what lvm knows from the kernel. That is characters 5 and 6; where the LV was not
// active, it is also the health of a RAID, and whether a RAID leg is in sync.
func inactive(lvm, ours string, wasActive bool) string {
	attr := []byte(lvm)
	attr[4], attr[5] = '-', '-'
	if !wasActive && len(ours) == len(attr) {
		if attr[0] == 'I' && ours[0] == 'i' {
			attr[0] = 'i'
		}
		if attr[8] == 'X' {
			attr[8] = ours[8]
		}
	}
	return string(attr)
}

// equalValue compares a value of ours, a string or a number of bytes, with lvm's.
func equalValue(ours any, lvm string) bool {
	switch v := ours.(type) {
	case string:
		return v == lvm
	case float64:
		return fmt.Sprintf("%.0f", v) == lvm
	}
	return false
}

// belowLVM are the cases, by how their names begin, whose PVs, or some of them, lie on
// something other than a bare disk, until list looks there.
var belowLVM = map[string]string{
	"part-": "partitions", "sector4k": "partitions", "luks": "LUKS", "md-": "Linux MD", "nested": "LVs",
}

func TestListReportsOfEveryImageWhatLVMDid(t *testing.T) {
	testenv.Long(t)
	for _, c := range testimages.Images(t) {
		t.Run(c.Name, func(t *testing.T) {
			want := reports{}
			for report, file := range map[string]string{"vg": "vgs.json", "pv": "pvs.json", "lv": "lvs.json", "seg": "segs.json"} {
				data, err := os.ReadFile(filepath.Join(c.Dir, file))
				if os.IsNotExist(err) {
					t.Skipf("lvm's reports are not there: %v", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				want[report] = parseReports(t, data)[report]
			}
			for prefix, what := range belowLVM {
				if strings.HasPrefix(c.Name, prefix) {
					t.Skipf("PVs on %s", what)
				}
			}
			got := listJSON(t, c.Unpack(t))
			if c.Name == "meta-exported" {
				// lvs lists no LV of an exported VG, but they can be read.
				checkSize(t, got, "lv", 2)
				got["lv"], got["seg"] = nil, nil
			}
			want["pv"] = slices.DeleteFunc(want["pv"], func(pv reportRow) bool { return pv["pv_uuid"] == nil }) // no PV
			compareReports(t, got, want, true)
			sameOrder(t, "lv", got, want)
			sameOrder(t, "seg", got, want)
		})
	}
}

func TestListWithoutAllShowsWhatLVSShowsWithoutA(t *testing.T) {
	for _, name := range []string{"lvstack", "snapshot-merge-pending", "pvmove-half", "cache-wt", "mirror", "vdo-plain", "thin-external"} {
		t.Run(name, func(t *testing.T) {
			devices := testimages.Load(t, name).Unpack(t)
			all, shown := listJSON(t, devices), runList(t, append([]string{"--json"}, devices...), exitOK)
			for _, report := range []string{"lv", "seg"} {
				var want, got []string
				for _, row := range all[report] {
					if lv := fmt.Sprint(row["lv_name"]); !strings.HasPrefix(lv, "[") {
						want = append(want, lv)
					}
				}
				for _, row := range shown[report] {
					got = append(got, fmt.Sprint(row["lv_name"]))
				}
				if len(want) == len(all[report]) || !slices.Equal(got, want) {
					t.Errorf("%s shows %v, with -a %v", report, got, want)
				}
			}
		})
	}
}

func checkSize(t *testing.T, got reports, report string, want int) {
	t.Helper()
	if n := len(got[report]); n != want {
		t.Errorf("%d rows of %s, want %d", n, report, want)
	}
}

// sameOrder checks that a report has lvm's order. VGs with one name have no order.
func sameOrder(t *testing.T, report string, got, want reports) {
	t.Helper()
	order := func(rows []reportRow) []string {
		var ids []string
		for _, row := range rows {
			ids = append(ids, fmt.Sprint(row["vg_name"], "/", row["lv_name"], " ", row["seg_start_pe"]))
		}
		return slices.Compact(ids)
	}
	names := map[any]bool{}
	for _, vg := range want["vg"] {
		if names[vg["vg_name"]] {
			return
		}
		names[vg["vg_name"]] = true
	}
	if g, w := order(got[report]), order(want[report]); !slices.Equal(g, w) {
		t.Errorf("%s is in the order %v, lvm's is %v", report, g, w)
	}
}

// testdata/reports/README.md says what these are.
func TestListReportsOfUnusualMetadataWhatLVMDoes(t *testing.T) {
	testenv.Long(t)
	archives, err := filepath.Glob(filepath.Join(testenv.Root(), "testdata", "reports", "*.tar.zst"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no reports: %v", err)
	}
	for _, archive := range archives {
		name := strings.TrimSuffix(filepath.Base(archive), ".tar.zst")
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := testimages.Extract(archive, dir); err != nil {
				t.Fatal(err)
			}
			disks, err := filepath.Glob(filepath.Join(dir, "*.img"))
			if err != nil {
				t.Fatal(err)
			}
			for _, disk := range disks {
				if err := os.Truncate(disk, 512<<20); err != nil {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(filepath.Join(dir, "report.json"))
			if err != nil {
				t.Fatal(err)
			}
			data = regexp.MustCompile(`pv\d\.img`).ReplaceAll(data, []byte(dir+"/$0"))
			// The disks hold the VG's metadata and no more, so pools cannot be read.
			want, got := parseReports(t, data), runList(t, append([]string{"--json", "-a"}, disks...), exitOK, exitIncomplete)
			switch name {
			case "vg-exported":
				checkSize(t, got, "lv", 2)
				got["lv"], got["seg"] = nil, nil
			case "unknown":
				// A segment type may be unknown to lvm. Its extents are free to lvm, and not to us.
				for _, row := range slices.Concat(want["vg"], want["pv"][:1], got["vg"], got["pv"][:1]) {
					for _, field := range []string{"vg_free", "vg_free_count", "pv_free", "pv_used", "pv_pe_alloc_count"} {
						delete(row, field)
					}
				}
			}
			compareReports(t, got, want, false)
			sameOrder(t, "lv", got, want)
			sameOrder(t, "seg", got, want)
		})
	}
}
