package metadata

import (
	"math"
	"slices"
	"strings"

	"lvm2fs/lvm2/internal/text"
)

// Segment is a run of an LV's extents with one mapping.
type Segment struct {
	LV          *LV
	StartExtent uint64 // logical, of the LV
	ExtentCount uint64
	// ReshapeCount is the number of extents of reshape space in each leg.
	ReshapeCount uint64
	// Type is the segment type as in the metadata, without flags: "striped",
	// "raid5_ls", "thin-pool", or anything, if it is one of a later lvm2.
	Type string
	// TypeFlags are the +FLAGs behind the type. Whoever does not know them all
	// must refuse the LV.
	TypeFlags []string
	Tags      []string
	// Mapping holds the keys that belong to the type: *Striped (of linear too),
	// *Mirror, *RAID, *Snapshot, *ThinPool, *Thin, *CachePool, *Cache, *Writecache,
	// *Integrity, *VDOPool, *VDO, *Error, *Zero; nil for types unknown here.
	Mapping Mapping

	kind *Kind
	refs []Reference
}

// Mapping is where the extents of a segment lie, by its type.
type Mapping interface {
	// references are the LVs and PVs that the segment refers to, each for every role it has.
	references() []Reference
	// decides is what else decides where the bytes of the segment lie. It goes into fingerprints that are kept, so it
	// stays the same, and in the same order.
	decides() []any
	// Sizes are those that reports tell of segments of many types.
	Sizes() Sizes
}

// Sizes are in bytes; 0 for what the type has not.
type Sizes struct {
	Chunk  int64 // the blocks that a snapshot, a thin pool or a cache deals in
	Region int64 // what a mirror or RAID keeps in sync together
	Stripe int64 // that lie on one stripe or leg before the next follows
}

// noSizes are the Sizes of most types.
type noSizes struct{}

func (noSizes) Sizes() Sizes { return Sizes{} }

// Area is where a part of a segment lies: extents of a PV or of another LV of the VG.
type Area struct {
	PV     *PV // or
	LV     *LV
	Extent uint64 // the first
}

// Reference is a PV or LV that a segment refers to.
type Reference struct {
	Area
	Role Role
	// Optional: the segment is whole without it. A thin LV got its blocks from the one it was made from, which
	// may go.
	Optional bool
	// Beside: lvm2 does not count it as what lies beneath: a thin pool, the origin of a snapshot, what is kept
	// beside the data.
	Beside bool
	// Hidden: lvm2 does not show it as one of the areas that the segment is made of.
	Hidden bool
}

// Role is what an LV or PV is to a segment that refers to it.
type Role int

// The roles. Which pool or origin it is, the kind of the segment says.
const (
	RoleLeg            Role = iota // of a stripe set, a mirror or a RAID
	RoleLegMetadata                // the superblock and bitmap of a leg of a RAID
	RoleLog                        // of a mirror
	RoleOrigin                     // of a snapshot, thin snapshot, cache or integrity layer
	RoleExternalOrigin             // whose blocks show through where a thin LV has none
	RoleMergeTarget                // that a thin snapshot is to be merged into
	RoleStore                      // the COW store of a snapshot
	RolePool                       // the pool, or the cachevol, that an LV uses
	RoleData                       // of a pool
	RoleMetadata                   // of a pool; the checksums of an integrity layer
)

// Kind is what segments of one type have in common.
type Kind struct {
	// Layout is lvm's lv_layout; nil where the segments of an LV decide together.
	Layout []string
	// Modules are the modules of the kernel that it takes.
	Modules []string
	// Letter is the character of lv_attr for what the LV is, Target that for its target; 0 for none.
	Letter, Target byte
	// Flags are the +FLAGs behind the type that are understood.
	Flags []string
	// Pool: it holds what other LVs show, and nothing that a user could read.
	Pool bool
	// Relation: it only ties two LVs to each other.
	Relation bool
	// NoDevice: lvm2 makes no device of its LV's name.
	NoDevice bool
	// Synced: its legs are made equal at first.
	Synced bool
	// Monitored: dmeventd would watch it.
	Monitored bool
	// Plain: it is nothing but extents that lie elsewhere, or nowhere.
	Plain bool
	// Stateless: the metadata text alone tells where its bytes are.
	Stateless bool
	// Virtual: it lies on nothing of its own.
	Virtual bool

	decode func(*segmentDecoder, *Segment) Mapping
}

// kinds are the segment types that are known here.
// (docs/format/02-metadata-text.md, section 6)
var kinds = map[string]*Kind{
	"striped": stripedKind, "linear": stripedKind,
	"error": errorKind, "zero": zeroKind,
	"mirror":    KindMirror,
	"snapshot":  snapshotKind,
	"thin-pool": KindThinPool, "thin": thinKind,
	"cache-pool": KindCachePool, "cache": KindCache,
	"writecache": KindWritecache,
	"integrity":  KindIntegrity,
	"vdo-pool":   KindVDOPool, "vdo": vdoKind,
}

// kindOf is nil for a type that is unknown here.
func kindOf(typ string) *Kind {
	if strings.HasPrefix(typ, "raid") {
		return KindRAID
	}
	return kinds[typ]
}

// Is says whether the segment is of a kind that has that mapping.
func Is[M Mapping](seg *Segment) bool {
	_, ok := seg.Mapping.(M)
	return ok
}

// Kind is what segments of the type have in common. Of a type that is unknown here it is all zeros.
func (seg *Segment) Kind() *Kind { return seg.kind }

// References are the LVs and PVs that the segment refers to, each for every role it has. Not to be changed.
func (seg *Segment) References() []Reference { return seg.refs }

// beneath are the LVs that a segment refers to.
func (seg *Segment) beneath(yield func(Reference) bool) {
	for _, r := range seg.refs {
		if r.LV != nil && !yield(r) {
			return
		}
	}
}

// decodeSegment reads the keys that all segments have and those of its type.
// (docs/format/02-metadata-text.md, section 6)
func decodeSegment(lv *LV, s *text.Section, names names) (*Segment, error) {
	d := &segmentDecoder{decoder: decoder{s: s}, names: names}
	seg := &Segment{LV: lv, kind: &Kind{}}
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
	if kind := kindOf(typ); kind != nil {
		seg.kind = kind
		seg.Mapping = kind.decode(d, seg)
		d.otherSections(seg)
	}
	lv.VG.repeated(s)
	if d.err == nil && seg.Mapping != nil {
		seg.refs = slices.DeleteFunc(seg.Mapping.references(), func(r Reference) bool { return r.LV == nil && r.PV == nil })
	}
	return seg, d.err
}

// A segmentDecoder reads the keys of a segment, which may refer to PVs and LVs.
type segmentDecoder struct {
	decoder
	names names
}

// otherSections notes sections that are unknown in a segment, and values that should be sections.
func (d *segmentDecoder) otherSections(seg *Segment) {
	isPool := Is[*ThinPool](seg)
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
