package vdisk

import (
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2"
)

func TestTheSameDiskInEveryFormat(t *testing.T) {
	c := testimages.Load(t, "formats")
	dir := t.TempDir()
	raw, err := os.ReadFile(c.UnpackTo(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Alternates) < 10 {
		t.Fatal(c.Alternates)
	}
	for _, name := range c.Alternates {
		t.Run(name, func(t *testing.T) {
			w := workshop{t, dir}
			m := w.open(name)
			t.Log(m.Name(), m.Size())
			if m.Size() < int64(len(raw)) {
				t.Fatal("too short")
			}
			// VHD sizes are those of a geometry: there may be more than was put in.
			want := append(append([]byte{}, raw...), make([]byte, m.Size()-int64(len(raw)))...)
			checkImage(t, m, want)
			scan := lvm2.Open([]lvm2.Device{m}, lvm2.Options{})
			if len(scan.VGs) != 1 {
				t.Fatal(scan.Rejected)
			}
			for i := range c.LVs {
				for _, lv := range scan.VGs[0].LVs {
					if lv.Name != c.LVs[i].LV {
						continue
					}
					v, err := lv.Open()
					if err != nil {
						t.Fatal(err)
					}
					if err := c.LVs[i].Verify(v, v.Size()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	if _, err := (workshop{t, dir}).tryOpen(filepath.Base(c.Disks[0].File), Options{}); err == nil {
		t.Error("the raw disk is taken for an image")
	}
}
