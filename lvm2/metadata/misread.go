package metadata

import (
	"fmt"

	"lvm2fs/lvm2/internal/text"
)

// misread is for a segment that makes no sense, or whose type is unknown here. It may be one of a snapshot, or of a
// thin LV that is to be merged. Then the LVs that it names look like plain LVs, but their bytes are not those of
// their own segments. So these cannot be read. If it cannot be told which they are, nothing of the VG can.
func (lv *LV) misread(seg *Segment, s *text.Section, names names) {
	var keys []string
	needed := 0
	switch seg.Mapping.(type) {
	case *Snapshot:
		keys, needed = []string{"origin", "cow_store", "merging_store"}, 2
	case *Thin:
		keys = []string{"merge"}
	case nil:
		keys = []string{"origin", "cow_store", "merging_store", "merge"}
	}
	said, found := 0, 0
	for _, key := range keys {
		if !s.Has(key) {
			continue
		}
		said++
		name, _ := s.Str(key)
		if other := names.lvs[name]; other != nil {
			found++
			other.fail(fmt.Errorf("it is the %s of LV %s, whose metadata make no sense", key, lv.Name))
		}
	}
	if found >= max(said, needed) {
		return
	}
	for _, other := range lv.VG.LVs {
		other.fail(fmt.Errorf("it may be one that LV %s is a snapshot of, is stored in or is merged with, and the metadata of that make no sense", lv.Name))
	}
}
