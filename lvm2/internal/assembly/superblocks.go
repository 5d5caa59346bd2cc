package assembly

import (
	"slices"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
)

// Superblocks are what the legs of a RAID say about themselves, in the order of the legs; nil for a leg whose superblock
// cannot be read.
type Superblocks []*ondisk.RAIDSuperblock

// Superblocks reads the superblocks of a RAID through the LVs that hold them. It is for reports: what is
// unreadable or makes no sense is left out.
func (a *Assembly) Superblocks(m *metadata.RAID) Superblocks {
	s := make(Superblocks, len(m.Legs))
	for i, leg := range m.Legs {
		if leg.Meta == nil {
			continue
		}
		contents, err := a.Own(leg.Meta)
		if err != nil {
			continue
		}
		if sb, err := ondisk.ReadRAIDSuperblock(contents); err == nil {
			s[i] = sb
		}
	}
	return s
}

// Reshaping says whether the array is being reshaped.
func (s Superblocks) Reshaping() bool {
	return slices.ContainsFunc(s, func(sb *ondisk.RAIDSuperblock) bool { return sb != nil && sb.Reshaping })
}

// OutOfSync says whether a leg waits for its data: it is being rebuilt, or the array is
// being reshaped.
func (s Superblocks) OutOfSync(leg int) bool {
	return s.Reshaping() || s[leg] != nil && s[leg].Recovery != ondisk.All
}

// DataOffset is where the data begin in the legs, in bytes. Until a reshape is done, what it has moved may begin
// elsewhere. ok is false where no superblock tells.
func (s Superblocks) DataOffset() (offset int64, ok bool) {
	i := slices.IndexFunc(s, func(sb *ondisk.RAIDSuperblock) bool { return sb != nil })
	if i < 0 {
		return 0, false
	}
	return s[i].Geometry.DataOffset, true
}
