package metadata

import (
	"math"

	"lvm2fs/lvm2/internal/text"
)

// CachePool is the mapping of type cache-pool.
type CachePool struct {
	Data, Metadata *LV
	CacheSettings
}

// CacheSettings are what a cache pool, or a cache LV with a cachevol, records.
type CacheSettings struct {
	MetadataFormat uint64 // 1 or 2
	ChunkSize      int64  // bytes
	Mode           string // writethrough, writeback, passthrough
	Policy         string
	PolicySettings []Setting
}

// Setting is a key with its value as the metadata writes it: a string is in quotes.
type Setting struct{ Key, Value string }

// Cache is the mapping of type cache.
type Cache struct {
	Origin  *LV
	Pool    *LV // of type cache-pool, or a cachevol
	Cleaner bool
	// With a cachevol, the settings, and where metadata and data lie in it; in
	// bytes.
	CacheVol bool
	CacheSettings
	MetadataStart, MetadataLen int64
	DataStart, DataLen         int64
}

var (
	KindCachePool = &Kind{
		Layout: []string{"cache", "pool"}, Modules: []string{"cache"}, Letter: 'C', Target: 'C',
		Flags: []string{"METADATA_FORMAT"}, Pool: true, NoDevice: true,
		decode: func(d *segmentDecoder, _ *Segment) Mapping {
			return &CachePool{Data: d.lv("data"), Metadata: d.lv("metadata"), CacheSettings: d.cacheSettings()}
		},
	}
	KindCache = &Kind{
		Layout: []string{"cache"}, Modules: []string{"cache"}, Letter: 'C', Target: 'C',
		Flags: []string{"CACHE_USES_CACHEVOL"}, decode: decodeCache,
	}
)

func (d *segmentDecoder) cacheSettings() CacheSettings {
	c := CacheSettings{
		MetadataFormat: d.optUint("metadata_format", math.MaxUint32),
		ChunkSize:      d.optSectors("chunk_size"),
		Mode:           d.optStr("cache_mode"),
		Policy:         d.optStr("policy"),
	}
	if c.MetadataFormat == 0 {
		c.MetadataFormat = 1
	}
	if s := d.s.Section("policy_settings"); s != nil {
		c.PolicySettings = orderedSettings(s)
	}
	return c
}

// orderedSettings are settings in the order of the metadata.
func orderedSettings(s *text.Section) []Setting {
	var list []Setting
	for _, key := range s.Keys() {
		v, _ := s.Lookup(key)
		if len(v) != 1 {
			continue
		}
		value := v[0].Str
		if v[0].Kind == text.String {
			value = `"` + value + `"`
		}
		list = append(list, Setting{key, value})
	}
	return list
}

func decodeCache(d *segmentDecoder, _ *Segment) Mapping {
	m := &Cache{Origin: d.lv("origin"), Pool: d.lv("cache_pool"), Cleaner: d.flag("cleaner"), CacheVol: d.s.Has("metadata_start")}
	if m.CacheVol {
		m.CacheSettings = d.cacheSettings()
		m.MetadataStart, m.MetadataLen = d.sectors("metadata_start"), d.sectors("metadata_len")
		m.DataStart, m.DataLen = d.sectors("data_start"), d.sectors("data_len")
	}
	return m
}

func (m *CachePool) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Data}, Role: RoleData},
		{Area: Area{LV: m.Metadata}, Role: RoleMetadata, Beside: true, Hidden: true},
	}
}

func (m *Cache) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Origin}, Role: RoleOrigin},
		{Area: Area{LV: m.Pool}, Role: RolePool, Beside: true, Hidden: true},
	}
}

// Sizes implements [Mapping].
func (m *CachePool) Sizes() Sizes { return Sizes{Chunk: m.ChunkSize} }

// Sizes implements [Mapping].
func (m *Cache) Sizes() Sizes { return Sizes{Chunk: m.settings().ChunkSize} }

// settings are those of the cachevol, or of the pool.
func (m *Cache) settings() CacheSettings {
	if m.CacheVol {
		return m.CacheSettings
	}
	if pool, ok := m.Pool.Mapping().(*CachePool); ok {
		return pool.CacheSettings
	}
	return CacheSettings{}
}

// CacheSettings are those of a cache pool, and of the cache that uses it or a cachevol; all
// zero for other types.
func (seg *Segment) CacheSettings() CacheSettings {
	switch m := seg.Mapping.(type) {
	case *CachePool:
		return m.CacheSettings
	case *Cache:
		return m.settings()
	}
	return CacheSettings{}
}

func (m *CachePool) decides() []any { return []any{m.MetadataFormat, m.ChunkSize, m.Mode} }

func (m *Cache) decides() []any {
	return []any{m.CacheVol, m.MetadataFormat, m.ChunkSize, m.Mode, m.MetadataStart, m.MetadataLen, m.DataStart, m.DataLen}
}
