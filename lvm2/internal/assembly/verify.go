package assembly

import (
	"fmt"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// Array is a segment that is a RAID or mirror, which can be verified.
type Array struct {
	Start  int64 // byte of the LV
	Config raid.Config
	// Data is where the bytes of each leg lie; nil for a leg that is lost.
	Data []mapping.Volume
	// Uncompared is why not all of it can be compared, apart from legs that are unreadable in parts.
	Uncompared []error
}

// Redundant says whether the legs have something to be compared with.
func (k Array) Redundant() bool { return k.Config.Geometry.Level != raid.RAID0 }

// Arrays are the segments of an LV that can be verified, once it has been assembled.
func (a *Assembly) Arrays(lv *metadata.LV) []Array {
	a.lock()
	defer a.unlock()
	var arrays []Array
	for _, seg := range lv.Segments {
		if array, ok := a.verifiable[seg]; ok {
			arrays = append(arrays, array)
		}
	}
	return arrays
}

// IsArray says whether the bytes of an LV are those of RAIDs and mirrors that can be verified.
func (a *Assembly) IsArray(lv *metadata.LV) bool {
	if lv.SnapshotOf() != nil || len(a.Arrays(lv)) != len(lv.Segments) {
		return false
	}
	for _, m := range lv.Snapshots() {
		if m.Merging {
			return false
		}
	}
	return true
}

// keep keeps an array for a check. The check does not compare the regions that dirty names; readers may use them all
// the same.
func (a *Assembly) keep(seg *metadata.Segment, c raid.Config, dirty func(off, max int64) (bool, int64)) {
	c.OnError, c.Dirty = nil, dirty
	if seg.LV.HasStatus("NOTSYNCED") {
		c.InSync = 0
	}
	kept := Array{Start: int64(seg.StartExtent) * a.vg.ExtentSize, Config: c}
	for i, leg := range c.Legs {
		data := leg.Volume
		if m, ok := seg.Mapping.(*metadata.RAID); ok && data != nil {
			if layer, ok := m.Legs[i].Data.Mapping().(*metadata.Integrity); ok {
				// A leg with checksums is computed and has no place of its own; its bytes lie where those of its origin
				// do.
				if origin, err := a.volume(layer.Origin); err == nil {
					data = origin
				}
			}
		}
		kept.Data = append(kept.Data, data)
	}
	kept.Uncompared = a.uncompared(seg.LV, c)
	a.verifiable[seg] = kept
}

// uncompared is why not all of an array of lv can be compared.
func (a *Assembly) uncompared(lv *metadata.LV, c raid.Config) (reasons []error) {
	add := func(format string, args ...any) {
		reasons = append(reasons, fmt.Errorf("%s: "+format, append([]any{lv.Name}, args...)...))
	}
	for i, leg := range c.Legs {
		switch {
		case leg.Volume == nil && leg.Lost != nil:
			reasons = append(reasons, leg.Lost)
		case leg.Volume == nil:
			add("leg %d is lost", i)
		case leg.InSync != raid.All:
			add("leg %d is to be rebuilt from byte %d on", i, leg.InSync)
		}
	}
	switch {
	case c.Reshape != nil:
		add("it is being reshaped")
	case c.InSync == 0:
		add("its legs are not known to be in sync")
	case c.InSync != raid.All:
		add("its legs are in sync up to byte %d", c.InSync)
	case len(reasons) == 0 && a.source.Partial(lv):
		add("parts of its legs are missing")
	}
	return reasons
}
