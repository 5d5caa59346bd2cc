package lvm2

import (
	"math"
	"strings"

	"lvm2fs/lvm2/internal/text"
)

// decodeSegment reads the keys that all segments have and those of its type.
// (docs/format/02-metadata-text.md, section 6)
func decodeSegment(lv *LV, s *text.Section, names names) (*Segment, error) {
	d := &segmentDecoder{decoder: decoder{s: s}, names: names}
	seg := &Segment{LV: lv}
	seg.StartExtent = d.uint("start_extent", math.MaxUint32)
	seg.ExtentCount = d.uint("extent_count", math.MaxUint32)
	seg.ReshapeCount = d.optUint("reshape_count", math.MaxUint32)
	seg.Tags = d.strs("tags")
	typ, flags, _ := strings.Cut(d.str("type"), "+")
	seg.Type = typ
	if flags != "" {
		seg.TypeFlags = strings.Split(flags, "+")
	}
	if d.err == nil && seg.ExtentCount == 0 {
		d.fail("extent_count = 0")
	}
	seg.Mapping = d.mapping(seg)
	if seg.Mapping != nil {
		d.otherSections(seg)
	}
	lv.VG.repeated(s)
	return seg, d.err
}

// A segmentDecoder reads the keys of a segment, which may refer to PVs and LVs.
type segmentDecoder struct {
	decoder
	names names
}

func (d *segmentDecoder) mapping(seg *Segment) any {
	switch {
	case seg.Type == "striped" || seg.Type == "linear":
		return d.striped(seg)
	case seg.Type == "mirror":
		return d.mirror()
	case strings.HasPrefix(seg.Type, "raid"):
		return d.raid()
	case seg.Type == "snapshot":
		return d.snapshot()
	case seg.Type == "thin-pool":
		return d.thinPool()
	case seg.Type == "thin":
		return d.thin()
	case seg.Type == "cache-pool":
		return &CachePool{Data: d.lv("data"), Metadata: d.lv("metadata"), CacheSettings: d.cacheSettings()}
	case seg.Type == "cache":
		return d.cache()
	case seg.Type == "writecache":
		return d.writecache()
	case seg.Type == "integrity":
		return d.integrity()
	case seg.Type == "vdo-pool":
		return d.vdoPool()
	case seg.Type == "vdo":
		return &VDO{Pool: d.lv("vdo_pool"), OffsetExtent: d.optUint("vdo_offset", math.MaxUint32)}
	}
	return nil
}

func (d *segmentDecoder) striped(seg *Segment) *Striped {
	m := &Striped{StripeSize: d.optSectors("stripe_size"), Stripes: d.areas("stripes")}
	n := uint64(len(m.Stripes))
	switch count := d.uint("stripe_count", math.MaxUint32); {
	case d.err != nil:
	case n != count || n == 0:
		d.fail("%d stripes, stripe_count = %d", n, count)
	case n == 1:
		m.StripeSize = 0
	case m.StripeSize == 0:
		d.fail("%d stripes and no stripe_size", n)
	case seg.ExtentCount%n != 0:
		d.fail("extent_count = %d is no multiple of %d stripes", seg.ExtentCount, n)
	}
	return m
}

