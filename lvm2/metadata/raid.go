package metadata

import (
	"math"
	"strings"

	"lvm2fs/raid"
)

// RAID is the mapping of the raid types.
//
//	leg 0   | rmeta 0: superblock, bitmap |   | rimage 0: data |
//	leg 1   | rmeta 1                     |   | rimage 1       |
type RAID struct {
	Legs                             []RAIDLeg
	StripeSize                       int64  // bytes; 0 for raid1
	RegionSize                       int64  // bytes; 0 if not recorded
	DataCopies                       uint64 // of raid10; 0 if not recorded
	WriteBehind                      uint64
	MinRecoveryRate, MaxRecoveryRate uint64 // KiB/s
}

// RAIDLeg is one leg of a RAID: its data, and the LV that holds its superblock and
// bitmap.
type RAIDLeg struct {
	Meta *LV // nil for raid0, and for a leg without
	Data *LV
}

// RAIDType is one of the segment types of RAIDs.
type RAIDType struct {
	Level  raid.Level
	Layout uint32
	// Name is lvm's lv_layout, behind "raid": the level, and the variant where lvm tells it.
	Name []string
}

// raidTypes are the levels and layouts of the segment types.
// (docs/format/03-mapping-linear-striped-raid.md, section 4.1)
var raidTypes = map[string]RAIDType{
	"raid0":       {raid.RAID0, 0, []string{"raid0"}},
	"raid0_meta":  {raid.RAID0, 0, nil},
	"raid1":       {raid.RAID1, 0, []string{"raid1"}},
	"raid4":       {raid.RAID5, raid.ParityFirst, []string{"raid4"}},
	"raid5":       {raid.RAID5, raid.LeftSymmetric, []string{"raid5", "raid5_ls"}},
	"raid5_n":     {raid.RAID5, raid.ParityLast, []string{"raid5"}},
	"raid5_la":    {raid.RAID5, raid.LeftAsymmetric, []string{"raid5", "raid5_la"}},
	"raid5_ra":    {raid.RAID5, raid.RightAsymmetric, []string{"raid5", "raid5_ra"}},
	"raid5_ls":    {raid.RAID5, raid.LeftSymmetric, []string{"raid5", "raid5_ls"}},
	"raid5_rs":    {raid.RAID5, raid.RightSymmetric, []string{"raid5", "raid5_rs"}},
	"raid6":       {raid.RAID6, raid.ZeroRestart, []string{"raid6", "raid6_zr"}},
	"raid6_zr":    {raid.RAID6, raid.ZeroRestart, []string{"raid6", "raid6_zr"}},
	"raid6_nr":    {raid.RAID6, raid.NRestart, []string{"raid6", "raid6_nr"}},
	"raid6_nc":    {raid.RAID6, raid.NContinue, []string{"raid6", "raid6_nc"}},
	"raid6_n_6":   {raid.RAID6, raid.ParityLast, []string{"raid6"}},
	"raid6_la_6":  {raid.RAID6, raid.LeftAsymmetric6, []string{"raid6"}},
	"raid6_ra_6":  {raid.RAID6, raid.RightAsymmetric6, []string{"raid6"}},
	"raid6_ls_6":  {raid.RAID6, raid.LeftSymmetric6, []string{"raid6"}},
	"raid6_rs_6":  {raid.RAID6, raid.RightSymmetric6, []string{"raid6"}},
	"raid10":      {raid.RAID10, raid.Near2, []string{"raid10"}},
	"raid10_near": {raid.RAID10, raid.Near2, []string{"raid10"}},
}

var KindRAID = &Kind{
	Modules: []string{"raid"}, Letter: 'r', Target: 'r', Synced: true, Monitored: true,
	// They say what lvm2 has asked for of a reshape, on the RAID and on legs that come or go; what has come of
	// it is in the superblocks. (docs/format/03-mapping-linear-striped-raid.md, section 8)
	Flags:  []string{"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE"},
	decode: decodeRAID,
}

// RAIDTypeOf is false for other segment types, and for a variant of RAID that is unknown here.
func RAIDTypeOf(typ string) (t RAIDType, known bool) {
	t, known = raidTypes[typ]
	return t, known
}

// RAIDType is that of the segment; see [RAIDTypeOf].
func (seg *Segment) RAIDType() (RAIDType, bool) { return RAIDTypeOf(seg.Type) }

// raidLevel is the segment type without its variant: "raid5". It is "" for other types.
func (seg *Segment) raidLevel() string {
	if !Is[*RAID](seg) {
		return ""
	}
	level, _, _ := strings.Cut(seg.Type, "_")
	return level
}

// parityLegs is how many legs hold parity. The variant may be unknown.
func (seg *Segment) parityLegs() int {
	return map[string]int{"raid4": 1, "raid5": 1, "raid6": 2}[seg.raidLevel()]
}

// reshapeSpace is the number of extents of a RAID that hold no data of the LV: those that
// a reshape needs in each leg that is not parity.
// (docs/format/03-mapping-linear-striped-raid.md, section 4.2)
func (seg *Segment) reshapeSpace() uint64 {
	m, ok := seg.Mapping.(*RAID)
	if !ok {
		return 0
	}
	legs := uint64(len(m.Legs))
	return seg.ReshapeCount * (legs - min(legs, uint64(seg.parityLegs())))
}

// DataExtents is the number of extents that hold data of the LV: all but the space that a reshape needs.
func (seg *Segment) DataExtents() uint64 {
	return seg.ExtentCount - min(seg.ExtentCount, seg.reshapeSpace())
}

func decodeRAID(d *segmentDecoder, _ *Segment) Mapping {
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

func (m *RAID) references() []Reference {
	refs := make([]Reference, 0, 2*len(m.Legs))
	for _, leg := range m.Legs {
		refs = append(refs,
			Reference{Area: Area{LV: leg.Meta}, Role: RoleLegMetadata, Hidden: true},
			Reference{Area: Area{LV: leg.Data}, Role: RoleLeg})
	}
	return refs
}

// Sizes implements [Mapping].
func (m *RAID) Sizes() Sizes { return Sizes{Region: m.RegionSize, Stripe: m.StripeSize} }

func (m *RAID) decides() []any {
	return []any{len(m.Legs), m.StripeSize, m.RegionSize, m.DataCopies}
}
