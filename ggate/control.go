package ggate

import "errors"

// Control is /dev/ggctl. Its methods are the requests that the kernel takes there; each fails with the kernel's
// errno. Start and Done are called by several goroutines at once.
// (docs/format/10-block-devices.md, section 2)
type Control interface {
	// Create makes a unit. Unit goes in, as a number or AnyUnit, and comes back as that of /dev/ggateN.
	Create(*Unit) error
	// Modify changes of a unit what is named in Changes.
	Modify(*Changes) error
	// Destroy removes a unit. Without force it fails with EBUSY while somebody has the unit open; with force the
	// requests that wait end with ENXIO.
	Destroy(unit int32, force bool) error
	// Cancel gives back to the queue what was handed out and not answered: that of a server that is gone.
	Cancel(unit int32) error
	// Start waits for a request and fills it in. Data is its buffer.
	Start(*Request) error
	// Done answers a request, whose Error counts.
	Done(*Request) error
	Close() error
}

// ErrNoModule: the kernel has no geom_gate.
var ErrNoModule = errors.New("the kernel has no geom_gate: kldload geom_gate")

// AnyUnit asks for the next free number.
const AnyUnit = -1

// Unit is a device to be made.
type Unit struct {
	Number       int32 // or AnyUnit
	MediaSize    int64 // bytes, a multiple of SectorSize
	SectorSize   uint32
	ReadOnly     bool   // writes fail with EPERM
	Info         string // what ggatel list shows; at most 2047 bytes count
	ReadProvider string // see Options
	ReadOffset   int64
}

// Changes are what Modify changes of a unit; nil for what stays.
type Changes struct {
	Number       int32
	MediaSize    *int64
	ReadProvider *string // "" for none
}

// Command says what a request is.
type Command uint32

// The requests that a volume can answer.
const (
	Read   Command = 1
	Write  Command = 2
	Delete Command = 3
	Flush  Command = 5
)

// Request is what the kernel wants done with a range of a unit.
type Request struct {
	Unit    int32
	Seq     uint64
	Command Command
	Offset  int64 // bytes
	Length  int64 // bytes
	Data    []byte
	Error   int32 // an errno, 0 for success; of Start also ENOMEM (Data is too small for Length) and ECANCELED (the unit goes)
}
