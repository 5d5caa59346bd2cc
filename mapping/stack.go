package mapping

import "time"

// Stacked is a Device that lies on others: a partition, an array, an opened container. One that is
// a [Volume] too is asked with Map, so that mappings end at the devices beneath.
type Stacked interface {
	Device
	// Beneath are the devices that it lies on. They do not change.
	Beneath() []Device
}

// Same says whether two devices are one. That they are one file or disk, opened twice, only a device with a method Same can tell.
func Same(a, b Device) bool {
	if a == b {
		return true
	}
	d, ok := a.(interface{ Same(other Device) bool })
	return ok && d.Same(b)
}

// Bottom are the files and disks that d comes down to, each once: d itself, if it lies on nothing.
func Bottom(d Device) []Device {
	var found []Device
	seen := map[Device]bool{}
	var look func(d Device)
	look = func(d Device) {
		if seen[d] {
			return
		}
		seen[d] = true
		s, ok := d.(Stacked)
		if !ok {
			found = append(found, d)
			return
		}
		for _, b := range s.Beneath() {
			look(b)
		}
	}
	look(d)
	return found
}

// ModTime is when a file that d comes down to was last changed. It is zero if d comes down to a disk,
// which remembers no time.
func ModTime(d Device) time.Time {
	var latest time.Time
	for _, b := range Bottom(d) {
		file, ok := b.(interface{ ModTime() time.Time })
		if !ok || file.ModTime().IsZero() {
			return time.Time{}
		}
		if t := file.ModTime(); t.After(latest) {
			latest = t
		}
	}
	return latest
}

// Refresh has d look again at what it is, if it can: its size may have changed, and what was written to it by another way.
func Refresh(d Device) error {
	if r, ok := d.(interface{ Refresh() error }); ok {
		return r.Refresh()
	}
	return nil
}

// Unwritable is why d cannot be written, although it is a [WritableDevice]: what d says of itself, or else the first
// reason that one beneath gives. nil if none of them knows one; claiming d may still fail.
func Unwritable(d Device) error {
	if d, ok := d.(interface{ Unwritable() error }); ok {
		return d.Unwritable()
	}
	s, ok := d.(Stacked)
	if !ok {
		return nil
	}
	for _, b := range s.Beneath() {
		if err := Unwritable(b); err != nil {
			return err
		}
	}
	return nil
}
