package metadata

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
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

// Decode makes a VG of the metadata text. It fails, with ErrMetadata, only if what makes it a VG is lacking. What is
// wrong with one PV or LV is kept in that one, which is then not to be used. What else is odd is in the VG's
// oddities.
// (docs/format/02-metadata-text.md)
func Decode(src []byte) (*VG, error) {
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
	values := root.OnlyValues() // a VG may be called contents
	contents, err := values.Str("contents")
	if err != nil {
		return nil, err
	}
	if contents != "Text Format Volume Group" {
		return nil, root.Errorf("contents = %q", contents)
	}
	version, err := values.Uint("version", math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if version != 1 {
		return nil, root.Errorf("version = %d", version)
	}
	sections := root.Sections()
	if len(sections) == 0 {
		return nil, root.Errorf("no section for a VG")
	}
	vg := &VG{Name: sections[0].Key}
	for _, other := range sections[1:] {
		vg.damaged(other.Errorf("a second section at the top level"))
	}
	d := &decoder{s: values, tolerate: vg.damaged}
	vg.Description = d.optStr("description")
	vg.CreationHost = d.optStr("creation_host")
	vg.CreationTime = d.time("creation_time")
	vg.repeated(values)
	return vg, decodeVGSection(vg, sections[0])
}

func decodeVGSection(vg *VG, s *text.Section) error {
	d := &decoder{s: s}
	vg.UUID = d.uuid()
	vg.Seqno = d.uint("seqno", math.MaxUint32)
	vg.Status = d.strs("status")
	vg.ExtentSize = int64(d.uint("extent_size", maxExtentSize/sectorSize)) * sectorSize
	if d.err != nil {
		return d.err
	}
	if vg.ExtentSize == 0 {
		return s.Errorf("extent_size = 0")
	}
	if s.Section("physical_volumes") == nil {
		return s.Errorf("no section physical_volumes")
	}
	vg.repeated(s)
	if vg.Status == nil {
		vg.damaged(s.Errorf("no status"))
	}
	decodeVGProperties(vg, s)
	for _, key := range []string{"logical_volumes", "historical_logical_volumes"} {
		if s.Has(key) && s.Section(key) == nil {
			vg.damaged(s.Errorf("%s is a value, not a section: what is in it is not known", key))
		}
	}
	for _, sub := range s.Sections() {
		switch sub.Key {
		case "physical_volumes", "logical_volumes", "historical_logical_volumes":
		default:
			vg.damaged(sub.Errorf("a section that is unknown here: there may be more in the VG than is shown"))
		}
	}
	decodeVolumes(vg, s)
	for _, lv := range vg.LVs {
		lv.registerUses()
	}
	vg.sortBottomUp()
	vg.findBeneath()
	vg.limitDepth()
	decodeHistorical(vg, s.Section("historical_logical_volumes"))
	vg.allocate()
	vg.byName = sync.OnceValue(vg.findNames)
	vg.history = sync.OnceValue(vg.findHistory)
	vg.modules = sync.OnceValue(vg.findModules)
	for i, lv := range vg.LVs {
		lv.fileName = fileName(lv, i)
	}
	return nil
}

// decodeVGProperties reads what no LV's bytes depend on.
func decodeVGProperties(vg *VG, s *text.Section) {
	d := &decoder{s: s, tolerate: vg.damaged}
	vg.Format = d.optStr("format")
	vg.Flags, vg.Tags = d.strs("flags"), d.strs("tags")
	vg.SystemID = d.optStr("system_id")
	vg.LockType, vg.LockArgs = d.optStr("lock_type"), d.optStr("lock_args")
	vg.MaxLV, vg.MaxPV = d.optUint("max_lv", math.MaxUint32), d.optUint("max_pv", math.MaxUint32)
	vg.AllocationPolicy, vg.Profile = allocationPolicy(d.optStr("allocation_policy")), d.optStr("profile")
	vg.MetadataCopies = d.optUint("metadata_copies", math.MaxUint32)
}

func decodeVolumes(vg *VG, s *text.Section) {
	names := names{pvs: map[string]*PV{}, lvs: map[string]*LV{}}
	decodePVs(vg, s.Section("physical_volumes"), names)
	lvs := s.Section("logical_volumes")
	if lvs == nil {
		return
	}
	decodeLVs(vg, lvs, names)
	for i, ls := range lvs.Sections() {
		lv := vg.LVs[i]
		if err := decodeSegments(lv, ls, names); err != nil {
			lv.fail(err)
		}
	}
}

// decodePVs fails PVs that cannot be told apart: each of them, since nothing tells which is meant.
func decodePVs(vg *VG, s *text.Section, names names) {
	vg.strayValues(s)
	byUUID := map[UUID]*PV{}
	for _, ps := range s.Sections() {
		pv := decodePV(vg, ps)
		if other := byUUID[pv.UUID]; other != nil && pv.UUID != "" {
			for _, p := range []*PV{other, pv} {
				p.fail(ps.Errorf("%s and %s have the same UUID, %s", other.Label, pv.Label, pv.UUID))
			}
		}
		if other := names.pvs[pv.Label]; other != nil {
			for _, p := range []*PV{other, pv} {
				p.fail(ps.Errorf("a second PV of this name"))
			}
		}
		vg.PVs = append(vg.PVs, pv)
		byUUID[pv.UUID], names.pvs[pv.Label] = pv, pv
	}
}

// decodeLVs fails LVs that cannot be told apart: each of them, since nothing tells which is meant.
func decodeLVs(vg *VG, s *text.Section, names names) {
	vg.strayValues(s)
	byUUID := map[UUID]*LV{}
	for _, ls := range s.Sections() {
		lv := decodeLV(vg, ls)
		if other := byUUID[lv.UUID]; other != nil && lv.UUID != "" {
			for _, l := range []*LV{other, lv} {
				l.fail(ls.Errorf("%s and %s have the same UUID, %s", other.Name, lv.Name, lv.UUID))
			}
		}
		if other := names.lvs[lv.Name]; other != nil {
			for _, l := range []*LV{other, lv} {
				l.fail(ls.Errorf("a second LV of this name"))
			}
		}
		vg.LVs = append(vg.LVs, lv)
		byUUID[lv.UUID], names.lvs[lv.Name] = lv, lv
	}
}

// strayValues notes what is a value where a section is expected, each the description of a PV or LV.
func (vg *VG) strayValues(s *text.Section) {
	for _, key := range s.Keys() {
		vg.damaged(s.Errorf("%q is a value, not a section: what it should describe is not known", key))
	}
}

func decodePV(vg *VG, s *text.Section) *PV {
	d := &decoder{s: s}
	pv := &PV{VG: vg, Label: s.Key}
	pv.UUID = d.uuid()
	pv.Status, pv.Flags = d.strs("status"), d.strs("flags")
	pv.DevSize = d.optSectors("dev_size")
	pv.DataStart = d.sectors("pe_start")
	pv.ExtentCount = d.uint("pe_count", math.MaxUint32)
	switch {
	case d.err != nil:
		pv.fail(d.err)
	case pv.Status == nil:
		pv.fail(s.Errorf("no status"))
	case pv.ExtentCount > uint64(maxBytes/vg.ExtentSize):
		pv.fail(s.Errorf("%d extents of %d bytes are more than a device can hold", pv.ExtentCount, vg.ExtentSize))
	}
	if pv.broken != nil {
		pv.ExtentCount = 0
	}
	properties := &decoder{s: s, tolerate: vg.damaged}
	pv.DeviceHint, pv.Tags = properties.optStr("device"), properties.strs("tags")
	pv.BootAreaStart, pv.BootAreaSize = properties.optSectors("ba_start"), properties.optSectors("ba_size")
	vg.repeated(s)
	return pv
}

func decodeLV(vg *VG, s *text.Section) *LV {
	d := &decoder{s: s}
	lv := &LV{VG: vg, Name: s.Key, Major: -1, Minor: -1}
	lv.UUID = d.uuid()
	lv.Status = d.strs("status")
	switch {
	case d.err != nil:
		lv.fail(d.err)
	case lv.Status == nil:
		lv.fail(s.Errorf("no status"))
	}
	properties := &decoder{s: s, tolerate: vg.damaged}
	lv.Flags, lv.Tags = properties.strs("flags"), properties.strs("tags")
	lv.CreationTime, lv.CreationHost = properties.time("creation_time"), properties.optStr("creation_host")
	lv.AllocationPolicy, lv.Profile = allocationPolicy(properties.optStr("allocation_policy")), properties.optStr("profile")
	lv.LockArgs = properties.optStr("lock_args")
	lv.ReadAhead = properties.optInt("read_ahead", 0)
	if slices.Contains(lv.Status, "FIXED_MINOR") {
		// The kernel chooses the major number, so lvm2 takes 0 for one that is not there.
		lv.Major, lv.Minor = properties.optInt("major", 0), properties.optInt("minor", -1)
	}
	return lv
}

// allocationPolicy is a policy as lvm2 takes it: "next free" is what normal was called in 2003, and one that it does
// not know counts as none. Nothing that is read depends on it.
func allocationPolicy(name string) string {
	switch name {
	case "contiguous", "cling", "cling_by_tags", "normal", "anywhere", "inherit":
		return name
	case "next free":
		return "normal"
	}
	return ""
}

func decodeHistorical(vg *VG, s *text.Section) {
	if s == nil {
		return
	}
	vg.strayValues(s)
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
		} else {
			vg.damaged(d.err)
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
	for _, ss := range s.Sections() {
		seg, broken := decodeSegment(lv, ss, names)
		if broken != nil || seg.Mapping == nil {
			lv.misread(seg, ss, names)
		}
		if broken == nil {
			lv.Segments = append(lv.Segments, seg)
		}
		err = cmp.Or(err, broken)
	}
	if err != nil {
		return err
	}
	if uint64(len(lv.Segments)) != count || count == 0 {
		return s.Errorf("%d segments, segment_count = %d", len(lv.Segments), count)
	}
	// Segments may share a name, which means nothing; a key that occurs twice is looked up.
	for _, r := range s.Repeats() {
		if s.Section(r.Key) == nil {
			lv.VG.repeat(r)
		}
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
			for _, a := range seg.refs {
				if a.PV != nil {
					runs[a.PV] = append(runs[a.PV], run{a.Extent, a.Extent + seg.AreaExtents(), lv})
				}
			}
		}
	}
	for _, pv := range vg.PVs {
		if pv.broken != nil {
			continue // whoever uses it cannot be read
		}
		rs := runs[pv]
		slices.SortStableFunc(rs, func(a, b run) int { return cmp.Compare(a.start, b.start) })
		last := run{}
		for _, r := range rs {
			if r.end > pv.ExtentCount {
				r.lv.fail(fmt.Errorf("it uses extents %d to %d of %s, which has %d", r.start, r.end-1, pv.Label, pv.ExtentCount))
			}
			if r.start < last.end {
				vg.contested = cmp.Or(vg.contested, pv)
				err := fmt.Errorf("LVs %s and %s both use extent %d of %s", last.lv.Name, r.lv.Name, r.start, pv.Label)
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
	s        *text.Section
	err      error
	tolerate func(error) // takes the errors instead, if it is not nil
}

func decode[T any](d *decoder, v T, err error) T {
	switch {
	case d.tolerate != nil && err != nil:
		d.tolerate(err)
	case d.err == nil:
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
