package metadata

import (
	"fmt"

	"lvm2fs/lvm2/internal/text"
)

// oddities are what is odd in the metadata of a VG and does not keep its LVs from being read.
type oddities struct {
	told   []error // the first ones
	more   int     // how many are not in told
	damage error   // the first that means that something of the VG may not be known
}

// MostTold is how many oddities of a VG are told one by one.
const MostTold = 20

func (o *oddities) add(err error) {
	if len(o.told) < MostTold {
		o.told = append(o.told, err)
	} else {
		o.more++
	}
}

// damaged notes what cannot be recognised. Without it the VG may not be all that it was.
func (vg *VG) damaged(err error) {
	err = fmt.Errorf("%w: %w", ErrMetadata, err)
	if vg.oddities.damage == nil {
		vg.oddities.damage = err
	}
	vg.oddities.add(err)
}

// repeat notes a key that occurs twice. lvm2 takes the first, with a warning.
func (vg *VG) repeat(r text.Repeat) { vg.oddities.add(fmt.Errorf("%w: the first counts", r)) }

// repeated notes the keys of a section that occur twice.
func (vg *VG) repeated(s *text.Section) {
	for _, r := range s.Repeats() {
		vg.repeat(r)
	}
}

// Damage is why there may be more in the VG than is known of it: a part of its metadata makes no sense. It
// wraps ErrMetadata; nil if there is nothing of the kind. What is wrong with one LV is not meant; see [LV.Health].
func (vg *VG) Damage() error { return vg.oddities.damage }

// Oddities are what is odd in the metadata and keeps none of the LVs from being read: the first ones, and how many
// more there are.
func (vg *VG) Oddities() (told []error, more int) { return vg.oddities.told, vg.oddities.more }
