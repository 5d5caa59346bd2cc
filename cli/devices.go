package cli

import (
	"errors"
	"fmt"
	"strings"

	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
)

// deviceOptions are the flags about DEVICEs that every command has.
type deviceOptions struct {
	Exclusive bool `help:"Refuse devices that something else is using."`
	choiceOptions

	// orphans lets a command go on that found PVs, but no volume group.
	orphans bool
}

// session is a set of open devices and what was found on them.
type session struct {
	Scan    *lvm2.Scan
	Devices []*blockdev.Device

	opts     deviceOptions
	metadata map[string]*blockdev.Device // that --thin-metadata names, by path
}

// Close closes the devices, which were only read, unless by a mount that has synced what
// it wrote.
func (s *session) Close() {
	for _, d := range s.Devices {
		_ = d.Close()
	}
	for _, d := range s.metadata {
		_ = d.Close()
	}
}

// openDevices opens the DEVICE arguments of a command and reads what is on them. What
// is wrong but can be got over, a device that cannot be opened among others, goes to
// standard error, a line each. It fails if no volume group is found.
func openDevices(a *app, paths []string, opts deviceOptions) (*session, error) {
	s := &session{opts: opts}
	failures := s.open(paths)
	if err := s.scan(a, failures); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open opens the devices, each once, and returns what went wrong.
func (s *session) open(paths []string) (failures []error) {
	for _, path := range paths {
		d, err := blockdev.Open(path, blockdev.Options{})
		switch {
		case err != nil:
			failures = append(failures, err)
		case s.has(d):
			_ = d.Close()
		default:
			s.Devices = append(s.Devices, d)
		}
	}
	return failures
}

func (s *session) has(d *blockdev.Device) bool {
	for _, other := range s.Devices {
		if d.Same(other) {
			return true
		}
	}
	return false
}

// rescan reads the metadata of the session's devices again. On an error the session
// stays as it is.
func (s *session) rescan(a *app) (*lvm2.Scan, error) {
	for _, d := range s.Devices {
		if err := d.Refresh(); err != nil {
			return nil, err
		}
	}
	again := *s
	// Who uses a device by now is no reason to refuse what is mounted.
	again.opts.Exclusive = false
	if err := again.scan(a, nil); err != nil {
		return nil, err
	}
	s.metadata = again.metadata
	return again.Scan, nil
}

// scan looks for volume groups on the devices. failures are those of devices that are
// not among them.
func (s *session) scan(a *app, failures []error) error {
	holders, err := s.holders(a)
	if err != nil {
		return err
	}
	devices := make([]lvm2.Device, len(s.Devices))
	for i, d := range s.Devices {
		devices[i] = d
	}
	var chosen choices
	options := lvm2.Options{
		InUse: func(d lvm2.Device) string { return holders[d] },
		CacheLost: func(lv *lvm2.LV, err error) {
			a.warnf("LV %s: its cache is lost, and its origin read alone, which has all that was written: %w", lv, err)
		},
		LegFailed: func(lv *lvm2.LV, leg int, off, n int64, err error) {
			a.warnf("LV %s: leg %d: %d bytes at %d are read from the others: %w", lv, leg, n, off, err)
		},
	}
	chosen.apply(&options)
	s.Scan = lvm2.Open(devices, options)
	for _, rejected := range s.Scan.Rejected {
		failures = append(failures, rejected.Err)
	}
	for _, warning := range s.Scan.Warnings {
		a.warnf("%w", warning)
	}
	if len(s.Scan.VGs) == 0 && !(s.opts.orphans && len(s.Scan.Orphans) > 0) {
		return s.nothingFound(failures)
	}
	for _, failure := range failures {
		a.warnf("%w", failure)
	}
	return chosen.resolve(s, s.opts.choiceOptions)
}

// holders names who else uses the devices, and says so on standard error.
func (s *session) holders(a *app) (map[lvm2.Device]string, error) {
	names := map[lvm2.Device]string{}
	for _, d := range s.Devices {
		var holders, what []string
		for _, holder := range d.InUse() {
			holders = append(holders, holder.String())
			what = append(what, holder.What)
		}
		if len(holders) == 0 {
			continue
		}
		names[d] = strings.Join(what, ", ")
		inUse := fmt.Errorf("%s is in use: %s", d.Name(), strings.Join(holders, ", "))
		if s.opts.Exclusive {
			return nil, inUse
		}
		a.warnf("%w; what is read may change meanwhile", inUse)
	}
	return names, nil
}

// nothingFound says in one error why there is no volume group.
func (s *session) nothingFound(failures []error) error {
	for _, pv := range s.Scan.Orphans {
		failures = append(failures, fmt.Errorf("%s: a PV of no volume group", pv))
	}
	if len(s.Devices) == 0 && len(failures) > 0 {
		return errors.Join(failures...)
	}
	return fmt.Errorf("no volume group found: %w", errors.Join(failures...))
}
