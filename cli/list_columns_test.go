package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/report"
)

// twoVGs are va with a and b, and vb with a.
func twoVGs() []lvm2.Device {
	var devices []lvm2.Device
	for _, vg := range []testpv.VG{
		{Name: "va", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
			{Name: "a", Segments: []string{testpv.Linear(0, 3, "pv0", 0), testpv.Linear(3, 1, "pv0", 9)}},
			{Name: "b", Segments: []string{testpv.Linear(0, 1, "pv0", 5)}},
		}},
		{Name: "vb", Seqno: 1, PVs: []string{"sdb"}, LVs: []testpv.LV{{Name: "a", Segments: []string{testpv.Linear(0, 2, "pv0", 0)}}}},
	} {
		for _, d := range vg.Disks() {
			devices = append(devices, d)
		}
	}
	return devices
}

func columnsOf(t *testing.T, headings bool, vgs, lvs []string, values ...string) (string, error) {
	t.Helper()
	chosen, err := parseColumns(values)
	if err != nil {
		return "", err
	}
	scan := inMemory(t, twoVGs()...)
	l := newListing(scan, false)
	if err := l.only(vgs, lvs); err != nil {
		return "", err
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	err = l.writeColumns(w, chosen, headings)
	w.Flush()
	return out.String(), err
}

func TestColumnsAreOfLVsUnlessOthersAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		what     string
		headings bool
		vgs, lvs []string
		values   []string
		want     string
	}{
		{"LVs", true, nil, nil, []string{"lv_full_name,lv_size"}, "  lv_full_name  lv_size\n  va/a            16384\n  va/b             4096\n  vb/a             8192\n"},
		{"no headings", false, nil, nil, []string{"lv_name"}, "  a\n  b\n  a\n"},
		{"fields of the VG", false, []string{"va"}, nil, []string{"lv_name", "pv_count"}, "  a  1\n  b  1\n"},
		{"more than the usual ones", false, nil, []string{"vb/a"}, []string{"+seg_count"}, "  a  vb  -wi-------  8192  1\n"},
		{"a column of segments", false, nil, []string{"va/a"}, []string{"lv_name,seg_size"}, "  a  12288\n  a   4096\n"},
		{"VGs", false, nil, nil, []string{"vg_name"}, "  va\n  vb\n"},
		{"PVs", false, nil, nil, []string{"pv_name,vg_name,vg_seqno"}, "  sda  va  1\n  sdb  vb  1\n"},
		{"a field that is empty", false, nil, []string{"va/b"}, []string{"lv_name,origin,segtype"}, "  b    linear\n"},
	} {
		got, err := columnsOf(t, c.headings, c.vgs, c.lvs, c.values...)
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%q, not\n%q", c.what, err, got, c.want)
		}
	}
}

func TestWhatIsNotThereCannotBeListed(t *testing.T) {
	for _, c := range []struct {
		what     string
		vgs, lvs []string
		values   string
		want     string
	}{
		{"an unknown column", nil, nil, "lv_name,frob", "lv_full_name"},
		{"no column", nil, nil, "", "no such column"},
		{"columns of PVs and LVs", nil, nil, "lv_name,pv_free", "do not fit"},
		{"an unknown VG", []string{"vc"}, nil, "lv_name", `no VG "vc"`},
		{"an unknown LV", nil, []string{"va/c"}, "lv_name", `no LV "c"`},
	} {
		if _, err := columnsOf(t, true, c.vgs, c.lvs, c.values); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestTablesFitTheTerminal(t *testing.T) {
	var table table
	table.header("LV", "Size", "Devices", "Notes")
	table.row("root", size(5<<20), "root_rimage_0(0),root_rimage_1(0),root_rimage_2(0),root_rimage_3(0)", "degraded, partial; read-only: /dev/sdc is missing")
	table.row("home", size(1<<10), "sda(0)", "")
	for _, width := range []int{60, 80, 100, 0} {
		var out bytes.Buffer
		if err := table.write(&out, layout{headings: true, width: width}); err != nil {
			t.Fatal(err)
		}
		longest := 0
		for line := range strings.Lines(out.String()) {
			longest = max(longest, utf8.RuneCountInString(strings.TrimRight(line, "\n")))
		}
		if width > 0 && longest > width {
			t.Errorf("at %d:\n%s", width, out.String())
		}
		words := strings.Fields(out.String())
		for _, want := range []string{"root", "missing", "sda(0)"} {
			if !slices.Contains(words, want) {
				t.Errorf("at %d there is no %s:\n%s", width, want, out.String())
			}
		}
		if width == 0 && strings.Count(out.String(), "\n") != 3 {
			t.Errorf("lines are broken for a file:\n%s", out.String())
		}
	}
}

const schemaFile = "docs/list.schema.json"

// schema is the JSON schema of list --json, as report.All has its fields.
func schema() []byte {
	type object map[string]any
	fields := object{}
	for _, r := range report.All {
		properties := object{}
		for _, c := range r.Columns {
			if c.Size {
				properties[c.Name] = object{"type": "integer"}
			} else {
				properties[c.Name] = object{"type": "string", "minLength": 1}
			}
		}
		fields[r.Name] = object{"type": "array", "items": object{"type": "object", "properties": properties, "additionalProperties": false}}
	}
	text, err := json.MarshalIndent(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "lvm2fs list --json",
		"description": "The reports of vgs, pvs, lvs and lvs --segments by lvm's field names, all VGs in one report. Sizes are integers, in bytes. All else, " +
			"counts and percentages too, is text as lvm prints it. A field that is empty is left out, and so is one that depends on activation.",
		"type": "object",
		"properties": object{"report": object{
			"type": "array", "minItems": 1, "maxItems": 1,
			"items": object{"type": "object", "properties": fields, "required": []string{"vg", "pv", "lv", "seg"}, "additionalProperties": false},
		}},
		"required": []string{"report"}, "additionalProperties": false,
	}, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}

// With LVM2FS_UPDATE=1 the file is written anew.
func TestTheSchemaNamesTheFieldsThatListKnows(t *testing.T) {
	path := filepath.Join(testenv.Root(), schemaFile)
	if os.Getenv("LVM2FS_UPDATE") == "1" {
		if err := os.WriteFile(path, schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(text, schema()) {
		t.Errorf("%s is not what list knows (LVM2FS_UPDATE=1 writes it): %v", schemaFile, err)
	}
}
