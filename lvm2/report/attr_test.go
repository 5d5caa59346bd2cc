package report

import (
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// unusual opens an archive of testdata/reports, whose README says what they hold.
func unusual(t *testing.T, archive string) *lvm2.VG {
	t.Helper()
	dir := t.TempDir()
	if err := testimages.Extract(filepath.Join(testenv.Root(), "testdata", "reports", archive+".tar.zst"), dir); err != nil {
		t.Fatal(err)
	}
	heads, err := filepath.Glob(filepath.Join(dir, "*.img"))
	if err != nil {
		t.Fatal(err)
	}
	var devices []lvm2.Device
	for _, name := range heads {
		head, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, &testpv.PatternDisk{Label: filepath.Base(name), Head: head, Bytes: 512 << 20})
	}
	s := lvm2.Open(devices, lvm2.Options{})
	if len(s.VGs) != 1 {
		t.Fatalf("no VG: %v %v", s.Rejected, s.Warnings)
	}
	return s.VGs[0]
}

// The expected strings are lvm2's, but for characters 5 and 6; see also the tests of list.
func TestAttrTellsWhatAnLVIs(t *testing.T) {
	testenv.Long(t)
	vgs := map[string]*lvm2.VG{}
	for _, test := range []struct{ archive, lv, attr, what string }{
		{"plain", "tagged", "-wi-------", "an ordinary LV"},
		{"plain", "ro", "-ri-------", "read-only"},
		{"plain", "wlocked", "-wi-------", "writable, but not for older releases"},
		{"plain", "fixed", "-wim------", "fixed minor number"},
		{"plain", "skip", "-wi------k", "skipped on activation"},
		{"plain", "p_contiguous", "-wc-------", "contiguous allocation"},
		{"plain", "p_cling_by_tags", "-wl-------", "cling allocation"},
		{"plain", "locked", "-wN-------", "allocation locked"},
		{"plain", "mixed", "vwi---v---", "partly of type zero and error"},
		{"unknown", "frob", "vwi---u---", "a segment type of no release"},
		{"unknown", "strflag", "vwi---u---", "a flag of no release"},
		{"snapshots", "org", "owi---s---", "an origin"},
		{"snapshots", "sn", "swi---s---", "a snapshot"},
		{"snapshots", "snro", "sri---s---", "a read-only snapshot"},
		{"snapshots", "morg", "Owi---s---", "an origin that is merged into"},
		{"snapshots", "msn", "Swi---s---", "a snapshot that is merged"},
		{"snapshots", "vs_vorigin", "owi---s---", "the virtual origin of a sparse snapshot"},
		{"snapshots", "rorg", "Owi---r---", "a RAID that is merged into"},
		{"kin", "rcow", "rwi---r---", "a RAID that holds exceptions"},
		{"thin", "th1", "Vwi---tz--", "a thin LV"},
		{"thin", "nz", "Vwi---t---", "a thin LV in a pool that does not zero"},
		{"thin", "pool", "twi---tz--", "a thin pool"},
		{"thin", "pool_tdata", "Twi-------", "the data of a thin pool"},
		{"thin", "pool_tmeta", "ewi-------", "the metadata of a thin pool"},
		{"thin", "lvol0_pmspare", "ewi-------", "the spare for pool metadata"},
		{"thin", "ext", "ori-------", "an external origin"},
		{"thin", "tord", "ori---tz--", "a thin LV that is an external origin"},
		{"thin", "mrg", "Swi---tz--", "a thin snapshot that is to be merged"},
		{"thin", "morg", "Owi---tz--", "a thin LV that is merged into"},
		{"thin", "thickorg", "owi---tz--", "a thin LV with a COW snapshot"},
		{"thin-raid", "rp_tdata", "rwi---r---", "RAID as the data of a pool"},
		{"raid", "r1ns", "Rwi---r---", "a RAID that was never synced"},
		{"raid", "r1wm_rimage_1", "iwi---r-w-", "a write-mostly leg"},
		{"raid", "r1_rmeta_0", "ewi---r---", "superblock and bitmap of a leg"},
		{"raid-more", "r1err", "rwi---r-r-", "a RAID with a leg of errors"},
		{"raid-more", "r1err_rimage_1", "vwi---r-r-", "a leg of errors"},
		{"raid-more", "integ_rimage_0", "gwi---r---", "a leg with integrity"},
		{"raid-more", "integ_rimage_0_iorig", "iwi-------", "what integrity protects"},
		{"raid-more", "integ_rimage_0_imeta", "ewi-------", "the checksums of integrity"},
		{"raid-more", "mirns", "Mwi---m---", "a mirror that was never synced"},
		{"raid-more", "mir_mlog", "lwi---m---", "the log of a mirror"},
		{"pvmove", "pvmove0", "p-C---m---", "a pvmove"},
		{"pvmove", "pm", "-wI-------", "an LV that is moved"},
		{"cache", "cp", "owi---C---", "a cached LV with a COW snapshot"},
		{"cache", "cv", "Cwi---C---", "an LV cached by a cachevol"},
		{"cache", "cv_cvol", "Cwi---C---", "a cachevol"},
		{"cache", "rcv_cvol", "Cwi---C---", "a cachevol of type RAID"},
		{"cache", "cv_corig", "owi---C---", "what a cache lies over"},
		{"cache", "rcv_corig", "rwi---C---", "a RAID that a cache lies over"},
		{"cache", "cp_cpool_cdata", "Cwi-------", "the data of a cache pool"},
		{"cache", "wc", "Cwi---C---", "a writecache"},
		{"vdo", "vp", "dwi-------", "a VDO pool"},
		{"vdo", "vp_vdata", "Dwi-------", "the data of a VDO pool"},
		{"missing", "half", "-wi-----p-", "partly on a missing PV"},
		{"missing", "th", "Vwi---tzp-", "in a pool that is partly on a missing PV"},
		{"missing", "so", "owi---s-p-", "an origin whose exceptions are on a missing PV"},
		{"missing", "sc2", "swi---s---", "exceptions whose origin is on a missing PV"},
		{"missing", "r1_rimage_1", "Iwi---r-p-", "a leg on a missing PV"},
		{"missing", "c_corig", "owi---C---", "whole, though its cache is not"},
		{"flagged", "gone", "-wi-----p-", "on a PV that was away while the VG was changed"},
		{"flagged", "r1_rimage_1", "iwi---r-p-", "a leg on such a PV"},
	} {
		vg := vgs[test.archive]
		if vg == nil {
			vg = unusual(t, test.archive)
			vgs[test.archive] = vg
		}
		if got := LVAttr(vg.LV(test.lv)); got != test.attr {
			t.Errorf("%s (%s): %s, want %s", test.what, test.lv, got, test.attr)
		}
	}
}

