package metadata

// Snapshot is the mapping of type snapshot, of the hidden LV snapshotN that ties a COW
// store to its origin.
type Snapshot struct {
	Origin    *LV
	COW       *LV   // the LV that the user calls the snapshot
	Merging   bool  // COW is being merged back into the origin
	ChunkSize int64 // bytes
}

var snapshotKind = &Kind{
	Layout: []string{"snapshot"}, Modules: []string{"snapshot"}, Relation: true, NoDevice: true,
	decode: decodeSnapshot,
}

func decodeSnapshot(d *segmentDecoder, _ *Segment) Mapping {
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

func (m *Snapshot) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Origin}, Role: RoleOrigin, Beside: true, Hidden: true},
		{Area: Area{LV: m.COW}, Role: RoleStore, Beside: true, Hidden: true},
	}
}

// Sizes implements [Mapping]. Reports tell the size of chunks of the COW store; see [Segment.Chunk].
func (m *Snapshot) Sizes() Sizes { return Sizes{} }

func (m *Snapshot) decides() []any { return []any{m.Merging, m.ChunkSize} }
