package lvm2

import (
	"bytes"
	"testing"

	"lvm2fs/internal/test/testimages"
)

// A block of a leg does not match its checksum, so the leg can only take a whole block. The part that is not written
// comes from the other leg, and the block is whole again on both.
func TestAPartOfABlockThatALegHasLostIsWrittenWithTheRestFromAnother(t *testing.T) {
	c := testimages.Load(t, "integrity-corrupt")
	var devices []Device
	for _, pv := range openImages(t, c).VGs[0].PVs {
		devices = append(devices, &overlay{Device: pv.Device, changed: map[int64][]byte{}})
	}
	lv := Open(devices, Options{}).find(c.LVs[0].Path())
	found, before := check(t, lv)
	if len(found) < 2 {
		t.Fatalf("found %+v", found)
	}
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, v.Size())
	if _, err := v.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		for _, at := range []int64{f.Offset + 100, f.Offset + f.Length - 300} {
			p := bytes.Repeat([]byte("mended"), 20)
			if _, err := v.WriteAt(p, at); err != nil {
				t.Fatal(err)
			}
			copy(want[at:], p)
		}
		if err := v.PunchHole(f.Offset+1000, 700); err != nil {
			t.Fatal(err)
		}
		clear(want[f.Offset+1000:][:700])
	}
	got := make([]byte, v.Size())
	if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("not what was written: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	lv = Open(devices, Options{}).find(c.LVs[0].Path())
	if _, after := check(t, lv); after.Unreadable >= before.Unreadable || after.Differing != 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
