package lvm2

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"lvm2fs/lvm2/internal/text"
)

const (
	sectorSize = 512
	// maxExtentSize is far above what lvm makes (a 32-bit number of sectors).
	maxExtentSize = math.MaxUint32 * sectorSize
	// maxBytes bounds every size and offset, so that sums of a few do not overflow.
	maxBytes   = math.MaxInt64 / 4
	maxSectors = maxBytes / sectorSize
)

// decodeVG makes a VG of the metadata text. What is wrong with the VG or its PVs is an
// error; what is wrong with one LV is kept in that LV, which then refuses to open.
// (docs/format/02-metadata-text.md)
func decodeVG(src []byte) (*VG, error) {
	root, err := text.Parse(src)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	vg, err := decodeRoot(root)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	return vg, nil
}

func decodeRoot(root *text.Section) (*VG, error) {
	contents, err := root.Str("contents")
	if err != nil {
		return nil, err
	}
	if contents != "Text Format Volume Group" {
		return nil, root.Errorf("contents = %q", contents)
	}
	version, err := root.Uint("version", math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if version != 1 {
		return nil, root.Errorf("version = %d", version)
	}
	sections := root.Sections()
	if len(sections) != 1 {
		return nil, root.Errorf("%d sections at the top level, not 1", len(sections))
	}
	vg := &VG{Name: sections[0].Key}
	d := &decoder{s: root}
	vg.Description = d.optStr("description")
	vg.CreationHost = d.optStr("creation_host")
	vg.CreationTime = d.time("creation_time")
	if d.err != nil {
		return nil, d.err
	}
	return vg, decodeVGSection(vg, sections[0])
}

func decodeVGSection(vg *VG, s *text.Section) error {
	d := &decoder{s: s}
	vg.UUID = d.uuid()
	vg.Seqno = d.uint("seqno", math.MaxUint32)
	vg.Format = d.optStr("format")
	vg.Status, vg.Flags, vg.Tags = d.strs("status"), d.strs("flags"), d.strs("tags")
	vg.SystemID = d.optStr("system_id")
	vg.LockType, vg.LockArgs = d.optStr("lock_type"), d.optStr("lock_args")
	vg.ExtentSize = int64(d.uint("extent_size", maxExtentSize/sectorSize)) * sectorSize
	vg.MaxLV, vg.MaxPV = d.optUint("max_lv", math.MaxUint32), d.optUint("max_pv", math.MaxUint32)
	vg.AllocationPolicy, vg.Profile = d.optStr("allocation_policy"), d.optStr("profile")
	vg.MetadataCopies = d.optUint("metadata_copies", math.MaxUint32)
	if d.err != nil {
		return d.err
	}
	if vg.ExtentSize == 0 {
		return s.Errorf("extent_size = 0")
	}

	pvs := s.Section("physical_volumes")
	if pvs == nil {
		return s.Errorf("no physical_volumes")
	}
	names := names{pvs: map[string]*PV{}, lvs: map[string]*LV{}}
	seen := map[UUID]bool{}
	for _, ps := range pvs.Sections() {
		pv, err := decodePV(vg, ps)
		if err != nil {
			return err
		}
		if seen[pv.UUID] {
			return ps.Errorf("second PV with UUID %s", pv.UUID)
		}
		seen[pv.UUID] = true
		vg.PVs = append(vg.PVs, pv)
		names.pvs[pv.Label] = pv
	}

	if lvs := s.Section("logical_volumes"); lvs != nil {
		sections := lvs.Sections()
		for _, ls := range sections {
			lv, err := decodeLV(vg, ls)
			if err != nil {
				return err
			}
			if seen[lv.UUID] {
				return ls.Errorf("second LV with UUID %s", lv.UUID)
			}
			seen[lv.UUID] = true
			vg.LVs = append(vg.LVs, lv)
			names.lvs[lv.Name] = lv
		}
		for i, ls := range sections {
			lv := vg.LVs[i]
			if err := decodeSegments(lv, ls, names); err != nil {
				lv.fail(fmt.Errorf("%w: LV %s: %w", ErrMetadata, lv.Name, err))
			}
		}
	}
	for _, lv := range vg.LVs {
		lv.registerUses()
	}
	vg.limitDepth()
	decodeHistorical(vg, s.Section("historical_logical_volumes"))
	vg.allocate()
	return nil
}

func decodePV(vg *VG, s *text.Section) (*PV, error) {
	d := &decoder{s: s}
	pv := &PV{VG: vg, Label: s.Key}
	pv.UUID = d.uuid()
	pv.DeviceHint = d.optStr("device")
	pv.Status, pv.Flags, pv.Tags = d.strs("status"), d.strs("flags"), d.strs("tags")
	pv.DevSize = d.optSectors("dev_size")
	pv.DataStart = d.sectors("pe_start")
	pv.ExtentCount = d.uint("pe_count", math.MaxUint32)
	pv.BootAreaStart, pv.BootAreaSize = d.optSectors("ba_start"), d.optSectors("ba_size")
	if d.err != nil {
		return nil, d.err
	}
	if pv.ExtentCount > uint64(maxBytes/vg.ExtentSize) {
		return nil, s.Errorf("%d extents of %d bytes are more than a device can hold", pv.ExtentCount, vg.ExtentSize)
	}
	return pv, nil
}

func decodeLV(vg *VG, s *text.Section) (*LV, error) {
	d := &decoder{s: s}
	lv := &LV{VG: vg, Name: s.Key, Major: -1, Minor: -1}
	lv.UUID = d.uuid()
	lv.Status, lv.Flags, lv.Tags = d.strs("status"), d.strs("flags"), d.strs("tags")
	lv.CreationTime, lv.CreationHost = d.time("creation_time"), d.optStr("creation_host")
	lv.AllocationPolicy, lv.Profile = d.optStr("allocation_policy"), d.optStr("profile")
	lv.LockArgs = d.optStr("lock_args")
	lv.ReadAhead = d.optInt("read_ahead", 0)
	if slices.Contains(lv.Status, "FIXED_MINOR") {
		lv.Major, lv.Minor = d.optInt("major", -1), d.optInt("minor", -1)
	}
	return lv, d.err
}

func decodeHistorical(vg *VG, s *text.Section) {
	if s == nil {
		return
	}
	for _, hs := range s.Sections() {
		d := &decoder{s: hs}
		h := &HistoricalLV{VG: vg, Name: hs.Key}
		h.UUID = d.uuid()
		if name := d.optStr("name"); name != "" {
			h.Name = name
		}
		h.CreationTime, h.RemovalTime = d.time("creation_time"), d.time("removal_time")
		h.Origin, h.Descendants = d.optStr("origin"), d.strs("descendants")
		// A history that cannot be read changes nothing that can be.
		if d.err == nil {
			vg.HistoricalLVs = append(vg.HistoricalLVs, h)
		}
	}
}

// names finds what an area of a segment calls a PV or an LV.
type names struct {
	pvs map[string]*PV
	lvs map[string]*LV
}

// decodeSegments fills in lv.Segments, which tile the LV from extent 0.
func decodeSegments(lv *LV, s *text.Section, names names) error {
	count, err := s.Uint("segment_count", math.MaxUint32)
	if err != nil {
		return err
	}
	for _, ss := range s.Sections() {
		seg, err := decodeSegment(lv, ss, names)
		if err != nil {
			return err
		}
		lv.Segments = append(lv.Segments, seg)
	}
	if uint64(len(lv.Segments)) != count {
		return s.Errorf("%d segments, segment_count = %d", len(lv.Segments), count)
	}
	slices.SortStableFunc(lv.Segments, func(a, b *Segment) int { return cmp.Compare(a.StartExtent, b.StartExtent) })
	var end uint64
	for _, seg := range lv.Segments {
		if seg.StartExtent != end {
			return s.Errorf("a segment starts at extent %d, the one before it ends at %d", seg.StartExtent, end)
		}
		end += seg.ExtentCount
	}
	if end > uint64(maxBytes/lv.VG.ExtentSize) {
		return s.Errorf("%d extents of %d bytes are more than a volume can hold", end, lv.VG.ExtentSize)
	}
	lv.extentCount = end
	return nil
}

// allocate works out which extents of each PV are in use, and by how many.
func (vg *VG) allocate() {
	type run struct {
		start, end uint64
		lv         *LV
	}
	runs := map[*PV][]run{}
	for _, lv := range vg.LVs {
		for _, seg := range lv.Segments {
			for _, a := range seg.areas() {
				if a.PV != nil {
					runs[a.PV] = append(runs[a.PV], run{a.Extent, a.Extent + seg.areaExtents(), lv})
				}
			}
		}
	}
	for pv, rs := range runs {
		slices.SortFunc(rs, func(a, b run) int { return cmp.Compare(a.start, b.start) })
		last := run{}
		for _, r := range rs {
			if r.end > pv.ExtentCount {
				r.lv.fail(fmt.Errorf("%w: LV %s uses extents %d to %d of %s, which has %d", ErrMetadata, r.lv.Name, r.start, r.end-1, pv.Label, pv.ExtentCount))
			}
			if r.start < last.end {
				err := fmt.Errorf("%w: LVs %s and %s both use extent %d of %s", ErrMetadata, last.lv.Name, r.lv.Name, r.start, pv.Label)
				last.lv.fail(err)
				r.lv.fail(err)
			}
			if r.end > last.end {
				pv.allocated += r.end - max(r.start, last.end)
				last = r
			}
		}
		pv.allocated = min(pv.allocated, pv.ExtentCount)
	}
}

// decoder reads keys of a section and keeps the first error.
type decoder struct {
	s   *text.Section
	err error
}

func decode[T any](d *decoder, v T, err error) T {
	if d.err == nil {
		d.err = err
	}
	return v
}

func (d *decoder) str(key string) string {
	v, err := d.s.Str(key)
	return decode(d, v, err)
}

func (d *decoder) optStr(key string) string {
	v, err := d.s.OptStr(key)
	return decode(d, v, err)
}

func (d *decoder) strs(key string) []string {
	v, err := d.s.Strs(key)
	return decode(d, v, err)
}

func (d *decoder) uint(key string, max uint64) uint64 {
	v, err := d.s.Uint(key, max)
	return decode(d, v, err)
}

func (d *decoder) optUint(key string, max uint64) uint64 {
	v, err := d.s.OptUint(key, 0, max)
	return decode(d, v, err)
}

func (d *decoder) optInt(key string, def int64) int64 {
	v, err := d.s.OptInt(key, def)
	return decode(d, v, err)
}

func (d *decoder) flag(key string) bool { return d.optUint(key, math.MaxInt64) != 0 }

// sectors reads a number of sectors as bytes.
func (d *decoder) sectors(key string) int64 { return int64(d.uint(key, maxSectors)) * sectorSize }

func (d *decoder) optSectors(key string) int64 {
	return int64(d.optUint(key, maxSectors)) * sectorSize
}

func (d *decoder) uuid() UUID {
	s := d.str("id")
	if d.err != nil {
		return ""
	}
	u, err := ParseUUID(s)
	if err != nil {
		err = d.s.Errorf("id: %w", err)
	}
	return decode(d, u, err)
}

// time reads a Unix time. Old 32-bit builds of lvm wrote nonsense at times, which is
// no reason to refuse a VG.
func (d *decoder) time(key string) time.Time {
	v, err := d.s.OptInt(key, 0)
	if err != nil || v <= 0 {
		return time.Time{}
	}
	return time.Unix(v, 0)
}
