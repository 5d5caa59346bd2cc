package raid

// RAID1 has the same bytes on every leg:
//
//	D    D    D
//
// (docs/format/03-mapping-linear-striped-raid.md, section 5.2)

type raid1Layout struct{ legs int }

func (o raid1Layout) places(off int64, into []place) ([]place, int64) {
	for i := range o.legs {
		into = append(into, place{i, off})
	}
	return into, endless
}
