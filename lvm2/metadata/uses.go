package metadata

// Uses is what an LV is to those that refer to it. The relations are few: an LV is one
// leg of one RAID, the data of one pool; but any number of snapshots can have one origin.
type Uses struct {
	Snapshot      *Snapshot   // in which the LV is the COW store
	Snapshots     []*Snapshot // of which the LV is the origin
	ThinChildren  []*LV       // made from the LV as thin snapshots, in its pool or (external) another; last those to be merged into it
	ThinSnapshots int         // of ThinChildren
	ExtSnapshots  int         // thin LVs of which the LV is the external origin, snapshots of ThinChildren too
	Merging       bool        // a snapshot is to be merged into the LV

	others []use // for each kind and role, the last
}

// As is a segment of a kind to which the LV has a role; nil if there is none. It is not for the roles to
// snapshots and thin LVs.
func (u *Uses) As(role Role, kind *Kind) *Segment {
	for _, other := range u.others {
		if other.role == role && other.seg.kind == kind {
			return other.seg
		}
	}
	return nil
}

// Uses looks through all that refer to the LV.
func (lv *LV) Uses() *Uses {
	u := &Uses{}
	var merging []*LV
	for _, by := range lv.users {
		switch m := by.seg.Mapping.(type) {
		case *Snapshot:
			if by.role == RoleStore {
				u.Snapshot = m
				break
			}
			u.Snapshots = append(u.Snapshots, m)
			u.Merging = u.Merging || m.Merging
		case *Thin:
			switch {
			case by.role == RoleMergeTarget:
				merging = append(merging, by.seg.LV)
			case m.Merge == lv: // it is the origin too
			case by.role == RoleOrigin:
				u.ThinChildren = append(u.ThinChildren, by.seg.LV)
				u.ThinSnapshots++
			case by.role == RoleExternalOrigin:
				u.ExtSnapshots++
				if m.Origin == nil {
					u.ThinChildren = append(u.ThinChildren, by.seg.LV)
				}
			}
		default:
			u.note(by)
		}
	}
	u.Merging = u.Merging || len(merging) > 0
	u.ThinChildren = append(u.ThinChildren, merging...)
	u.ThinSnapshots += len(merging)
	return u
}

func (u *Uses) note(by use) {
	for i, other := range u.others {
		if other.role == by.role && other.seg.kind == by.seg.kind {
			u.others[i] = by
			return
		}
	}
	u.others = append(u.others, by)
}
