package report

import (
	"slices"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// Layout is lvm's lv_layout: what the LV is made of, from the general to the particular.
func Layout(of *lvm2.LV) []string {
	lv := subject{of, of.Uses()}
	layout := slices.Clone(lv.Kind().Layout)
	if lv.RAID() != nil {
		layout = raidLayout(lv.Segments[0])
	}
	switch {
	case lv.is(metadata.RolePool, metadata.KindWritecache):
		layout = append(layout, "writecache", "cachevol")
	case lv.isCacheVolume():
		layout = append(layout, "cache", "cachevol")
	case lv.virtualOrigin():
		layout = append(layout, "virtual")
	}
	if layout == nil {
		layout = lv.plainLayout()
	}
	return layout
}

// plainLayout is that of an LV whose segments may be of several types.
func (lv subject) plainLayout() []string {
	var layout []string
	for _, name := range []string{"linear", "striped", "error", "zero"} {
		if slices.ContainsFunc(lv.Segments, func(seg *metadata.Segment) bool { return seg.TypeName() == name }) {
			layout = append(layout, name)
		}
	}
	if layout == nil {
		return []string{"unknown"}
	}
	return layout
}

// raidLayout names the level, and the variants that lvm reports beside it.
func raidLayout(seg *metadata.Segment) []string {
	if typ, known := seg.RAIDType(); known {
		return append([]string{"raid"}, typ.Name...)
	}
	level, _, _ := strings.Cut(seg.Type, "_")
	return []string{"raid", level}
}

// virtualOrigin says whether the LV is the origin of a sparse snapshot: it lies on nothing.
func (lv subject) virtualOrigin() bool { return len(lv.Uses.Snapshots) > 0 && lv.virtual() }

// Role is lvm's lv_role: public or private, and what the LV is for others.
func Role(of *lvm2.LV) []string {
	lv := subject{of, of.Uses()}
	role := lv.privateRole()
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
	origin(lv.ThinSnapshots, "thinorigin", "multithinorigin")
	origin(lv.ExtSnapshots, "extthinorigin", "multiextthinorigin")
	if _, ok := lv.Mapping().(*metadata.Thin); ok && lv.Origin() != nil {
		role = append(role, "snapshot", "thinsnapshot")
	}
	origin(len(lv.Uses.Snapshots), "thickorigin", "multithickorigin")
	if lv.Snapshot != nil {
		role = append(role, "snapshot", "thicksnapshot")
	}
	return role
}

// privateRole is what a component is to the LV that it is part of; nil if the LV is there
// for the user.
func (lv subject) privateRole() []string {
	private := func(more ...string) []string { return append([]string{"private"}, more...) }
	switch {
	case lv.is(metadata.RoleLeg, metadata.KindRAID):
		return private("raid", "image")
	case lv.is(metadata.RoleLegMetadata, metadata.KindRAID):
		return private("raid", "metadata")
	case lv.is(metadata.RoleLeg, metadata.KindMirror) && !lv.HasStatus("PVMOVE"):
		return private("mirror", "image")
	case lv.is(metadata.RoleLog, metadata.KindMirror):
		return private("mirror", "log")
	case lv.HasStatus("PVMOVE"):
		return private("pvmove")
	case lv.is(metadata.RoleData, metadata.KindThinPool):
		return private("thin", "pool", "data")
	case lv.is(metadata.RoleMetadata, metadata.KindThinPool):
		return private("thin", "pool", "metadata")
	case lv.is(metadata.RoleData, metadata.KindCachePool):
		return private("cache", "pool", "data")
	case lv.is(metadata.RoleMetadata, metadata.KindCachePool):
		return private("cache", "pool", "metadata")
	case lv.PoolSpare():
		return private("pool", "spare")
	case lv.is(metadata.RoleOrigin, metadata.KindCache):
		return private("cache", "origin", "cacheorigin")
	case lv.is(metadata.RoleOrigin, metadata.KindWritecache):
		return private("writecache", "origin", "writecacheorigin")
	case lv.is(metadata.RoleOrigin, metadata.KindIntegrity):
		return private("integrity", "origin", "integrityorigin")
	case lv.is(metadata.RoleMetadata, metadata.KindIntegrity):
		return private("integrity", "metadata")
	case lv.is(metadata.RoleData, metadata.KindVDOPool):
		return private("vdo", "pool", "data")
	case lv.isCacheVolume(), lv.virtualOrigin(), lv.Kind().Pool:
		return private()
	}
	return nil
}
