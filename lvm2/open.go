package lvm2

// Options change what Open does. The zero value is fit for use.
type Options struct{}

// Scan is what Open found on a set of devices.
type Scan struct {
	VGs      []*VG      // by name, then by UUID
	Orphans  []*PV      // PVs of no VG
	Rejected []Rejected // devices that are not used
	Warnings []error    // what was wrong but could be got over: damaged copies, missing PVs, ...
}

// Rejected is a device that is not used, and why.
type Rejected struct {
	Device Device
	Err    error // wraps ErrNoPV, ErrComponent, ErrDuplicate, ErrAmbiguous, ErrOutdated or the device's error
}

// Open reads the labels and the metadata on devices, which it never writes, and returns
// the VGs they hold. It fails only if it can do nothing at all; a device that gives
// nothing is in Rejected.
func Open(devices []Device, opts Options) (*Scan, error) { panic("soon") }
