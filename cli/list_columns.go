package cli

import (
	"slices"
	"strings"
)

// report is one of lvm's reports: what its rows are of, and their fields by lvm's names, in lvm's order.
type report struct {
	name    string // in --json: vg, pv, lv, seg
	columns []column
}

type column struct {
	name string
	size bool // a number of bytes; all other fields are text as lvm prints it
}

// allReports are all that list knows. docs/list.schema.json says the same.
var allReports = []report{
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
func columns(names string) []column {
	var all []column
	for _, word := range strings.Fields(names) {
		name, size := strings.CutSuffix(word, "*")
		all = append(all, column{name, size})
	}
	return all
}

func (r report) has(name string) bool {
	return slices.ContainsFunc(r.columns, func(c column) bool { return c.name == name })
}

func reportOf(name string) report {
	return allReports[slices.IndexFunc(allReports, func(r report) bool { return r.name == name })]
}

// defaultColumns are those that +COLUMN adds to.
var defaultColumns = []string{"lv_name", "vg_name", "lv_attr", "lv_size"}

// parseColumns reads the values of -o, lists of columns with commas, and refuses a column that no report has.
func parseColumns(values []string) ([]string, error) {
	var chosen []string
	for _, value := range values {
		value, more := strings.CutPrefix(value, "+")
		if more && chosen == nil {
			chosen = slices.Clone(defaultColumns)
		}
		for _, name := range strings.Split(value, ",") {
			if !slices.ContainsFunc(allReports, func(r report) bool { return r.has(name) }) {
				return nil, usagef("-o %s: no such column; there are: %s", name, strings.Join(knownColumns(), ", "))
			}
			chosen = append(chosen, name)
		}
	}
	return chosen, nil
}

func knownColumns() []string {
	var names []string
	for _, r := range allReports {
		for _, c := range r.columns {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rowsOf says what a table of columns has a row for, and which reports its fields come from. As with lvs, that is an LV if
// there are columns of LVs, and a segment if one is of segments alone; fields of the VG go with everything.
func rowsOf(chosen []string) (string, []report, error) {
	for _, kind := range []struct {
		of   string
		from []string
	}{{"vg", []string{"vg"}}, {"pv", []string{"pv", "vg"}}, {"lv", []string{"lv", "vg"}}, {"seg", []string{"seg", "lv", "vg"}}} {
		var from []report
		for _, name := range kind.from {
			from = append(from, reportOf(name))
		}
		if !slices.ContainsFunc(chosen, func(name string) bool {
			return !slices.ContainsFunc(from, func(r report) bool { return r.has(name) })
		}) {
			return kind.of, from, nil
		}
	}
	return "", nil, usagef("-o %s: columns of PVs and of LVs do not fit into one table", strings.Join(chosen, ","))
}
