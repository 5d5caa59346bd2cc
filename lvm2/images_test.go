package lvm2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/mapping"
)

// imageDevice is a disk of an image case.
type imageDevice struct {
	*os.File
	size int64
}

func (d imageDevice) Size() int64  { return d.size }
func (d imageDevice) Name() string { return filepath.Base(d.File.Name()) }

func openImages(t testing.TB, c *testimages.Case) *Scan {
	t.Helper()
	return Open(imageDevices(t, c), Options{})
}

func imageDevices(t testing.TB, c *testimages.Case) []Device {
	t.Helper()
	var devices []Device
	for _, path := range c.Unpack(t) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, imageDevice{f, info.Size()})
	}
	return devices
}

// find is the LV at a path of the mounted tree; nil if there is none.
func (s *Scan) find(path string) *LV {
	for _, vg := range s.VGs {
		for _, lv := range vg.LVs {
			if filepath.Join(vg.DirName(), lv.FileName()) == path {
				return lv
			}
		}
	}
	return nil
}

// image is a case with what Open found on its disks.
type image struct {
	*testimages.Case
	*Scan
	// whole: no PV lies in a partition, an array, a container or an LV, where it is for
	// others to find it.
	whole bool
}

func TestEveryImage(t *testing.T) {
	for _, c := range testimages.All(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := openImages(t, c)
			im := image{c, s, c.Name != "nested" && !slices.ContainsFunc(s.Rejected, func(r Rejected) bool {
				return errors.Is(r.Err, ErrNoPV) || errors.Is(r.Err, ErrComponent)
			})}
			t.Run("every LV is read as the kernel read it", im.checkLVs)
			t.Run("the model agrees with lvm's reports", im.checkReports)
		})
	}
}

func (im image) checkLVs(t *testing.T) {
	for i := range im.LVs {
		want := &im.LVs[i]
		lv := im.find(want.Path())
		switch {
		case lv == nil && !im.whole:
			t.Logf("%s is on PVs that lie in something else", want.Path())
		case lv == nil:
			t.Errorf("there is no %s", want.Path())
		case lv.Health() == "partial" && want.Expect == testimages.OK && !im.whole:
			t.Logf("%s is partly on PVs that lie in something else", want.Path())
		case im.Supported():
			checkLV(t, lv, want)
		default:
			checkRefused(t, lv, want)
		}
	}
}

// checkRefused holds that an LV that may be refused is not read wrong.
func checkRefused(t *testing.T, lv *LV, want *testimages.LV) {
	t.Helper()
	v, err := lv.Open()
	if err == nil {
		defer v.Close()
		err = want.Verify(v, v.Size())
	}
	if errors.Is(err, testimages.ErrWrong) {
		t.Error(err)
	}
	t.Logf("%s: %v", want.Path(), err)
}

// checkLV opens the LV and compares it with what the kernel read.
func checkLV(t *testing.T, lv *LV, want *testimages.LV) {
	t.Helper()
	v, err := lv.Open()
	switch {
	case want.Expect == testimages.Pool:
		if !errors.Is(err, ErrNoContents) {
			t.Errorf("%s: got %v, want ErrNoContents", want.Path(), err)
		}
		return
	case want.Expect == testimages.Absent:
		// Without a PV, lvm2 does not activate LVs of some kinds at all. We read what is there.
		if err == nil && !lv.Partial() {
			t.Errorf("%s: opened, although the kernel has no such device", want.Path())
		}
		return
	case want.Expect == testimages.Error && err != nil:
		return
	case err != nil:
		t.Errorf("%s: %v", want.Path(), err)
		return
	}
	defer v.Close()
	if err := want.Verify(v, v.Size()); err != nil {
		t.Error(err)
	}
	for _, bad := range want.Bad {
		for _, off := range []int64{bad[0], bad[0] + bad[1] - 512} {
			if _, err := v.ReadAt(make([]byte, 512), off); !errors.Is(err, ErrMissing) {
				t.Errorf("%s at %d: got %v, want ErrMissing", want.Path(), off, err)
			}
		}
	}
	checkMap(t, want, v)
}

// checkMap holds that the bytes which ReadAt gives are where Map says.
func checkMap(t *testing.T, want *testimages.LV, v *Volume) {
	t.Helper()
	var end int64
	err := mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
		if off != end {
			return fmt.Errorf("an extent starts at %d, the one before it ends at %d", off, end)
		}
		end = off + e.Length
		return sameBytes(v, off, e)
	})
	if err == nil && end != v.Size() {
		err = fmt.Errorf("the extents end at %d of %d", end, v.Size())
	}
	if err != nil {
		t.Errorf("%s: map: %v", want.Path(), err)
	}
}

