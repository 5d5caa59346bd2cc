package lvm2

import (
	"errors"

	"lvm2fs/lvm2/internal/assembly"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
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
	ErrMetadata = metadata.ErrMetadata
)

// Errors of opening an LV.
var (
	// ErrUnsupported: the LV is of a kind, or has a property, that is unknown to this
	// release.
	ErrUnsupported = assembly.ErrUnsupported
	// ErrNoContents: the LV holds no bytes of its own that a user could read (a pool).
	ErrNoContents = assembly.ErrNoContents
	// ErrInvalidSnapshot: the snapshot overflowed or was given up after an I/O error;
	// its contents are lost for ever.
	ErrInvalidSnapshot = dm.ErrInvalidSnapshot
	// ErrThinPool: the metadata of a thin pool does not make sense, or does not belong
	// to the VG's.
	ErrThinPool = dm.ErrThinPool
	// ErrLegs: the legs of a RAID contradict each other about which of them is right;
	// see [Choice].
	ErrLegs = assembly.ErrLegs
	// ErrNotActivated: the kernel would refuse to make a block device of the LV because of what is on disk. Such an LV is
	// not [LV.Visible].
	ErrNotActivated = assembly.ErrNotActivated
	// ErrSnapshots: the COW store of a snapshot does not make sense.
	ErrSnapshots = dm.ErrExceptions
	// ErrCache: the metadata of a cache does not make sense.
	ErrCache = dm.ErrCache
	// ErrWritecache: the metadata of a writecache does not make sense.
	ErrWritecache = dm.ErrWritecache
	// ErrVDO: the metadata of a VDO pool do not make sense.
	ErrVDO = dm.ErrVDO
	// ErrIntegrityMetadata: the metadata of an integrity layer do not make sense.
	ErrIntegrityMetadata = dm.ErrIntegrityMetadata
	// ErrDevice: a device failed to read or write.
	ErrDevice = dm.ErrDevice
	// ErrIntegrity: bytes do not match their checksum. Another leg of the RAID may have them.
	ErrIntegrity = dm.ErrIntegrity
	// ErrNotComparable: two LVs are not thin volumes of one pool.
	ErrNotComparable = dm.ErrNotComparable
	// ErrReadOnly: the LV cannot be written as safely as the kernel would.
	ErrReadOnly = errors.New("read-only")
	// ErrNoSpace: there is no room for what is to be written, in a thin pool or in the COW store of a snapshot.
	ErrNoSpace = dm.ErrFull
	// ErrStale: the metadata on disk is not what was read by Open.
	ErrStale = assembly.ErrStale
)

// ErrMissing is wrapped by the error of reading or writing bytes that are lost.
var ErrMissing = mapping.ErrMissing
