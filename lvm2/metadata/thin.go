package metadata

import (
	"math"
	"strings"
)

// ThinPool is the mapping of type thin-pool.
type ThinPool struct {
	Data, Metadata *LV
	TransactionID  uint64
	ChunkSize      int64  // bytes
	Discards       string // passdown, nopassdown, ignore
	ZeroNewBlocks  bool
	CropMetadata   bool
	Messages       []ThinMessage
}

// ThinMessage is a change that LVM2 has recorded but not yet told the kernel.
type ThinMessage struct {
	Create string // the LV to make, or
	Delete uint64 // the device ID to remove
}

// Thin is the mapping of type thin.
type Thin struct {
	Pool           *LV
	TransactionID  uint64
	DeviceID       uint64
	ExternalOrigin *LV // nil for none
	Origin         *LV // nil for none
	Merge          *LV // the LV to be merged into at the next activation; nil for none

	noSizes
}

var (
	KindThinPool = &Kind{
		Layout: []string{"thin", "pool"}, Modules: []string{"thin-pool"}, Letter: 't', Target: 't',
		Flags: []string{"CROP_METADATA"}, Pool: true, Monitored: true,
		decode: decodeThinPool,
	}
	thinKind = &Kind{
		Layout: []string{"thin", "sparse"}, Modules: []string{"thin", "thin-pool"}, Letter: 'V', Target: 't',
		decode: decodeThin,
	}
)

func decodeThinPool(d *segmentDecoder, _ *Segment) Mapping {
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

func decodeThin(d *segmentDecoder, _ *Segment) Mapping {
	return &Thin{
		Pool:           d.lv("thin_pool"),
		TransactionID:  d.optUint("transaction_id", math.MaxInt64),
		DeviceID:       d.uint("device_id", 1<<24-1),
		ExternalOrigin: d.optLV("external_origin"),
		Origin:         d.optLV("origin"),
		Merge:          d.optLV("merge"),
	}
}

func (m *ThinPool) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Data}, Role: RoleData},
		{Area: Area{LV: m.Metadata}, Role: RoleMetadata, Beside: true, Hidden: true},
	}
}

func (m *Thin) references() []Reference {
	return []Reference{
		{Area: Area{LV: m.Pool}, Role: RolePool, Beside: true, Hidden: true},
		{Area: Area{LV: m.ExternalOrigin}, Role: RoleExternalOrigin, Beside: true, Hidden: true},
		{Area: Area{LV: m.Origin}, Role: RoleOrigin, Optional: true, Beside: true, Hidden: true},
		{Area: Area{LV: m.Merge}, Role: RoleMergeTarget, Optional: true, Beside: true, Hidden: true},
	}
}

// Sizes implements [Mapping].
func (m *ThinPool) Sizes() Sizes { return Sizes{Chunk: m.ChunkSize} }

func (m *ThinPool) decides() []any {
	return []any{m.TransactionID, m.ChunkSize, m.Discards, m.ZeroNewBlocks, m.CropMetadata, m.Messages}
}

func (m *Thin) decides() []any { return []any{m.TransactionID, m.DeviceID} }
