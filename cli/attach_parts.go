package cli

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"lvm2fs/attach"
	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// quiet keeps the log to itself until it goes elsewhere.
func (a *app) quiet() { a.logTo.switchTo(func(time.Time, slog.Level, string) {}) }

// claimedHere says whether a device is one that what is attached keeps others out of.
func claimedHere(st *attach.State) func(mapping.Device) bool {
	var claimed []attach.ID
	for _, e := range st.Entries {
		claimed = append(claimed, e.Claims...)
	}
	return func(d mapping.Device) bool {
		disk, ok := d.(*blockdev.Device)
		return ok && slices.Contains(claimed, attach.IDOf(disk.Info()))
	}
}

// claimable finds out who holds what the LV lies on: the process in the background could say so only in its log.
func claimable(lv *lvm2.LV, readOnly bool) error {
	if readOnly {
		return nil
	}
	for _, d := range lv.Devices() {
		w, ok := d.(mapping.WritableDevice)
		if !ok {
			continue
		}
		if err := w.Claim(); err != nil {
			return fmt.Errorf("LV %s: %w", lv, err)
		}
		if err := w.Release(); err != nil {
			return fmt.Errorf("LV %s: %w", lv, err)
		}
	}
	return nil
}

// usersOfDevice names who uses a block device, with the command that ends it where there is one.
func usersOfDevice(device string) []string {
	d, err := blockdev.Open(device, blockdev.Options{})
	if err != nil {
		return []string{err.Error()}
	}
	defer func() { _ = d.Close() }()
	var users []string
	for _, u := range d.InUse() {
		users = append(users, u.String())
	}
	if len(users) == 0 {
		return []string{"by whom cannot be seen"}
	}
	return users
}
