package metadata

import "math"

// Writecache is the mapping of type writecache.
type Writecache struct {
	Origin, Fast *LV
	BlockSize    int64 // bytes
	Settings     map[string]string

	noSizes
}

var KindWritecache = &Kind{
	Layout: []string{"writecache"}, Modules: []string{"writecache"}, Letter: 'C', Target: 'C',
	decode: func(d *segmentDecoder, _ *Segment) Mapping {
		return &Writecache{
			Origin:    d.lv("origin"),
			Fast:      d.lv("writecache"),
			BlockSize: int64(d.uint("writecache_block_size", math.MaxUint32)),
			Settings:  settings(d.s),
		}
	},
}

func (m *Writecache) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Origin}, Role: RoleOrigin},
		{Area: Area{LV: m.Fast}, Role: RolePool, Beside: true, Hidden: true},
	}
}

func (m *Writecache) decides() []any { return []any{m.BlockSize} }
