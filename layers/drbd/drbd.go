// Package drbd opens the backing device of a DRBD resource: the device that DRBD makes of it begins where it
// does, and ends before the metadata, which DRBD keeps at its end if it is "internal".
package drbd

import (
	"fmt"

	"lvm2fs/layers/signature"
	"lvm2fs/mapping"
)

// Below the last 4 KiB, which have the mark, lie the activity log, of 32 KiB unless it was made larger, and the
// bitmap.
//
//	| data | bitmap | activity log, 32 KiB | 4 KiB with the mark |
const (
	block       = 4096
	activityLog = 32 << 10
)

// Open returns the DRBD device on dev, read-only; nil if there is none. It opens only a device with a PV that, by
// its own label, ends before the metadata. A PV that lay there before DRBD would not fit.
// (docs/format/04-below-lvm.md, section 6)
func Open(dev mapping.Device) (mapping.Device, error) {
	found, err := signature.Component(dev, dev.Size())
	if err != nil || found == nil || found.Name != signature.DRBD {
		return nil, err
	}
	end, err := signature.PVSize(dev, dev.Size())
	if err != nil || end <= 0 || end > found.Offset/block*block-activityLog {
		return nil, err
	}
	name := dev.Name() + " [DRBD]"
	return &device{mapping.ReadOnlySection(dev, 0, end, name), name}, nil
}

type device struct {
	mapping.StackedVolume
	name string
}

// Warnings say what is not known of the device.
func (d *device) Warnings() []error {
	return []error{fmt.Errorf("%s: a DRBD backing device is read without DRBD: its peers may have newer data; it is read-only", d.name)}
}
