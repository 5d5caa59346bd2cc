package lvm2

// uses is what an LV is to those that refer to it. The relations are few: an LV is one
// leg of one RAID, the data of one pool; but any number of snapshots can have one origin.
type uses struct {
	snapshot      *Snapshot   // in which the LV is the COW store
	snapshots     []*Snapshot // of which the LV is the origin
	thinChildren  []*LV       // made from the LV as thin snapshots, in its pool or (external) another; those to be merged into it last
	thinSnapshots int         // of thinChildren
	extSnapshots  int         // thin LVs of which the LV is the external origin, snapshots of thinChildren too

	raidImage, raidMetadata  *Segment // of which the LV is a part
	mirrorImage, mirrorLog   *Segment
	thinData, thinMetadata   *Segment
	cacheData, cacheMetadata *Segment
	cacheOrigin, cacheVolume *Segment
	writecacheOrigin         *Segment
	writecacheVolume         *Segment
	integrityOrigin, tags    *Segment // tags: the LV with the checksums
	vdoData                  *Segment

	merging bool // a snapshot is to be merged into the LV
}

func (lv *LV) uses() *uses {
	u := &uses{}
	var merging []*LV
	for _, seg := range lv.users {
		switch m := seg.Mapping.(type) {
		case *Mirror:
			if m.Log == lv {
				u.mirrorLog = seg
			} else {
				u.mirrorImage = seg
			}
		case *RAID:
			if isRAIDMeta(lv.Name) {
				u.raidMetadata = seg
			} else {
				u.raidImage = seg
			}
		case *Snapshot:
			if m.COW == lv {
				u.snapshot = m
			}
			if m.Origin == lv {
				u.snapshots = append(u.snapshots, m)
				u.merging = u.merging || m.Merging
			}
		case *ThinPool:
			if m.Data == lv {
				u.thinData = seg
			}
			if m.Metadata == lv {
				u.thinMetadata = seg
			}
		case *Thin:
			switch {
			case m.Merge == lv:
				// It is the origin too, and so here twice.
				if len(merging) == 0 || merging[len(merging)-1] != seg.LV {
					merging = append(merging, seg.LV)
				}
			case m.Origin == lv:
				u.thinChildren = append(u.thinChildren, seg.LV)
				u.thinSnapshots++
			case m.ExternalOrigin == lv:
				u.extSnapshots++
				if m.Origin == nil {
					u.thinChildren = append(u.thinChildren, seg.LV)
				}
			}
		case *CachePool:
			if m.Data == lv {
				u.cacheData = seg
			}
			if m.Metadata == lv {
				u.cacheMetadata = seg
			}
		case *Cache:
			if m.Origin == lv {
				u.cacheOrigin = seg
			}
			if m.Pool == lv {
				u.cacheVolume = seg
			}
		case *Writecache:
			if m.Origin == lv {
				u.writecacheOrigin = seg
			}
			if m.Fast == lv {
				u.writecacheVolume = seg
			}
		case *Integrity:
			if m.Origin == lv {
				u.integrityOrigin = seg
			}
			if m.Meta == lv {
				u.tags = seg
			}
		case *VDOPool:
			if m.Data == lv {
				u.vdoData = seg
			}
		}
	}
	u.merging = u.merging || len(merging) > 0
	u.thinChildren = append(u.thinChildren, merging...)
	u.thinSnapshots += len(merging)
	return u
}
