package metadata

import "math"

// Mirror is the mapping of type mirror, and of an unfinished pvmove. Of a pvmove the first
// leg is where the extents come from.
type Mirror struct {
	Legs         []Area
	Log          *LV   // nil for a log in memory
	RegionSize   int64 // bytes; 0 if not recorded
	PVMove       bool
	ExtentsMoved uint64
}

var KindMirror = &Kind{
	Layout: []string{"mirror"}, Modules: []string{"mirror"}, Letter: 'm', Target: 'm',
	Synced: true, Monitored: true,
	decode: decodeMirror,
}

func decodeMirror(d *segmentDecoder, _ *Segment) Mapping {
	m := &Mirror{
		Legs:         d.areas("mirrors"),
		Log:          d.optLV("mirror_log"),
		RegionSize:   d.optSectors("region_size"),
		PVMove:       d.s.Has("extents_moved"),
		ExtentsMoved: d.optUint("extents_moved", math.MaxUint32),
	}
	if count := d.uint("mirror_count", math.MaxUint32); d.err == nil && (uint64(len(m.Legs)) != count || count == 0) {
		d.fail("%d legs, mirror_count = %d", len(m.Legs), count)
	}
	return m
}

func (m *Mirror) references() []Reference {
	return append(legs(m.Legs), Reference{Area: Area{LV: m.Log}, Role: RoleLog, Hidden: true})
}

// Sizes implements [Mapping].
func (m *Mirror) Sizes() Sizes { return Sizes{Region: m.RegionSize} }

func (m *Mirror) decides() []any { return []any{m.RegionSize, m.PVMove, m.ExtentsMoved} }
