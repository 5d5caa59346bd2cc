package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// Options say where to look for PVs and how to open what they lie in. The zero value is fit for
// use: it opens all that needs no key.
//
// Where a field names a device, that is the path of a file or disk, or what a [probe.Node] is called: "disk.img
// (partition 2)". It stands for what lies on the device too.
type Options struct {
	// Devices are looked at as if paths had named them: what is in memory or behind a network, say. The session
	// does not close them. Reload calls their method Refresh, if they have one, as a blockdev.Device has.
	Devices []mapping.Device
	// SystemDisks looks at all disks of the system as well.
	SystemDisks bool
	// Nested looks for PVs inside of LVs as well.
	Nested bool
	// Exclusive makes Open fail where something else uses a device.
	Exclusive bool
	// Pieces takes a path such as disk.001 for all pieces of an image.
	Pieces bool
	// Offsets say where PVs begin, whatever else shows there. The last one for a device counts.
	Offsets []Offset
	// Prefer names the devices to read a PV from that shows on several.
	Prefer []string
	// RAID0Layout is that of MD raid0 arrays over unequal members that do not tell: [raid.Original] or
	// [raid.Alternate]. With 0, what differs between the two is missing.
	RAID0Layout uint32

	// Keys open LUKS containers.
	Keys []Key
	// KeepKeys uses Keys in Reload too, which opens an image that has changed anew, with the containers in it.
	KeepKeys bool
	// KeySlots restrict containers to one key slot each. The last one for a device counts.
	KeySlots []KeySlot
	// LUKSHeaders are the headers that are not on their devices.
	LUKSHeaders []LUKSHeader
	// Passphrase is asked for the passphrase of a container that no key opens, and again, up to three times in all,
	// where it does not fit. What it gives is zeroed when Open or Reload ends. No bytes: to give up.
	// An error that wraps ErrNobody means that there is nobody to ask. It must not call methods of the session but
	// Result: Reload waits for it. May be nil.
	Passphrase func(context.Context, Question) ([]byte, error)

	// ImageSnapshots are internal snapshots of qcow2 images to show in place of what is in them now.
	ImageSnapshots []ImageSnapshot
	// AnyBackingFile lets images name files outside of their directory that are not among the paths.
	AnyBackingFile bool

	// At shows VGs as older metadata texts describe them, read-only. Of one VG there is at most one.
	At []At
	// MetadataFiles are more metadata texts. Without At, each is shown in place of what the devices have of its VG.
	MetadataFiles []MetadataFile
	// Carve searches all of the devices for metadata texts for At to choose among.
	Carve bool
	// CarveProgress is told how many bytes of a device have been searched, now and then. May be nil.
	CarveProgress func(device string, done, size int64)
	// IsPV say which PVs devices are. The last one for a device counts.
	IsPV []IsPV
	// UseMissing names devices with PVs to be read although they were missing when their VG was changed, by
	// their names or the UUIDs of the PVs.
	UseMissing []string
	// Removed finds the LVs that are in an older metadata text and not in the current one, for Result.Removed.
	Removed bool
	// ReadReused reads what may have been overwritten since the metadata that At chooses, or is of another age, as it is now.
	ReadReused bool

	// Choices are for LVs that would be refused without them.
	Choices []Choice

	// SacrificeSnapshots lets writes to an origin go on although a snapshot has no room to keep what they overwrite. The
	// snapshot is lost then. Otherwise such writes fail.
	SacrificeSnapshots bool

	// Logger is told what goes wrong after Open and Reload have returned: a leg of a RAID that could not be read, and
	// was made up for; a snapshot that was sacrificed. May be nil.
	Logger *slog.Logger
}

// Offset says that a PV, or the disk in an image, begins at a byte of a device.
type Offset struct {
	Device string // "" for each that was named, or the disk in it
	Bytes  int64  // from the start of the device; not negative
}

