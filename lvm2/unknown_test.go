package lvm2

import (
	"errors"
	"testing"
)

func TestAPVWithDamagedMetadataIsNotTakenForOneOfNoVG(t *testing.T) {
	_, a, b := twinsOfOnePV()
	a.Bytes[4096+8] ^= 1     // the header of the area
	b.Bytes[4096+512+8] ^= 1 // the text in it
	for _, d := range devices(a, b) {
		s := Open([]Device{d}, Options{})
		if len(s.Orphans) != 1 || !errors.Is(s.Orphans[0].MetadataLost(), ErrChecksum) {
			t.Errorf("%s: %+v", d.Name(), s.Orphans)
		}
	}
	_, whole, _ := twinsOfOnePV()
	whole.SetText("")
	s := Open(devices(whole), Options{})
	if len(s.Orphans) != 1 || s.Orphans[0].MetadataLost() != nil {
		t.Errorf("%+v", s.Orphans)
	}
}
