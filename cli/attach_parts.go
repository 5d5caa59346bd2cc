package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"lvm2fs/attach"
	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// openInBackground opens the devices for the process in the background. The process that started it is asked for
// passphrases, and has already said what there is to say of the devices; so the log here begins when that one has gone.
func (c *attachCmd) openInBackground(a *app, ready *os.File) (*session, logDestination, error) {
	log, err := openLog(a, c.LogFile, true)
	if err != nil {
		return nil, log, err
	}
	a.ask = remote{ready}
	a.quiet()
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	return s, log, err
}

// awaitEnd waits for a process in the background that ends, until all that was written is on disk.
func awaitEnd(a *app, p process) {
	defer p.close()
	if !p.endsWithin(time.Minute) {
		a.warnf("process %d is still busy with its devices", p.pid)
	}
}

// partitionsOf are the devices of the partitions of an LV that was attached with them.
func partitionsOf(e *attach.Entry) []string {
	if !e.Partitions {
		return nil
	}
	return attach.Partitions(e.Device)
}

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
