package lvm2

import (
	"errors"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/mapping"
)

// Errors of looking at a device: why it gave no PV.
var (
	// ErrNoPV: the device has no PV label.
	ErrNoPV = errors.New("no PV")
	// ErrComponent: the device is a member or container of something else (MD,
	// LUKS, other RAID). A PV label on it is not to be believed.
	ErrComponent = errors.New("not a bare PV")
	// ErrDuplicate: the PV was found on another device too, which is used instead.
	ErrDuplicate = errors.New("duplicate PV")
	// ErrAmbiguous: two devices show the same PV with different contents, and
	// nothing says which is the right one.
	ErrAmbiguous = errors.New("ambiguous PV")
	// ErrOutdated: the PV still shows a VG that it was removed from while absent.
	ErrOutdated = errors.New("outdated PV")
)

// Errors of reading metadata.
var (
	// ErrChecksum: a structure on disk does not match its checksum.
	ErrChecksum = ondisk.ErrChecksum
	// ErrMetadata: metadata that is whole but makes no sense.
	ErrMetadata = errors.New("invalid metadata")
)

// Errors of opening an LV.
var (
	// ErrUnsupported: the LV is of a kind, or has a property, that is unknown to this
	// release.
	ErrUnsupported = errors.New("unsupported")
	// ErrNoContents: the LV holds no bytes of its own that a user could read (a pool).
	ErrNoContents = errors.New("no contents of its own")
	// ErrInvalidSnapshot: the snapshot overflowed or was given up after an I/O error;
	// its contents are lost for ever.
	ErrInvalidSnapshot = dm.ErrInvalidSnapshot
	// ErrThinPool: the metadata of a thin pool does not make sense, or does not belong
	// to the VG's.
	ErrThinPool = dm.ErrThinPool
	// ErrLegs: the legs of a RAID contradict each other about which of them is right;
	// see Options.TrustLegs.
	ErrLegs = errors.New("the legs disagree")
	// ErrNotActivated: the kernel would refuse to make a block device of the LV, for what
	// it finds on disk. Such an LV is not [LV.Visible].
	ErrNotActivated = errors.New("the kernel would not activate it")
	// ErrIntegrity: bytes do not match their checksum. Another leg of the RAID may have them.
	ErrIntegrity = dm.ErrIntegrity
	// ErrNotComparable: two LVs are not thin volumes of one pool.
	ErrNotComparable = dm.ErrNotComparable
	// ErrReadOnly: the LV cannot be written as safely as the kernel would.
	ErrReadOnly = errors.New("read-only")
	// ErrNoSpace: what is to be written has no room where copies are kept: in the COW store of a snapshot.
	ErrNoSpace = dm.ErrFull
	// ErrStale: the metadata on disk is not what was read by Open.
	ErrStale = errors.New("metadata changed on disk")
)

// ErrMissing is wrapped by the error of reading or writing bytes that are lost.
var ErrMissing = mapping.ErrMissing
