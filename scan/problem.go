package scan

import (
	"errors"

	"lvm2fs/layers/luks"
	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// Reason is the kind of a Problem.
type Reason int

// Reasons.
const (
	// Oddity: something was wrong, but could be got over: a damaged copy of metadata, a missing PV.
	Oddity Reason = iota
	// InUse: something else uses a device. What is read may change meanwhile.
	InUse
	// NotOpened: a file or disk cannot be opened.
	NotOpened
	// NoPV: no PV was found.
	NoPV
	// Component: a device is a part of something that cannot be read here.
	Component
	// Duplicate: the PV is read from another device.
	Duplicate
	// Ambiguous: the PV shows on several devices, and nothing tells which is right.
	Ambiguous
	// Outdated: the PV has been removed from its VG while it was absent.
	Outdated
	// Locked: no passphrase opens a container.
	Locked
	// Unreadable: a device or what lies on it is damaged, of a kind that is not known, or gives errors.
	Unreadable
)

var reasonNames = [...]string{"oddity", "in use", "not opened", "no PV", "component", "duplicate", "ambiguous", "outdated", "locked", "unreadable"}

func (r Reason) String() string { return reasonNames[r] }

// Problem is something that is not as it should be.
type Problem struct {
	Reason Reason
	// Refused says that because of it nothing is read from a path or device that was named, or from a device with
	// a PV. All else could be got over, though there may be more on what could not be read.
	Refused bool
	// Device is what the problem is about, if it is about one that is open; it may lie on others.
	Device mapping.Device
	// Err tells the rest, and names the device.
	Err error
}

// reasonFor tells the kind of an error of a device.
func reasonFor(err error) Reason {
	for _, kind := range []struct {
		target error
		reason Reason
	}{
		{lvm2.ErrDuplicate, Duplicate},
		{lvm2.ErrAmbiguous, Ambiguous},
		{lvm2.ErrOutdated, Outdated},
		{luks.ErrPassphrase, Locked},
		{errLocked, Locked},
		{lvm2.ErrComponent, Component},
		{probe.ErrComponent, Component},
		{lvm2.ErrNoPV, NoPV},
		{probe.ErrNothing, NoPV},
	} {
		if errors.Is(err, kind.target) {
			return kind.reason
		}
	}
	return Unreadable
}
