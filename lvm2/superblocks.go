package lvm2

import (
	"slices"

	"lvm2fs/lvm2/internal/ondisk"
)

// superblocks are what the legs of a RAID say of themselves, in the order of the legs; nil
// for a leg whose superblock cannot be read.
type superblocks []*ondisk.RAIDSuperblock

// readSuperblocks reads them through the LVs that hold them. It is for reports: what is
// unreadable or makes no sense is left out.
func readSuperblocks(lv *LV, m *RAID) superblocks {
	s := make(superblocks, len(m.Legs))
	for i, leg := range m.Legs {
		if leg.Meta == nil {
			continue
		}
		contents, err := lv.VG.assembly.contents(leg.Meta)
		if err != nil {
			continue
		}
		if sb, err := ondisk.ReadRAIDSuperblock(contents); err == nil {
			s[i] = sb
		}
	}
	return s
}

func (s superblocks) reshaping() bool {
	return slices.ContainsFunc(s, func(sb *ondisk.RAIDSuperblock) bool { return sb != nil && sb.Reshaping })
}

// outOfSync says whether a leg waits for its data: it is being rebuilt, or the array is
// being reshaped.
func (s superblocks) outOfSync(leg int) bool {
	return s.reshaping() || s[leg] != nil && s[leg].Recovery != ondisk.All
}

// superblocksOf are those of the RAID lv, or of the RAID that it is a leg of, with the number
// of the leg.
func (lv *LV) superblocksOf() (superblocks, int) {
	d := lv.VG.derive()
	if lv.RAID() != nil {
		return d.superblocks[lv], 0
	}
	image := lv.uses().raidImage
	if image == nil {
		return nil, 0
	}
	return d.superblocks[image.LV], d.legs[lv]
}

// DataOffset is where the data begin in the legs of a RAID, or in this leg of one, in bytes;
// until it is done, a reshape begins elsewhere. It is not ok where no superblock tells.
func (lv *LV) DataOffset() (offset int64, ok bool) {
	s, _ := lv.superblocksOf()
	i := slices.IndexFunc(s, func(sb *ondisk.RAIDSuperblock) bool { return sb != nil })
	if i < 0 {
		return 0, false
	}
	return s[i].Geometry.DataOffset, true
}