func sameBytes(v *Volume, off int64, e mapping.Extent) error {
	most := min(e.Length, 1<<20)
	got, want := make([]byte, most), make([]byte, most)
	for at := int64(0); at < e.Length; at += int64(len(got)) {
		n := min(int64(len(got)), e.Length-at)
		_, err := v.ReadAt(got[:n], off+at)
		switch e.Kind {
		case mapping.Missing:
			if !errors.Is(err, ErrMissing) || !errors.Is(e.Err, ErrMissing) {
				return fmt.Errorf("missing at %d: read %w, mapped %w", off+at, err, e.Err)
			}
			continue
		case mapping.Data:
			if _, err := e.Device.ReadAt(want[:n], e.Offset+at); err != nil {
				return fmt.Errorf("byte %d of %s: %w", e.Offset+at, e.Device.Name(), err)
			}
		case mapping.Zero:
			clear(want[:n])
		case mapping.Computed:
			copy(want[:n], got[:n])
		}
		if err != nil {
			return fmt.Errorf("%v at %d: %w", e.Kind, off+at, err)
		}
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("%v at %d has other bytes than it reads as", e.Kind, off+at)
		}
	}
	return nil
}

func TestWhatOpenSaysOfTheImagesAboutMetadata(t *testing.T) {
	testenv.Long(t)
	type expectation struct {
		vgs      []string // directory and seqno of each
		orphans  int
		rejected []error  // in order of the devices
		warnings []string // parts of them, in any order
		check    func(t *testing.T, s *Scan)
	}
	for name, want := range map[string]expectation{
		"banana":           {vgs: []string{"banana seqno 4"}},
		"linear-one":       {vgs: []string{"banana seqno 4"}},
		"meta-wrap":        {vgs: []string{"vg_wrap seqno 22"}},
		"meta-labelsector": {vgs: []string{"vg_meta_labelsector seqno 4"}},
		"vg2000":           {vgs: []string{"vg_2000 seqno 3"}},
		"errzero":          {vgs: []string{"vg_errzero seqno 7"}},
		"two-vgs":          {vgs: []string{"vg_first seqno 3", "vg_second seqno 3"}},
		"same-name":        {vgs: []string{"vg_twin@i5Kg3H seqno 3", "vg_twin@wszaL9 seqno 3"}},
		"meta-bootarea": {vgs: []string{"vg_meta_bootarea seqno 3"}, check: func(t *testing.T, s *Scan) {
			if pv := s.VGs[0].PVs[0]; pv.BootAreaStart != 1<<20 || pv.BootAreaSize != 1<<20 || pv.DataStart != 2<<20 {
				t.Errorf("%+v", pv)
			}
		}},
		"meta-copies0": {vgs: []string{"vg_meta_copies0 seqno 6"}, check: func(t *testing.T, s *Scan) {
			for i, want := range []int{0, 1} {
				if pv := s.VGs[0].PVs[i]; len(pv.MetadataAreas) != want || !pv.InUse || pv.Device == nil {
					t.Errorf("PV %d: %+v", i, pv)
				}
			}
		}},
		"meta-copies2": {vgs: []string{"vg_meta_copies2 seqno 3"}, check: func(t *testing.T, s *Scan) {
			want := []MetadataArea{
				{Offset: 4096, Size: 2093056, Seqno: 3, TextSize: 1353},
				{Offset: 24117248, Size: 1048576, Seqno: 3, TextSize: 1353},
			}
			if diff := cmp.Diff(want, s.VGs[0].PVs[0].MetadataAreas); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		}},
		"meta-corrupt": {
			vgs: []string{"vg_corrupt seqno 4"},
			warnings: []string{
				"pv0.img: metadata text at byte 8704: checksum mismatch",
				"pv1.img: metadata area at byte 4096: checksum mismatch",
			},
			check: func(t *testing.T, s *Scan) {
				for _, pv := range s.VGs[0].PVs {
					if a := pv.MetadataAreas; !errors.Is(a[0].Err, ErrChecksum) || a[0].Seqno != 0 || a[1].Err != nil || a[1].Seqno != 4 {
						t.Errorf("%s: %+v", pv, a)
					}
				}
			},
		},
		"meta-exported": {vgs: []string{"vg_exported seqno 4"}, check: func(t *testing.T, s *Scan) {
			if !s.VGs[0].Exported() {
				t.Error("not exported")
			}
			for _, lv := range s.VGs[0].LVs {
				if !errors.Is(lv.ReadOnlyReason(), ErrReadOnly) {
					t.Errorf("%s can be written", lv.Name)
				}
			}
		}},
		"meta-systemid": {vgs: []string{"vg_foreign seqno 3"}, check: func(t *testing.T, s *Scan) {
			if s.VGs[0].SystemID == "" {
				t.Error("no system ID")
			}
			for _, lv := range s.VGs[0].LVs {
				if !errors.Is(lv.ReadOnlyReason(), ErrReadOnly) {
					t.Errorf("%s can be written", lv.Name)
				}
			}
		}},
		"meta-orphan": {vgs: []string{"vg_meta_orphan seqno 3"}, orphans: 1, check: func(t *testing.T, s *Scan) {
			if pv := s.Orphans[0]; pv.UUID.String() != "yeuIe6-CaZN-Hw7P-s7je-mUhP-Q2hE-NPV9LG" || pv.InUse || pv.VG != nil || pv.DataStart != 1<<20 {
				t.Errorf("%+v", pv)
			}
		}},
		"dup-pv": {vgs: []string{"vg_dup seqno 3"}, rejected: []error{ErrDuplicate}, check: func(t *testing.T, s *Scan) {
			for _, lv := range s.VGs[0].LVs {
				if !errors.Is(lv.ReadOnlyReason(), ErrReadOnly) {
					t.Errorf("%s can be written", lv.Name)
				}
			}
		}},
		"outdated-pv": {vgs: []string{"vg_outdated seqno 9"}, rejected: []error{ErrOutdated}},
		"linear-missing": {
			vgs:      []string{"vg_missing seqno 8"},
			warnings: []string{"is missing"},
			check: func(t *testing.T, s *Scan) {
				if !s.VGs[0].Partial() {
					t.Error("not partial")
				}
				for name, health := range map[string]string{"whole": "", "part": "partial", "gone": "partial", "stripes": "partial"} {
					if got := s.VGs[0].LV(name).Health(); got != health {
						t.Errorf("health of %s is %q, want %q", name, got, health)
					}
				}
			},
		},
		"md-raid1-0.90": {rejected: []error{ErrComponent, ErrComponent}},
		"md-raid1-1.0":  {rejected: []error{ErrComponent, ErrComponent}},
		"md-raid1-1.1":  {rejected: []error{ErrComponent, ErrComponent}},
		"md-raid1-1.2":  {rejected: []error{ErrComponent, ErrComponent}},
		"luks1":         {rejected: []error{ErrComponent}},
		"luks2":         {rejected: []error{ErrComponent}},
		"part-gpt":      {rejected: []error{ErrNoPV}},
		"part-mbr":      {rejected: []error{ErrNoPV}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openImages(t, testimages.Load(t, name))
			var vgs []string
			for _, vg := range s.VGs {
				vgs = append(vgs, fmt.Sprintf("%s seqno %d", vg.DirName(), vg.Seqno))
			}
			if diff := cmp.Diff(want.vgs, vgs); diff != "" {
				t.Errorf("VGs (-want +got)\n%s", diff)
			}
			if len(s.Orphans) != want.orphans {
				t.Errorf("orphans: %v", s.Orphans)
			}
			if len(s.Rejected) != len(want.rejected) {
				t.Errorf("rejected: %v", s.Rejected)
			}
			for i := range min(len(s.Rejected), len(want.rejected)) {
				if !errors.Is(s.Rejected[i].Err, want.rejected[i]) {
					t.Errorf("rejected: %v, want %v", s.Rejected[i].Err, want.rejected[i])
				}
			}
			if len(s.Warnings) != len(want.warnings) {
				t.Errorf("warnings: %v", s.Warnings)
			}
			for _, part := range want.warnings {
				if !warned(s, part) {
					t.Errorf("no warning with %q: %v", part, s.Warnings)
				}
			}
			if !t.Failed() && want.check != nil {
				want.check(t, s)
			}
		})
	}
}