// Key opens LUKS containers. It is not copied, so it must stay as it is until Open has returned or, with
// Options.KeepKeys, until Close has.
type Key struct {
	Device string // "" for all for which there is no key of their own
	Bytes  []byte // a passphrase, or what is in a key file
}

// KeySlot is the only key slot to try.
type KeySlot struct {
	Device string // "" for all
	Slot   uint8
}

// LUKSHeader is the header of a container that is kept elsewhere.
type LUKSHeader struct {
	Device string
	Path   string // of the file with the header
}

// ImageSnapshot is a snapshot inside of a qcow2 image.
type ImageSnapshot struct {
	Device string // "" for all
	Name   string // or its id
}

// Question is what a passphrase is asked for.
type Question struct {
	Device string // the name of the container's device, which may hold any bytes
	Slot   string // the only key slot that is tried; "" for any
	Try    int    // 0, and more if what was given before does not fit
}

// Choice is what a user who knows better says about an LV that would be refused without it.
// Nothing of the kind is ever done without being asked for. Several for one LV add up.
type Choice struct {
	LV string // as [Result.LV] takes it
	// TrustLegs are the legs, from 0, of a RAID or mirror to read as if they were in sync.
	TrustLegs []int
	// OriginOnly reads the origin of a cached LV alone; what is only in the cache reads as it was before.
	OriginOnly bool
	// ThinMetadataFile is the path of a file to read in place of a thin pool's metadata.
	ThinMetadataFile string
	// ThinMetadataLV is the name of the LV of the VG to read in place of it.
	ThinMetadataLV string
	// ThinRoot is the block of the metadata where the mappings of the pool begin; see [lvm2.LV.ThinRoots].
	ThinRoot uint64
	// ThinRebuild puts the mappings of the pool together again where its metadata are damaged; see [lvm2.LV.ThinRebuild].
	ThinRebuild lvm2.Rebuild
	// IgnoreTransactionID accepts metadata of another age than the VG's.
	IgnoreTransactionID bool
}

// Errors of Open and Reload.
var (
	// ErrNobody is for Options.Passphrase to give: there is nobody to ask.
	ErrNobody = errors.New("there is nobody to ask for its passphrase")
	// ErrNoDevice: an option names a device that is not there.
	ErrNoDevice = errors.New("there is no such device")
	// ErrInUse: something else uses a device.
	ErrInUse = errors.New("in use")
	// ErrNoVG: no volume group was found.
	ErrNoVG = errors.New("no volume group found")
	// ErrLVPath: not the path of an LV.
	ErrLVPath = errors.New("not VG/LV")
	// ErrClosed: the session is closed.
	ErrClosed = errors.New("the session is closed")
)

// OptionError is what is wrong with an element of one of the lists in Options.
type OptionError struct {
	Option string  // the name of the field: "Offsets", "Prefer", "Choices"
	Index  int     // of the element
	Name   string  // the device or LV that it is for
	Err    error   // ErrNoDevice, lvm2.ErrNoPV, ErrLVPath, or why there is no such LV or file
	Others []error // what else went wrong, which may be why
}

func (e *OptionError) Error() string {
	text := fmt.Sprintf("Options.%s[%d], for %s: %v", e.Option, e.Index, e.Name, e.Err)
	for _, other := range e.Others {
		text += "\n" + other.Error()
	}
	return text
}

// Unwrap gives Err and Others.
func (e *OptionError) Unwrap() []error { return append([]error{e.Err}, e.Others...) }

// NoVGError is that there is no volume group, and why. It wraps ErrNoVG and the causes.
type NoVGError struct{ Causes []error }

func (e *NoVGError) Error() string {
	if len(e.Causes) == 0 {
		return ErrNoVG.Error()
	}
	return fmt.Sprintf("%v: %v", ErrNoVG, errors.Join(e.Causes...))
}

// Unwrap gives ErrNoVG and the causes.
func (e *NoVGError) Unwrap() []error { return append([]error{ErrNoVG}, e.Causes...) }