func (d *segmentDecoder) mirror() *Mirror {
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

func (d *segmentDecoder) raid() *RAID {
	m := &RAID{
		StripeSize:      d.optSectors("stripe_size"),
		RegionSize:      d.optSectors("region_size"),
		DataCopies:      d.optUint("data_copies", math.MaxUint32),
		WriteBehind:     d.optUint("writebehind", math.MaxUint32),
		MinRecoveryRate: d.optUint("min_recovery_rate", math.MaxInt64),
		MaxRecoveryRate: d.optUint("max_recovery_rate", math.MaxInt64),
	}
	key := "raids"
	if !d.s.Has(key) {
		key = "raid0_lvs"
	}
	var meta *LV
	for _, name := range d.strs(key) {
		lv := d.find(name)
		switch {
		case lv == nil:
			return m
		case !isRAIDMeta(name):
			m.Legs = append(m.Legs, RAIDLeg{Meta: meta, Data: lv})
			meta = nil
		case meta != nil:
			d.fail("%s: %s has no data LV behind it", key, meta.Name)
		default:
			meta = lv
		}
	}
	if meta != nil {
		d.fail("%s: %s has no data LV behind it", key, meta.Name)
	}
	countKey := "device_count"
	if !d.s.Has(countKey) {
		countKey = "stripe_count"
	}
	if count := d.uint(countKey, math.MaxUint32); d.err == nil && (uint64(len(m.Legs)) != count || count == 0) {
		d.fail("%d legs, %s = %d", len(m.Legs), countKey, count)
	}
	return m
}

// isRAIDMeta says whether an LV in the list of a RAID holds superblock and bitmap: lvm goes by the name.
func isRAIDMeta(name string) bool { return strings.Contains(name, "_rmeta_") }

func (d *segmentDecoder) snapshot() *Snapshot {
	m := &Snapshot{Origin: d.lv("origin"), ChunkSize: d.sectors("chunk_size")}
	m.COW = d.optLV("cow_store")
	if merging := d.optLV("merging_store"); merging != nil {
		m.COW, m.Merging = merging, true
	}
	if d.err == nil && m.COW == nil {
		d.fail("neither cow_store nor merging_store")
	}
	return m
}

func (d *segmentDecoder) thinPool() *ThinPool {
	m := &ThinPool{
		Data:          d.lv("pool"),
		Metadata:      d.lv("metadata"),
		TransactionID: d.optUint("transaction_id", math.MaxInt64),
		ChunkSize:     d.sectors("chunk_size"),
		Discards:      d.optStr("discards"),
		ZeroNewBlocks: d.flag("zero_new_blocks"),
		CropMetadata:  d.flag("crop_metadata"),
	}
	for _, s := range d.s.Sections() {
		md := segmentDecoder{decoder: decoder{s: s}, names: d.names}
		m.Messages = append(m.Messages, md.message())
		decode(&d.decoder, 0, md.err)
	}
	return m
}

// message is what the kernel still has to be told of a thin pool. What must not be missed is anything else
// that a pool has a section for.
func (d *segmentDecoder) message() ThinMessage {
	m := ThinMessage{Create: d.optStr("create"), Delete: d.optUint("delete", math.MaxInt64)}
	switch {
	case !strings.HasPrefix(d.s.Key, "message") || m.Create == "" && !d.s.Has("delete"):
		d.fail("a message that is unknown here")
	case m.Create != "":
		d.find(m.Create)
	}
	return m
}

// otherSections notes sections that are unknown in a segment, and values that should be sections.
func (d *segmentDecoder) otherSections(seg *Segment) {
	_, isPool := seg.Mapping.(*ThinPool)
	const settings = "policy_settings"
	for _, s := range d.s.Sections() {
		if !isPool && s.Key != settings {
			seg.LV.VG.damaged(s.Errorf("a section that is unknown here"))
		}
	}
	for _, key := range d.s.Keys() {
		if key == settings || isPool && strings.HasPrefix(key, "message") {
			seg.LV.VG.damaged(d.s.Errorf("%s is a value, not a section", key))
		}
	}
}

func (d *segmentDecoder) thin() *Thin {
	return &Thin{
		Pool:           d.lv("thin_pool"),
		TransactionID:  d.optUint("transaction_id", math.MaxInt64),
		DeviceID:       d.uint("device_id", 1<<24-1),
		ExternalOrigin: d.optLV("external_origin"),
		Origin:         d.optLV("origin"),
		Merge:          d.optLV("merge"),
	}
}

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

func (d *segmentDecoder) cache() *Cache {
	m := &Cache{Origin: d.lv("origin"), Pool: d.lv("cache_pool"), Cleaner: d.flag("cleaner"), CacheVol: d.s.Has("metadata_start")}
	if m.CacheVol {
		m.CacheSettings = d.cacheSettings()
		m.MetadataStart, m.MetadataLen = d.sectors("metadata_start"), d.sectors("metadata_len")
		m.DataStart, m.DataLen = d.sectors("data_start"), d.sectors("data_len")
	}
	return m
}

func (d *segmentDecoder) writecache() *Writecache {
	return &Writecache{
		Origin:    d.lv("origin"),
		Fast:      d.lv("writecache"),
		BlockSize: int64(d.uint("writecache_block_size", math.MaxUint32)),
		Settings:  settings(d.s),
	}
}

func (d *segmentDecoder) integrity() *Integrity {
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

func (d *segmentDecoder) vdoPool() *VDOPool {
	return &VDOPool{
		Data:           d.lv("data"),
		HeaderSize:     d.optSectors("header_size"),
		VirtualExtents: d.optUint("virtual_extents", math.MaxUint32),
		Compression:    d.flag("use_compression"),
		Deduplication:  d.flag("use_deduplication"),
		Settings:       settings(d.s),
	}
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

// settings are the values of a section that are one word or number each.
func settings(s *text.Section) map[string]string {
	m := map[string]string{}
	for _, key := range s.Keys() {
		if v, _ := s.Lookup(key); len(v) == 1 {
			m[key] = v[0].Str
		}
	}
	return m
}

// areas reads a list of pairs: the name of a PV or LV, and an extent of it. An area of
// a PV is within the PV as far as its start goes; its end is for allocate to check.
func (d *segmentDecoder) areas(key string) []Area {
	values, ok := d.s.Lookup(key)
	if !ok || len(values)%2 != 0 {
		d.fail("%s is not a list of names with extents", key)
		return nil
	}
	areas := make([]Area, 0, len(values)/2)
	for i := 0; i < len(values); i += 2 {
		name, extent := values[i], values[i+1]
		if name.Kind != text.String || extent.Kind != text.Int || extent.Int < 0 || extent.Int > math.MaxUint32 {
			d.fail("%s: entry %d is not a name with an extent", key, i/2)
			return nil
		}
		a := Area{Extent: uint64(extent.Int)}
		if a.PV = d.names.pvs[name.Str]; a.PV == nil {
			if a.LV = d.find(name.Str); a.LV == nil {
				return nil
			}
		}
		areas = append(areas, a)
	}
	return areas
}

func (d *segmentDecoder) lv(key string) *LV {
	name := d.str(key)
	if d.err != nil {
		return nil
	}
	return d.find(name)
}

func (d *segmentDecoder) optLV(key string) *LV {
	if !d.s.Has(key) {
		return nil
	}
	return d.lv(key)
}

func (d *segmentDecoder) find(name string) *LV {
	lv := d.names.lvs[name]
	if lv == nil {
		d.fail("no PV or LV %q", name)
	}
	return lv
}

func (d *segmentDecoder) fail(format string, args ...any) {
	decode(&d.decoder, 0, d.s.Errorf(format, args...))
}
