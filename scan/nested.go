package scan

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// innerDevice is an LV that may have a PV in it. It stays the same device when the metadata of its VG is
// read again and has not changed.
type innerDevice struct {
	name    string
	vg, lv  lvm2.UUID
	volume  atomic.Pointer[lvm2.Volume]
	beneath []mapping.Device
}

var (
	_ mapping.Stacked = (*innerDevice)(nil)
	_ mapping.Volume  = (*innerDevice)(nil)
)

func (d *innerDevice) Name() string                            { return d.name }
func (d *innerDevice) Size() int64                             { return d.volume.Load().Size() }
func (d *innerDevice) Beneath() []mapping.Device               { return d.beneath }
func (d *innerDevice) ReadAt(p []byte, off int64) (int, error) { return d.volume.Load().ReadAt(p, off) }

func (d *innerDevice) Map(off, max int64) (mapping.Extent, error) {
	return d.volume.Load().Map(off, max)
}

// innerDevices are those of a session, by what they are made of.
type innerDevices map[string]*innerDevice

// of gives the devices for all LVs of a scan that can be read.
func (all innerDevices) of(scan *lvm2.Scan) []mapping.Device {
	var found []mapping.Device
	for _, vg := range scan.VGs {
		for _, lv := range vg.LVs {
			if !lv.Visible() {
				continue
			}
			v, err := lv.Open()
			if err != nil {
				continue // whoever wants to read it is told why
			}
			beneath := lv.Devices()
			key := fmt.Sprintf("%s %s %d %d", vg.UUID, lv.UUID, vg.Seqno, v.Size())
			for _, b := range beneath {
				key += fmt.Sprintf(" %p", b)
			}
			d := all[key]
			if d == nil {
				d = &innerDevice{name: vg.DirName() + "/" + lv.FileName(), vg: vg.UUID, lv: lv.UUID, beneath: beneath}
				all[key] = d
			}
			d.volume.Store(v)
			found = append(found, d)
		}
	}
	return found
}

// keep drops all but these.
func (all innerDevices) keep(used []mapping.Device) {
	maps.DeleteFunc(all, func(_ string, d *innerDevice) bool { return !slices.Contains(used, mapping.Device(d)) })
}
