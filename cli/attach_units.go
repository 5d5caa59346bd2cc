//go:build linux || freebsd

package cli

import (
	"slices"

	"lvm2fs/attach"
	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// bottomIDs are what an LV lies on.
func bottomIDs(lv *lvm2.LV) []attach.ID {
	var ids []attach.ID
	for _, pv := range lv.Devices() {
		for _, b := range mapping.Bottom(pv) {
			if d, ok := b.(*blockdev.Device); ok {
				if id := attach.IDOf(d.Info()); !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}

// lvWith is the LV with these UUIDs; nil if there is none.
func lvWith(vgs []*lvm2.VG, vg, lv string) *lvm2.LV {
	vgUUID, errVG := metadata.ParseUUID(vg)
	lvUUID, errLV := metadata.ParseUUID(lv)
	if errVG != nil || errLV != nil {
		return nil
	}
	return lvm2.LVOf(vgs, vgUUID, lvUUID)
}
