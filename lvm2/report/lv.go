package report

import (
	"iter"
	"strconv"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// The fields of lvs. What they mean says lvm: lvs -o help.

// Rows makes the rows of a report of many LVs.
type Rows struct {
	Cut       bool // some ancestors and descendants are left out, since there are too many
	relatives int  // how many have been named
}

// LVRow is a row of lvs.
func (l *Rows) LVRow(lv *lvm2.LV) Row {
	r := make(Row, 0, 48)
	r.text("vg_name", lv.VG.Name)
	r.text("vg_uuid", lv.VG.UUID.String())
	r.text("lv_uuid", lv.UUID.String())
	r.text("lv_name", LVName(lv.LV))
	r.text("lv_full_name", lv.VG.Name+"/"+lv.Name)
	r.flag("lv_path", "/dev/"+lv.VG.Name+"/"+lv.Name, lv.Listed() && lv.ThinPool() == nil)
	r.text("lv_dm_path", "/dev/mapper/"+mangle(lv.VG.Name)+"-"+mangle(lv.Name))
	r.text("lv_parent", LVName(lv.Parent()))
	r.list("lv_layout", Layout(lv))
	r.list("lv_role", Role(lv))
	r.flag("lv_initial_image_sync", "initial image sync", lv.InitialSync())
	r.flag("lv_merging", "merging", lv.Merging())
	policy := lv.AllocationPolicy
	if policy == "" {
		policy = "inherit"
	}
	r.text("lv_allocation_policy", allocationPolicy(policy))
	r.flag("lv_allocation_locked", "allocation locked", lv.AllocationLocked())
	r.flag("lv_fixed_minor", "fixed minor", lv.FixedMinor())
	r.flag("lv_skip_activation", "skip activation", lv.SkipActivation())
	r.flag("lv_autoactivation", "enabled", lv.AutoActivation())
	r.text("lv_when_full", lv.WhenFull())
	r.text("lv_major", strconv.FormatInt(lv.Major, 10))
	r.text("lv_minor", strconv.FormatInt(lv.Minor, 10))
	r.text("lv_read_ahead", readAhead(lv.ReadAhead))
	r.size("lv_size", lv.Size())
	r.sizeUnlessZero("lv_metadata_size", lv.MetadataSize())
	r.count("seg_count", len(lv.Segments))
	r.text("origin", LVName(lv.Origin()))
	r.text("origin_uuid", lvUUID(lv.Origin()))
	r.sizeUnlessZero("origin_size", lv.OriginSize())
	r.list("lv_ancestors", l.family(lv.Ancestors(false)))
	r.list("lv_full_ancestors", l.family(lv.Ancestors(true)))
	r.list("lv_descendants", l.family(lv.Descendants(false)))
	r.list("lv_full_descendants", l.family(lv.Descendants(true)))
	r.raid(lv)
	if pv := lv.MoveSource(); pv != nil {
		r.text("move_pv", PVName(lv.VG.PVOf(pv)))
		r.text("move_pv_uuid", pv.UUID.String())
	}
	r.reference("mirror_log", lv.MirrorLog())
	r.reference("data_lv", lv.Data())
	r.reference("metadata_lv", lv.Metadata())
	r.reference("pool_lv", lv.Pool())
	r.text("lv_tags", Tags(lv.Tags))
	r.text("lv_profile", lv.Profile)
	r.text("lv_lockargs", lv.LockArgs)
	if !lv.CreationTime.IsZero() {
		r.text("lv_time", lv.CreationTime.Local().Format("2006-01-02 15:04:05 -0700"))
		r.text("lv_host", lv.CreationHost)
	}
	r.list("lv_modules", lv.Modules())
	r.text("writecache_block_size", orMinusOne(lv.WritecacheBlockSize()))
	r.flag("lv_permissions", permissions(lv.Writable()), lv.HasDevice())
	r.usage(lv)
	r.flag("lv_check_needed", "check needed", lv.ThinPool() != nil && lv.NeedsCheck())
	r.text("lv_health_status", HealthStatus(lv))
	r.flag("lv_snapshot_invalid", "snapshot invalid", lv.InvalidSnapshot())
	r.text("lv_attr", LVAttr(lv))
	if len(lv.Segments) > 0 {
		r.firstSegment(lv.Segments[0])
	}
	return r
}

// usage adds how full the LV is. lvs gives some shares under two names.
func (r *Row) usage(lv *lvm2.LV) {
	u := lv.Usage()
	percent := func(p *lvm2.Share, names ...string) {
		for _, name := range names {
			if p != nil {
				r.text(name, Percent(*p))
			}
		}
	}
	percent(u.Data, "data_percent", "snap_percent")
	percent(u.Metadata, "metadata_percent")
	percent(u.Copied, "copy_percent", "sync_percent")
	if c := u.Cache; c != nil {
		r.number("cache_total_blocks", c.Total)
		r.number("cache_used_blocks", c.Used)
		r.number("cache_dirty_blocks", c.Dirty)
		r.number("cache_read_hits", c.ReadHits)
		r.number("cache_read_misses", c.ReadMisses)
		r.number("cache_write_hits", c.WriteHits)
		r.number("cache_write_misses", c.WriteMisses)
	}
	if w := u.Writecache; w != nil {
		r.number("writecache_total_blocks", w.Total)
		r.number("writecache_free_blocks", w.Free)
	}
	if v := u.VDO; v != nil {
		// A pool in any other mode has not been opened.
		r.text("vdo_operating_mode", "normal")
		r.text("vdo_compression_state", map[bool]string{true: "online", false: "offline"}[lv.Segments[0].VDOPool().Compression])
		r.size("vdo_used_size", int64(v.Data+v.Overhead)*4096)
		r.text("vdo_saving_percent", Percent(lvm2.Share{Part: v.Logical - min(v.Logical, v.Data), Whole: v.Logical}))
	}
}

// raid adds what lvs knows of a RAID, and of the integrity of its legs.
func (r *Row) raid(lv *lvm2.LV) {
	if m := lv.RAID(); m != nil {
		for _, f := range []struct {
			name  string
			value uint64
		}{
			{"raid_write_behind", m.WriteBehind},
			{"raid_min_recovery_rate", m.MinRecoveryRate},
			{"raid_max_recovery_rate", m.MaxRecoveryRate},
		} {
			if f.value > 0 {
				r.number(f.name, f.value)
			}
		}
	}
	integrity := lv.Integrity()
	if integrity == nil {
		r.text("raidintegrityblocksize", "-1")
		return
	}
	switch integrity.Mode {
	case "J":
		r.text("raidintegritymode", "journal")
	case "B":
		r.text("raidintegritymode", "bitmap")
	case "D":
		r.text("raidintegritymode", "direct")
	case "R":
		r.text("raidintegritymode", "recovery")
	}
	r.text("raidintegrityblocksize", strconv.FormatInt(integrity.BlockSize, 10))
}

// firstSegment adds what lvs shows of an LV's segments where all are alike.
func (r *Row) firstSegment(seg *metadata.Segment) {
	r.text("segtype", seg.TypeName())
	r.thin(seg)
	r.text("cache_mode", seg.CacheSettings().Mode)
}

// reference adds an LV's name and UUID, if there is one.
func (r *Row) reference(name string, lv *metadata.LV) {
	r.text(name, LVName(lv))
	r.text(name+"_uuid", lvUUID(lv))
}

// MostRelatives bounds the names of ancestors and descendants in a report. A chain of n snapshots has n² of them.
const MostRelatives = 1 << 20

// family names LVs; none where that would exceed MostRelatives.
func (l *Rows) family(lvs iter.Seq[*metadata.LV]) []string {
	var out []string
	for lv := range lvs {
		if l.relatives == MostRelatives {
			l.Cut = true
			return nil
		}
		l.relatives++
		out = append(out, lv.Name)
	}
	return out
}

// mangle is a name as a part of a device-mapper name, whose parts are joined by a hyphen.
// (docs/format/02-metadata-text.md, section 9)
func mangle(name string) string { return strings.ReplaceAll(name, "-", "--") }

func readAhead(sectors int64) string {
	switch {
	case sectors < 0:
		return "0"
	case sectors == 0:
		return "auto"
	}
	return strconv.FormatInt(sectors*512, 10)
}

func orMinusOne(n int64) string {
	if n == 0 {
		return "-1"
	}
	return strconv.FormatInt(n, 10)
}
