package report

import (
	"fmt"
	"strconv"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// The fields of lvs --segments. What they mean says lvm: lvs -o help.

// Segment is a segment, with the LV whose bytes it has.
type Segment struct {
	*metadata.Segment
	lv *lvm2.LV
}

// Segments are those of an LV.
func Segments(lv *lvm2.LV) []Segment {
	segments := make([]Segment, len(lv.Segments))
	for i, seg := range lv.Segments {
		segments[i] = Segment{seg, lv}
	}
	return segments
}

// Row is a row of lvs --segments.
func (seg Segment) Row() Row {
	lv := seg.lv
	extentSize := lv.VG.ExtentSize
	areas := seg.Areas()
	_, isRAID := seg.Mapping.(*metadata.RAID)
	r := make(Row, 0, 40)
	r.text("vg_name", lv.VG.Name)
	r.text("vg_uuid", lv.VG.UUID.String())
	r.text("lv_name", LVName(lv.LV))
	r.text("segtype", seg.TypeName())
	r.count("stripes", len(areas))
	r.count("data_stripes", seg.DataStripes())
	if seg.Reshapeable() {
		r.size("reshape_len", int64(seg.ReshapeExtents())*extentSize)
		r.number("reshape_len_le", seg.ReshapeExtents())
	}
	r.count("data_copies", seg.DataCopies())
	if offset, ok := lv.DataOffset(); ok && seg.Reshapeable() {
		sectors := uint64(offset / 512)
		r.number("data_offset", sectors)
		r.number("new_data_offset", sectors) // lvm reports no other, in a reshape either
	}
	if isRAID && seg.DataCopies() > 1 {
		r.count("parity_chunks", seg.DataCopies()-1)
	}
	r.size("stripe_size", seg.StripeChunk())
	r.size("region_size", seg.Region())
	r.size("chunk_size", seg.Chunk())
	if _, ok := seg.Mapping.(*metadata.ThinPool); ok {
		r.count("thin_count", lv.ThinCount())
	}
	cache := seg.CacheSettings()
	if cache.MetadataFormat > 0 {
		r.number("cache_metadata_format", cache.MetadataFormat)
	}
	r.text("cache_mode", cache.Mode)
	r.thin(seg.Segment)
	switch m := seg.Mapping.(type) {
	case *metadata.ThinPool:
		r.number("transaction_id", m.TransactionID)
	case *metadata.Thin:
		r.number("transaction_id", m.TransactionID)
	}
	r.size("seg_start", int64(seg.StartExtent)*extentSize)
	r.number("seg_start_pe", seg.StartExtent)
	r.size("seg_size", int64(seg.ExtentCount)*extentSize)
	r.number("seg_size_pe", seg.ExtentCount)
	r.text("seg_tags", Tags(seg.Tags))
	extents := seg.AreaExtents()
	r.text("seg_pe_ranges", seg.ranges(areas, extents, " ", false))
	r.text("seg_le_ranges", seg.ranges(areas, extents, ",", true))
	r.text("seg_metadata_le_ranges", seg.ranges(seg.MetadataAreas(), extents, ",", true))
	r.text("devices", seg.places(areas))
	r.text("metadata_devices", seg.places(seg.MetadataAreas()))
	r.flag("seg_monitor", "not enabled", seg.Monitorable())
	r.text("cache_policy", cache.Policy)
	r.text("cache_settings", cacheSettings(seg.Segment))
	if m, ok := seg.Mapping.(*metadata.Integrity); ok {
		r.text("integrity_settings", integritySettings(m))
	}
	if pool := seg.VDOPool(); pool != nil {
		r.vdo(pool)
	}
	return r
}

// thin adds what thin pools and the LVs in them have in common.
func (r *Row) thin(seg *metadata.Segment) {
	switch m := seg.Mapping.(type) {
	case *metadata.ThinPool:
		r.text("discards", m.Discards)
		r.flag("zero", "zero", m.ZeroNewBlocks)
	case *metadata.Thin:
		if pool := m.Pool.ThinPool(); pool != nil {
			r.text("discards", pool.Discards)
			r.flag("zero", "zero", pool.ZeroNewBlocks)
		}
		r.number("thin_id", m.DeviceID)
	}
}

func (r *Row) vdo(m *metadata.VDOPool) {
	enabled := func(name string, set bool) { r.flag(name, "enabled", set) }
	number := func(name, key string) { r.text(name, m.Settings[key]) }
	mebibytes := func(name, key string) {
		if n, err := strconv.ParseInt(m.Settings[key], 10, 32); err == nil {
			r.size(name, n<<20)
		}
	}
	enabled("vdo_compression", m.Compression)
	enabled("vdo_deduplication", m.Deduplication)
	enabled("vdo_use_metadata_hints", m.Settings["use_metadata_hints"] == "1")
	if n, err := strconv.ParseInt(m.Settings["minimum_io_size"], 10, 64); err == nil {
		r.size("vdo_minimum_io_size", n)
	}
	mebibytes("vdo_block_map_cache_size", "block_map_cache_size_mb")
	number("vdo_block_map_era_length", "block_map_era_length")
	enabled("vdo_use_sparse_index", m.Settings["use_sparse_index"] == "1")
	mebibytes("vdo_index_memory_size", "index_memory_size_mb")
	mebibytes("vdo_slab_size", "slab_size_mb")
	for _, key := range []string{"ack_threads", "bio_threads", "bio_rotation", "cpu_threads", "hash_zone_threads", "logical_threads", "physical_threads", "max_discard"} {
		number("vdo_"+key, key)
	}
	policy := m.Settings["write_policy"]
	if policy == "" {
		policy = "auto"
	}
	r.text("vdo_write_policy", policy)
	r.size("vdo_header_size", m.HeaderSize)
}

// ranges are the extents of areas in the form of lvm's command line, NAME:FIRST-LAST. Of an
// LV beneath, lvm names all extents. With brackets, internal LVs are in brackets, and
// whatever follows one too: that is how lvm prints it.
func (seg Segment) ranges(areas []metadata.Area, extents uint64, separator string, brackets bool) string {
	var parts []string
	internal := false
	for _, a := range areas {
		first, n := a.Extent, extents
		if a.LV != nil {
			first, n = 0, max(1, a.LV.ExtentCount())
			internal = internal || !a.LV.Listed()
		}
		name := seg.areaName(a)
		if brackets && internal {
			name = "[" + name + "]"
		}
		parts = append(parts, fmt.Sprintf("%s:%d-%d", name, first, first+n-1))
	}
	return strings.Join(parts, separator)
}

// Places are where the segment lies: its areas with their first extents.
func (seg Segment) Places() string { return seg.places(seg.Areas()) }

// places are the areas with their first extents; lvm gives none but 0 for an LV.
func (seg Segment) places(areas []metadata.Area) string {
	var parts []string
	for _, a := range areas {
		first := a.Extent
		if a.LV != nil {
			first = 0
		}
		parts = append(parts, fmt.Sprintf("%s(%d)", seg.areaName(a), first))
	}
	return strings.Join(parts, ",")
}

func (seg Segment) areaName(a metadata.Area) string {
	if a.LV != nil {
		return a.LV.Name
	}
	return PVName(seg.lv.VG.PVOf(a.PV))
}

// writecacheSettings are the keys that lvm reports of a writecache, in its order.
var writecacheSettings = []string{
	"high_watermark", "low_watermark", "writeback_jobs", "autocommit_blocks", "autocommit_time",
	"fua", "nofua", "cleaner", "max_age", "metadata_only", "pause_writeback",
}

// integritySettings are the settings that lvm reports of an integrity layer, in its order.
func integritySettings(m *metadata.Integrity) string {
	var parts []string
	for _, key := range []string{"journal_watermark", "commit_time", "bitmap_flush_interval", "allow_discards"} {
		if value, ok := m.Settings[key]; ok {
			parts = append(parts, fmt.Sprintf("%s=%d", key, value))
		}
	}
	return strings.Join(parts, ",")
}

func cacheSettings(seg *metadata.Segment) string {
	var parts []string
	if m, ok := seg.Mapping.(*metadata.Writecache); ok {
		for _, key := range writecacheSettings {
			if value, ok := m.Settings[key]; ok {
				parts = append(parts, key+"="+value)
			}
		}
		if key := m.Settings["writecache_setting_key"]; key != "" {
			parts = append(parts, key+"="+m.Settings["writecache_setting_val"])
		}
		return strings.Join(parts, ",")
	}
	for _, s := range seg.CacheSettings().PolicySettings {
		parts = append(parts, s.Key+"="+s.Value)
	}
	return strings.Join(parts, ",")
}