func TestAttrTellsWhatAVGIs(t *testing.T) {
	for archive, want := range map[string]string{
		"plain":          "wz--l-",
		"missing":        "wz-pn-",
		"flagged":        "wz-pn-",
		"vg-readonly":    "rz--n-",
		"vg-writelocked": "wz--n-",
		"vg-fixed":       "w---a-",
		"vg-exported":    "wzx-n-",
		"vg-pvs":         "wz--c-",
		"vg-shared":      "wz--ns",
		"vg-locknone":    "wz--n-",
	} {
		if got := VGAttr(unusual(t, archive)); got != want {
			t.Errorf("%s: %s, want %s", archive, got, want)
		}
	}
}

func TestAttrTellsWhatAPVIs(t *testing.T) {
	for archive, want := range map[string]string{
		"plain":       "a-- a-- a--",
		"missing":     "a-- a-m a--",
		"flagged":     "a-- a-m a--",
		"vg-pvs":      "u-- a-- a--",
		"vg-exported": "ax- ux- ax-",
	} {
		var attrs []string
		for _, pv := range unusual(t, archive).PVs {
			attrs = append(attrs, PVAttr(pv))
		}
		if got := strings.Join(attrs, " "); got != want {
			t.Errorf("%s: %s, want %s", archive, got, want)
		}
	}
}

func TestAncestryGoesThroughLVsThatAreGone(t *testing.T) {
	names := func(lvs iter.Seq[*metadata.LV]) string {
		var names []string
		for lv := range lvs {
			names = append(names, lv.Name)
		}
		return strings.Join(names, " ")
	}
	vg := unusual(t, "thin")
	for _, test := range []struct{ got, want, what string }{
		{names(vg.LV("nohist2s").Ancestors(false)), "nohist2", "ancestors that are there"},
		{names(vg.LV("nohist2s").Ancestors(true)), "nohist2 th1", "ancestors through removed ones"},
		{names(vg.LV("th1").Descendants(false)), "s1 s1s s2", "descendants that are there"},
		{names(vg.LV("th1").Descendants(true)), "s1 s1s s2 nohist nohist2 nohist2s", "descendants through removed ones"},
		{names(vg.LV("orphaned").Ancestors(true)), "", "an LV whose ancestors are all gone"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", test.what, test.got, test.want)
		}
	}
}
