package metadata

import "math"

// VDOPool is the mapping of type vdo-pool.
type VDOPool struct {
	Data           *LV
	HeaderSize     int64 // bytes reserved in front and behind
	VirtualExtents uint64
	Compression    bool
	Deduplication  bool
	Settings       map[string]string

	noSizes
}

// VDO is the mapping of type vdo.
type VDO struct {
	Pool         *LV
	OffsetExtent uint64 // of the pool's logical space

	noSizes
}

var (
	KindVDOPool = &Kind{
		Layout: []string{"vdo", "pool"}, Modules: []string{"kvdo"}, Letter: 'd', Pool: true, NoDevice: true, Monitored: true,
		decode: decodeVDOPool,
	}
	vdoKind = &Kind{
		Layout: []string{"vdo", "sparse"}, Modules: []string{"kvdo"}, Virtual: true,
		decode: func(d *segmentDecoder, _ *Segment) Mapping {
			return &VDO{Pool: d.lv("vdo_pool"), OffsetExtent: d.optUint("vdo_offset", math.MaxUint32)}
		},
	}
)

func decodeVDOPool(d *segmentDecoder, _ *Segment) Mapping {
	return &VDOPool{
		Data:           d.lv("data"),
		HeaderSize:     d.optSectors("header_size"),
		VirtualExtents: d.optUint("virtual_extents", math.MaxUint32),
		Compression:    d.flag("use_compression"),
		Deduplication:  d.flag("use_deduplication"),
		Settings:       settings(d.s),
	}
}

func (m *VDOPool) references() []Reference {
	return []Reference{{Area: Area{LV: m.Data}, Role: RoleData}}
}

func (m *VDO) references() []Reference {
	return []Reference{{Area: Area{LV: m.Pool}, Role: RolePool}}
}

func (m *VDOPool) decides() []any { return []any{m.HeaderSize, m.VirtualExtents} }

func (m *VDO) decides() []any { return []any{m.OffsetExtent} }
