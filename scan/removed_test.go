package scan_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/scan"
)

// ring has the last of texts as the current one of the disk, and the others behind it.
func ring(texts ...string) *testpv.Disk {
	last := texts[len(texts)-1]
	d := testpv.New("sda", testpv.UUID("sda"), 2<<20, last)
	for i := range d.Bytes[testpv.DataStart:] {
		d.Bytes[testpv.DataStart+i] = byte(i / 512)
	}
	at := 4096 + 512 + (len(last)/512+1)*512
	for _, t := range texts[:len(texts)-1] {
		copy(d.Bytes[at:], t)
		at += (len(t)/512 + 1) * 512
	}
	return d
}

func ringText(seqno int, lvs ...testpv.LV) string {
	text := (&testpv.VG{Name: "vg", Seqno: seqno, PVs: []string{"sda"}, LVs: lvs}).Text()
	return strings.Replace(text, "creation_time = 1", fmt.Sprintf("creation_time = %d", 1000*seqno), 1)
}

func onSDA(name string, extents, at int) testpv.LV {
	return testpv.LV{Name: name, Segments: []string{testpv.Linear(0, extents, "pv0", at)}}
}

// names are what removed LVs are called, and how each extent can be read: "." for right, "x" for not at all.
func names(t *testing.T, d *testpv.Disk, at int, removed []lvm2.Removed) (list string) {
	t.Helper()
	for _, r := range removed {
		list += r.LV.VG.DirName() + "/" + r.Name() + " "
		v, err := r.LV.Open()
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < v.Size(); off += testpv.ExtentSize {
			got := make([]byte, testpv.ExtentSize)
			_, err := v.ReadAt(got, off)
			want := d.Contents()[testpv.DataStart+int64(at)*testpv.ExtentSize+off:][:len(got)]
			switch {
			case errors.Is(err, lvm2.ErrMissing):
				list += "x"
			case err != nil && err != io.EOF || !bytes.Equal(got, want):
				t.Fatalf("%s at %d: %v, or other bytes", r.Name(), off, err)
			default:
				list += "."
			}
		}
		list += ";"
		if reason := r.LV.ReadOnlyReason(); reason == nil {
			t.Errorf("%s can be written", r.Name())
		}
	}
	return list
}

func TestRemovedLVsAreThoseOfTheLastTextThatHasThemWithoutWhatWasReused(t *testing.T) {
	keep, gone := onSDA("keep", 2, 0), onSDA("gone", 3, 2)
	for what, c := range map[string]struct {
		texts []string
		want  string
	}{
		"removed":           {[]string{ringText(1, keep, gone), ringText(2, keep)}, "vg/gone@1 ...;"},
		"reused":            {[]string{ringText(1, keep, gone), ringText(2, keep), ringText(3, keep, onSDA("new", 1, 3))}, "vg/gone@1 .x.;"},
		"reused and freed":  {[]string{ringText(1, keep, gone), ringText(2, keep), ringText(3, keep, onSDA("new", 1, 3)), ringText(4, keep, onSDA("new", 1, 9))}, "vg/gone@1 .x.;"},
		"made smaller":      {[]string{ringText(1, keep, gone), ringText(2, keep, onSDA("gone", 1, 2))}, "vg/gone@1 ...;"},
		"nothing":           {[]string{ringText(1, keep), ringText(2, keep, gone)}, ""},
		"all of them":       {[]string{ringText(1, gone), ringText(2)}, "vg/gone@1 ...;"},
		"a text is missing": {[]string{ringText(1, keep, gone), ringText(4, keep)}, "vg/gone@1 xxx;"},
	} {
		t.Run(what, func(t *testing.T) {
			d := ring(c.texts...)
			r := open(t, scan.Options{Removed: true}, d)
			if got := names(t, d, 2, r.Removed); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if r := open(t, scan.Options{}, d); r.Removed != nil {
				t.Error("they are there without being asked for")
			}
		})
	}
}

func TestAVGOfWhichNothingIsLeftHasItsRemovedLVs(t *testing.T) {
	gone := onSDA("gone", 3, 2)
	d := ring(ringText(1, gone), "")
	other := testpv.VG{Name: "other", Seqno: 1, PVs: []string{"sdb"}, LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}}
	e := testpv.New("sdb", testpv.UUID("sdb"), 2<<20, strings.Replace(other.Text(), "other {", "vg {", 1))
	if got, want := names(t, d, 2, open(t, scan.Options{Removed: true}, d).Removed), "vg/gone@1 ...;"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// What is there keeps its name.
	for _, disks := range [][]*testpv.Disk{{d, e}, {e, d}} {
		r := open(t, scan.Options{Removed: true}, disks...)
		if want := "vg@" + r.Removed[0].LV.VG.UUID.String() + "/gone@1 ...;"; r.VGs[0].DirName() != "vg" || names(t, d, 2, r.Removed) != want {
			t.Errorf("%s and %q, want vg and %q", r.VGs[0].DirName(), names(t, d, 2, r.Removed), want)
		}
	}
}

func TestAReloadFindsWhatHasBeenReusedSince(t *testing.T) {
	keep, gone := onSDA("keep", 2, 0), onSDA("gone", 3, 2)
	d := ring(ringText(1, keep, gone), ringText(2, keep))
	s, err := scan.Open(t.Context(), nil, scan.Options{Removed: true, Devices: []mapping.Device{d}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := s.Result().Removed[0].LV
	copy(d.Bytes[4096:testpv.DataStart], ring(ringText(1, keep, gone), ringText(2, keep), ringText(3, keep, onSDA("new", 1, 3))).Bytes[4096:])
	r, err := s.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, d, 2, r.Removed), "vg/gone@1 .x.;"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if r.Removed[0].LV.InPlacesOf(before) {
		t.Error("nothing says that it is otherwise now, so that open files stay as they were")
	}
}
