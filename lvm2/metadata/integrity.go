package metadata

import "math"

// Integrity is the mapping of type integrity: Origin, with a checksum of each block in Meta.
type Integrity struct {
	Origin       *LV
	Meta         *LV    // nil if tags lie beside the data
	DataSize     int64  // bytes
	Mode         string // J journal, B bitmap, D direct, R recovery
	TagSize      int64  // bytes
	BlockSize    int64  // bytes
	InternalHash string
	Recalculate  bool
	Settings     map[string]uint64 // journal_sectors, interleave_sectors, ...

	noSizes
}

var KindIntegrity = &Kind{
	Layout: []string{"integrity"}, Modules: []string{"integrity"}, Letter: 'g',
	Flags:  []string{"RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE"},
	decode: decodeIntegrity,
}

func decodeIntegrity(d *segmentDecoder, _ *Segment) Mapping {
	m := &Integrity{
		Origin:       d.lv("origin"),
		Meta:         d.optLV("meta_dev"),
		DataSize:     d.sectors("data_sectors"),
		Mode:         d.str("mode"),
		TagSize:      int64(d.uint("tag_size", math.MaxUint32)),
		BlockSize:    int64(d.uint("block_size", math.MaxUint32)),
		InternalHash: d.str("internal_hash"),
		Recalculate:  d.flag("recalculate"),
		Settings:     map[string]uint64{},
	}
	for _, key := range []string{"journal_sectors", "interleave_sectors", "buffer_sectors", "journal_watermark", "commit_time", "bitmap_flush_interval", "sectors_per_bit", "allow_discards"} {
		if d.s.Has(key) {
			m.Settings[key] = d.uint(key, math.MaxInt64)
		}
	}
	return m
}

func (m *Integrity) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Origin}, Role: RoleOrigin},
		{Area: Area{LV: m.Meta}, Role: RoleMetadata, Hidden: true},
	}
}

func (m *Integrity) decides() []any {
	return []any{m.DataSize, m.Mode, m.TagSize, m.BlockSize, m.InternalHash, m.Recalculate, m.Settings}
}