// report reads what lvs, pvs or vgs printed, from the file of that name beside expect.json.
func report(t *testing.T, c *testimages.Case, name string) []map[string]string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(c.Dir, name+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Report []map[string][]map[string]string
	}
	if err := json.Unmarshal(src, &all); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, r := range all.Report {
		for _, rs := range r {
			rows = append(rows, rs...)
		}
	}
	return rows
}

// compare fails the test where a column of lvm's report is not the value.
func compare(t *testing.T, what string, row map[string]string, columns map[string]any) {
	t.Helper()
	for column, value := range columns {
		if got, want := fmt.Sprint(value), row[column]; got != want {
			t.Errorf("%s: %s is %s, lvm says %s", what, column, got, want)
		}
	}
}

func (im image) checkReports(t *testing.T) {
	if im.Name == "thin-merge-pending" {
		t.Skip("lvm2 had finished the merge before it reported")
	}
	for _, vg := range im.VGs {
		for _, row := range report(t, im.Case, "vgs") {
			if row["vg_uuid"] == vg.UUID.String() && im.whole {
				compareVG(t, vg, row)
			}
		}
		for _, row := range report(t, im.Case, "pvs") {
			for _, pv := range vg.PVs {
				if row["pv_uuid"] == pv.UUID.String() && row["pv_duplicate"] == "" && pv.Device != nil {
					comparePV(t, pv, row)
				}
			}
		}
		for _, row := range report(t, im.Case, "lvs") {
			for _, lv := range vg.LVs {
				if row["lv_uuid"] == lv.UUID.String() {
					compareLV(t, lv, row)
				}
			}
		}
	}
}

