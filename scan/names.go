package scan

import (
	"slices"

	"lvm2fs/blockdev"
	"lvm2fs/mapping"
)

// liesOn says whether dev is what the caller calls device, or lies on that.
func liesOn(dev mapping.Device, device string) bool {
	if dev.Name() == device {
		return true
	}
	if file, ok := dev.(interface{ Path() string }); ok {
		return blockdev.SamePath(file.Path(), device)
	}
	s, ok := dev.(mapping.Stacked)
	return ok && slices.ContainsFunc(s.Beneath(), func(d mapping.Device) bool { return liesOn(d, device) })
}

// offset is one of Options.Offsets.
type offset struct {
	Offset
	used bool // there is such a device
}

// offset is where a PV begins on a device by the word of the caller; see [probe.Options]. An offset for the device
// counts before one for all devices, and the last one before the others.
func (s *Session) offset(dev mapping.Device, disk bool) (off int64, ok bool) {
	for _, o := range slices.Backward(s.offsets) {
		if o.Device != "" && (dev.Name() == o.Device || disk && liesOn(dev, o.Device)) {
			o.used = true
			return o.Bytes, true
		}
	}
	for _, o := range slices.Backward(s.offsets) {
		if o.Device == "" && disk {
			o.used = true
			return o.Bytes, true
		}
	}
	return 0, false
}
