package history

import (
	"context"
	"fmt"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Label is a PV label that was carved, where no PV was looked for.
type Label struct {
	Device mapping.Device
	Start  int64 // of the PV, bytes from the start of the device
	UUID   metadata.UUID
}

// Carve searches all of a device for texts, labels and headers of metadata areas. It looks at any sector, since
// there may have been partitions or arrays. It reads the device once, and keeps a bounded number of bytes. progress,
// which may be nil, is told how many bytes of how many have been searched. Call Sort behind the last device. The
// error is that of ctx.
func (f *Found) Carve(ctx context.Context, d mapping.Device, progress func(device string, done, size int64)) error {
	told := func(done int64) {
		if progress != nil {
			progress(d.Name(), done, d.Size())
		}
	}
	c, err := ondisk.Carve(ctx, d, d.Size(), told)
	if err != nil {
		return err
	}
	for _, t := range c.Texts {
		f.add(t, Copy{Device: d, Offset: t.Offset, Area: -1})
	}
	for _, l := range c.Labels {
		f.Carved = append(f.Carved, Label{d, l.Start, metadata.UUID(l.Header.UUID)})
	}
	for _, a := range c.Areas {
		f.addRing(d, a)
	}
	if c.Unread > 0 {
		f.Warnings = append(f.Warnings, fmt.Errorf("%s: %d bytes could not be read, and were not searched", d.Name(), c.Unread))
	}
	if c.Dropped > 0 {
		f.Warnings = append(f.Warnings, fmt.Errorf("%s: there are %d more texts than are kept", d.Name(), c.Dropped))
	}
	return nil
}

// addRing finds the texts in an area that was carved. A text that goes on behind the header is whole only there.
func (f *Found) addRing(d mapping.Device, a ondisk.CarvedArea) {
	pv := mapping.Section(d, a.Start, d.Size()-a.Start, d.Name())
	texts, _ := ondisk.FindTexts(pv, a.Area, pv.Size()) // what cannot be read is told already
	for _, t := range texts {
		f.add(t, Copy{Device: d, Offset: a.Start + t.Offset, Slot: string(t.Slot), Area: a.Start + a.Area.Offset})
	}
}