// sorted is tags as lvm prints them.
func sorted(tags []string) string { return strings.Join(slices.Sorted(slices.Values(tags)), ",") }

func compareVG(t *testing.T, vg *VG, row map[string]string) {
	missing := 0
	for _, pv := range vg.PVs {
		if pv.Device == nil || pv.FlaggedMissing() {
			missing++
		}
	}
	compare(t, "VG "+vg.Name, row, map[string]any{
		"vg_name":             vg.Name,
		"vg_seqno":            vg.Seqno,
		"vg_extent_size":      vg.ExtentSize,
		"vg_extent_count":     vg.ExtentCount(),
		"vg_free_count":       vg.FreeExtentCount(),
		"max_lv":              vg.MaxLV,
		"max_pv":              vg.MaxPV,
		"pv_count":            len(vg.PVs),
		"vg_missing_pv_count": missing,
		"vg_systemid":         vg.SystemID,
		"vg_tags":             sorted(vg.Tags),
	})
}

func comparePV(t *testing.T, pv *PV, row map[string]string) {
	good, inUse := 0, 0 // lvm does not count damaged ones
	for _, a := range pv.MetadataAreas {
		if a.Err == nil {
			good++
		}
		if a.Err == nil && !a.Ignored {
			inUse++
		}
	}
	compare(t, "PV "+pv.UUID.String(), row, map[string]any{
		"vg_name":           pv.VG.Name,
		"dev_size":          pv.Device.Size(),
		"pe_start":          pv.DataStart,
		"pv_pe_count":       pv.ExtentCount,
		"pv_pe_alloc_count": pv.AllocatedExtentCount(),
		"pv_ext_vsn":        pv.HeaderVersion,
		"pv_mda_count":      good,
		"pv_mda_used_count": inUse,
		"pv_ba_start":       pv.BootAreaStart,
		"pv_ba_size":        pv.BootAreaSize,
		"pv_tags":           sorted(pv.Tags),
	})
}

func compareLV(t *testing.T, lv *LV, row map[string]string) {
	name := lv.Name
	if !lv.Listed() {
		name = "[" + name + "]"
	}
	compare(t, "LV "+lv.Name, row, map[string]any{
		"lv_name":   name,
		"lv_size":   lv.Size(),
		"seg_count": len(lv.Segments),
		"lv_tags":   sorted(lv.Tags),
		"lv_host":   lv.CreationHost,
		"lv_major":  lv.Major,
		"lv_minor":  lv.Minor,
	})
}

func BenchmarkOpenVGWith2000LVs(b *testing.B) {
	c := testimages.Load(b, "vg2000")
	var devices []Device
	for _, path := range c.Unpack(b) {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		devices = append(devices, imageDevice{f, c.Disks[0].Size})
	}
	for b.Loop() {
		if s := Open(devices, Options{}); len(s.VGs) != 1 || len(s.VGs[0].LVs) != 2000 {
			b.Fatal("not all LVs")
		}
	}
}
