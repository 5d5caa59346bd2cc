package assembly

import (
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// integrity is what a segment of type integrity shows: a leg of a RAID, checked.
// (docs/format/08-integrity.md, section 1)
func (a *Assembly) integrity(seg *metadata.Segment, m *metadata.Integrity) (mapping.Volume, error) {
	if m.Meta == nil {
		return nil, fmt.Errorf("%w: integrity without meta_dev", ErrUnsupported)
	}
	data, err := a.volume(m.Origin)
	if err != nil {
		return nil, err
	}
	meta, err := a.volume(m.Meta)
	if err != nil {
		return nil, err
	}
	v, err := dm.Integrity(data, meta, dm.IntegrityConfig{
		Size:        m.DataSize,
		BlockSize:   m.BlockSize,
		TagSize:     m.TagSize,
		Hash:        m.InternalHash,
		Discards:    m.Settings["allow_discards"] != 0,
		Recalculate: m.Recalculate,
		Mode:        m.Mode,
	})
	if errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("integrity of %s: %w", seg.LV.Name, err)
	}
	return v, nil
}

// writtenIntegrity is what of a leg's integrity layer is to be started and stopped for writing; nil for a leg without
// one. reason is why it cannot be written, as a phrase; "" if it can be.
func (a *Assembly) writtenIntegrity(leg *metadata.LV) (layer *dm.Checked, reason string) {
	if _, err := soleMapping[*metadata.Integrity](leg); err != nil {
		return nil, ""
	}
	layer, ok := a.volumes[leg].volume.(*dm.Checked)
	if !ok {
		return nil, "its integrity layer has never been activated"
	}
	return layer, layer.ReadOnlyReason()
}
