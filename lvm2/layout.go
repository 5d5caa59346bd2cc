package lvm2

import (
	"slices"
	"strings"
)

// Layout is lvm's lv_layout: what the LV is made of, from the general to the particular.
func (lv *LV) Layout() []string { return lv.layout(lv.uses()) }

func (lv *LV) layout(u *uses) []string {
	var layout []string
	switch lv.mapping().(type) {
	case *Mirror:
		layout = []string{"mirror"}
	case *RAID:
		layout = raidLayout(lv.Segments[0].Type)
	case *Thin:
		layout = []string{"thin", "sparse"}
	case *ThinPool:
		layout = []string{"thin", "pool"}
	case *Cache:
		layout = []string{"cache"}
	case *CachePool:
		layout = []string{"cache", "pool"}
	case *Writecache:
		layout = []string{"writecache"}
	case *Integrity:
		layout = []string{"integrity"}
	case *VDO:
		layout = []string{"vdo", "sparse"}
	case *VDOPool:
		layout = []string{"vdo", "pool"}
	case *Snapshot:
		layout = []string{"snapshot"}
	}
	switch {
	case u.writecacheVolume != nil:
		layout = append(layout, "writecache", "cachevol")
	case lv.isCacheVolume(u):
		layout = append(layout, "cache", "cachevol")
	case lv.virtualOrigin(u):
		layout = append(layout, "virtual")
	}
	if layout == nil {
		layout = lv.plainLayout()
	}
	return layout
}

// plainLayout is that of an LV whose segments may be of several types.
func (lv *LV) plainLayout() []string {
	var layout []string
	for _, name := range []string{"linear", "striped", "error", "zero"} {
		if slices.ContainsFunc(lv.Segments, func(seg *Segment) bool { return seg.TypeName() == name }) {
			layout = append(layout, name)
		}
	}
	if layout == nil {
		return []string{"unknown"}
	}
	return layout
}

// raidLayout names the level, and the variants that lvm reports beside it.
func raidLayout(segtype string) []string {
	level, _, _ := strings.Cut(segtype, "_")
	switch segtype {
	case "raid0_meta":
		return []string{"raid"}
	case "raid5":
		return []string{"raid", "raid5", "raid5_ls"}
	case "raid6":
		return []string{"raid", "raid6", "raid6_zr"}
	case "raid5_la", "raid5_ls", "raid5_ra", "raid5_rs", "raid6_zr", "raid6_nr", "raid6_nc":
		return []string{"raid", level, segtype}
	}
	return []string{"raid", level}
}

// virtualOrigin says whether the LV is the origin of a sparse snapshot: it lies on nothing.
func (lv *LV) virtualOrigin(u *uses) bool { return len(u.snapshots) > 0 && lv.virtual() }

// poolSpare says whether the LV is kept for the repair of a pool's metadata. Nothing refers
// to it; lvm goes by the name. (docs/format/02-metadata-text.md, section 8)
func (lv *LV) poolSpare() bool {
	return strings.HasSuffix(lv.Name, "_pmspare") && !lv.hasStatus("VISIBLE")
}

// Role is lvm's lv_role: public or private, and what the LV is for others.
func (lv *LV) Role() []string {
	u := lv.uses()
	role := lv.privateRole(u)
	if role == nil {
		role = []string{"public"}
	}
	origin := func(n int, one, many string) {
		if n > 0 && !slices.Contains(role, "origin") {
			role = append(role, "origin")
		}
		if n > 0 {
			role = append(role, one)
		}
		if n > 1 {
			role = append(role, many)
		}
	}
	origin(u.thinSnapshots, "thinorigin", "multithinorigin")
	origin(u.extSnapshots, "extthinorigin", "multiextthinorigin")
	if _, ok := lv.mapping().(*Thin); ok && lv.Origin() != nil {
		role = append(role, "snapshot", "thinsnapshot")
	}
	origin(len(u.snapshots), "thickorigin", "multithickorigin")
	if u.snapshot != nil {
		role = append(role, "snapshot", "thicksnapshot")
	}
	return role
}

// privateRole is what a component is to the LV that it is part of; nil if the LV is there
// for the user.
func (lv *LV) privateRole(u *uses) []string {
	private := func(more ...string) []string { return append([]string{"private"}, more...) }
	switch {
	case u.raidImage != nil:
		return private("raid", "image")
	case u.raidMetadata != nil:
		return private("raid", "metadata")
	case u.mirrorImage != nil && !lv.hasStatus("PVMOVE"):
		return private("mirror", "image")
	case u.mirrorLog != nil:
		return private("mirror", "log")
	case lv.hasStatus("PVMOVE"):
		return private("pvmove")
	case u.thinData != nil:
		return private("thin", "pool", "data")
	case u.thinMetadata != nil:
		return private("thin", "pool", "metadata")
	case u.cacheData != nil:
		return private("cache", "pool", "data")
	case u.cacheMetadata != nil:
		return private("cache", "pool", "metadata")
	case lv.poolSpare():
		return private("pool", "spare")
	case u.cacheOrigin != nil:
		return private("cache", "origin", "cacheorigin")
	case u.writecacheOrigin != nil:
		return private("writecache", "origin", "writecacheorigin")
	case u.integrityOrigin != nil:
		return private("integrity", "origin", "integrityorigin")
	case u.tags != nil:
		return private("integrity", "metadata")
	case u.vdoData != nil:
		return private("vdo", "pool", "data")
	case lv.isCacheVolume(u), lv.virtualOrigin(u):
		return private()
	}
	switch lv.mapping().(type) {
	case *ThinPool, *CachePool, *VDOPool:
		return private()
	}
	return nil
}
