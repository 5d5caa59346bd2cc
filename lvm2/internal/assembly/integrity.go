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
	})
	if errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("integrity of %s: %w", seg.LV.Name, err)
	}
	return v, nil
}
