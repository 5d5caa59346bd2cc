package assembly

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// mirrorNotes are the log of a mirror.
// (docs/format/03-mapping-linear-striped-raid.md, section 3)
type mirrorNotes struct {
	raid.BitLog
	regions int64
}

// Load implements [raid.Notes].
func (n *mirrorNotes) Load() ([]byte, error) {
	v := n.Volumes[0]
	log, err := ondisk.ReadMirrorLog(v, v.Size(), n.regions)
	if err != nil {
		return nil, err
	}
	if log.Regions != uint64(n.regions) && log.Regions != ondisk.NewMirrorLog {
		return nil, fmt.Errorf("its log is one of %d regions, not of %d", log.Regions, n.regions)
	}
	for i := range n.regions {
		if !log.InSync(i) {
			return nil, errors.New("its legs are not in sync")
		}
	}
	n.Bits = log.Bits
	sum := sha256.Sum256(log.Bits)
	return sum[:], nil
}

// Finish implements [raid.Notes]. It keeps the marks from coming back.
func (n *mirrorNotes) Finish() error { return n.Sync() }

// mirrorWriting is the state of a mirror.
func (a *Assembly) mirrorWriting(seg *metadata.Segment, m *metadata.Mirror, array *raid.Array) *arrayWriting {
	reason := ""
	switch {
	case len(a.choices[seg.LV].TrustLegs) > 0:
		reason = "legs to be trusted were named"
	case seg.LV.HasStatus("NOTSYNCED"):
		reason = "its legs were never brought in sync"
	case len(seg.LV.Segments) > 1:
		reason = "it is a mirror of several segments"
	}
	if reason != "" || m.Log == nil {
		return newArrayWriting(array, nil, reason) // without a log, all of it is resynced from the first leg
	}
	if m.RegionSize <= 0 {
		return newArrayWriting(array, nil, "it has a log but no size of regions")
	}
	v, err := a.volume(m.Log)
	if err != nil {
		return newArrayWriting(array, nil, fmt.Sprintf("%s: %v", m.Log.Name, err))
	}
	w, ok := v.(mapping.Writable)
	if !ok {
		return newArrayWriting(array, nil, fmt.Sprintf("%s: %v", m.Log.Name, mapping.ErrNotWritable))
	}
	return newArrayWriting(array, &mirrorNotes{
		BitLog: raid.BitLog{
			Volumes: []mapping.Writable{w}, Offset: ondisk.MirrorLogBits, Region: m.RegionSize, CleanIsOne: true,
		},
		regions: (array.Size() + m.RegionSize - 1) / m.RegionSize,
	}, "")
}
