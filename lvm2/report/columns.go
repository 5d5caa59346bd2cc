package report

import (
	"slices"
	"strings"
)

// Report is one of lvm's reports: what its rows are of, and their fields by lvm's names, in lvm's order.
type Report struct {
	Name    string // vg, pv, lv, seg
	Columns []Column
}

// Column is a field of a report.
type Column struct {
	Name string
	Size bool // a number of bytes; all other fields are text as lvm prints it
}

// All are the reports there are. docs/list.schema.json says the same.
var All = []Report{
	{"vg", columns(`vg_fmt vg_uuid vg_name vg_attr vg_permissions vg_extendable vg_exported vg_autoactivation vg_partial
		vg_allocation_policy vg_clustered vg_shared vg_size* vg_free* vg_sysid vg_systemid vg_lock_type vg_lock_args
		vg_extent_size* vg_extent_count vg_free_count max_lv max_pv pv_count vg_missing_pv_count lv_count snap_count vg_seqno
		vg_tags vg_profile vg_mda_count vg_mda_used_count vg_mda_free* vg_mda_size* vg_mda_copies`)},
	{"pv", columns(`pv_fmt pv_uuid dev_size* pv_name pv_mda_free* pv_mda_size* pv_ext_vsn pe_start* pv_size* pv_free* pv_used*
		pv_attr pv_allocatable pv_exported pv_missing pv_pe_count pv_pe_alloc_count pv_tags pv_mda_count pv_mda_used_count
		pv_ba_start* pv_ba_size* pv_in_use pv_duplicate vg_name`)},
	{"lv", columns(`vg_name vg_uuid lv_uuid lv_name lv_full_name lv_path lv_dm_path lv_parent lv_layout lv_role
		lv_initial_image_sync lv_merging lv_allocation_policy lv_allocation_locked lv_fixed_minor lv_skip_activation
		lv_autoactivation lv_when_full lv_major lv_minor lv_read_ahead lv_size* lv_metadata_size* seg_count origin origin_uuid
		origin_size* lv_ancestors lv_full_ancestors lv_descendants lv_full_descendants raid_write_behind raid_min_recovery_rate
		raid_max_recovery_rate raidintegritymode raidintegrityblocksize move_pv move_pv_uuid mirror_log mirror_log_uuid data_lv
		data_lv_uuid metadata_lv metadata_lv_uuid pool_lv pool_lv_uuid lv_tags lv_profile lv_lockargs lv_time lv_host lv_modules
		writecache_block_size lv_permissions data_percent snap_percent metadata_percent copy_percent sync_percent
		cache_total_blocks cache_used_blocks cache_dirty_blocks cache_read_hits cache_read_misses cache_write_hits
		cache_write_misses writecache_total_blocks writecache_free_blocks vdo_operating_mode vdo_compression_state vdo_used_size*
		vdo_saving_percent lv_check_needed lv_health_status lv_snapshot_invalid lv_attr segtype discards zero thin_id cache_mode`)},
	{"seg", columns(`vg_name vg_uuid lv_name segtype stripes data_stripes reshape_len* reshape_len_le data_copies data_offset
		new_data_offset parity_chunks stripe_size* region_size* chunk_size* thin_count cache_metadata_format cache_mode discards
		zero thin_id transaction_id seg_start* seg_start_pe seg_size* seg_size_pe seg_tags seg_pe_ranges seg_le_ranges
		seg_metadata_le_ranges devices metadata_devices seg_monitor cache_policy cache_settings integrity_settings
		vdo_compression vdo_deduplication vdo_use_metadata_hints vdo_minimum_io_size* vdo_block_map_cache_size*
		vdo_block_map_era_length vdo_use_sparse_index vdo_index_memory_size* vdo_slab_size* vdo_ack_threads vdo_bio_threads
		vdo_bio_rotation vdo_cpu_threads vdo_hash_zone_threads vdo_logical_threads vdo_physical_threads vdo_max_discard
		vdo_write_policy vdo_header_size*`)},
}

// columns reads names, of which those of sizes end in a star.
func columns(names string) []Column {
	var all []Column
	for _, word := range strings.Fields(names) {
		name, size := strings.CutSuffix(word, "*")
		all = append(all, Column{name, size})
	}
	return all
}

// Has says whether the report has a column.
func (r Report) Has(name string) bool {
	return slices.ContainsFunc(r.Columns, func(c Column) bool { return c.Name == name })
}

// Of is the report of that name, which there must be.
func Of(name string) Report {
	return All[slices.IndexFunc(All, func(r Report) bool { return r.Name == name })]
}
