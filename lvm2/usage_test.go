package lvm2

import (
	"testing"

	"lvm2fs/internal/test/testimages"
)

func TestAVDOLVThatWasReducedIsAsFullAsItWas(t *testing.T) {
	lv := openImages(t, testimages.Load(t, "vdo")).find("vg_vdo/vol")
	before := lv.Usage().Data
	lv.Segments[0].ExtentCount -= 10
	if after := lv.Usage().Data; before == nil || after == nil || *after != *before {
		t.Errorf("%v, then %v", before, after)
	}
}
