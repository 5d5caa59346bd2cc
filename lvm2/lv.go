package lvm2

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"lvm2fs/lvm2/internal/assembly"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// LV is a logical volume: what the metadata say of it, and what the devices of its VG say.
type LV struct {
	*metadata.LV
	VG *VG

	device *LV  // the pool of a thin device without an LV
	left   bool // it was removed, and is read from what its pool still holds of it
}

// Choice is what the user knows better about an LV than the disk does. The zero value believes the disk.
type Choice struct {
	// TrustLegs are the legs, counted from 0, of a RAID or mirror that are read as in sync whatever its superblocks or
	// log say, and believed about the other legs. It helps where [LV.Open] fails with ErrLegs, or too many legs are
	// stale.
	TrustLegs []int
	// ThinPool says how a thin pool is read, other than by its own metadata.
	ThinPool ThinPoolChoice
	// OriginOnly says that the cache of a cached LV is lost. Then only the origin is read. What was only in the cache
	// reads as it was before.
	OriginOnly bool
}

// ThinPoolChoice is for the user who knows better where the pool itself would be refused. The zero
// value believes the pool.
type ThinPoolChoice struct {
	// Metadata is read in place of the pool's metadata LV: a repaired copy, for instance. May be nil.
	Metadata Device
	// MetadataLV is the name of an LV of the VG that is read in place of the metadata LV; "" for none.
	MetadataLV string
	// IgnoreTransactionID accepts metadata of another age than the VG's.
	IgnoreTransactionID bool
	// Root is the block of the metadata where the mappings begin, one of those that [LV.ThinRoots] finds. The superblock
	// is not read then. 0 stands for the root that the superblock names.
	Root uint64
	// ReadReused reads chunks of a Root even if they belong to something else by now.
	ReadReused bool
	// Rebuild reads the mappings as [LV.ThinRebuild] puts them together again, where nodes of the metadata are damaged.
	Rebuild Rebuild
}

// Choose has the LV, and all that lies on it, opened by a choice from now on. Volumes that are open stay as they are. No
// LV of the VG may be open for writing.
func (lv *LV) Choose(c Choice) {
	pool := assembly.ThinPoolChoice{
		Metadata: c.ThinPool.Metadata, MetadataLV: c.ThinPool.MetadataLV, IgnoreTransactionID: c.ThinPool.IgnoreTransactionID,
		Root: c.ThinPool.Root, ReadReused: c.ThinPool.ReadReused, Rebuild: c.ThinPool.Rebuild,
	}
	lv.VG.assembly.Choose(lv.LV, assembly.Choice{TrustLegs: c.TrustLegs, ThinPool: pool, OriginOnly: c.OriginOnly})
}

// Health is "" for an LV in good order, or what is wrong with it, separated by commas:
//
//	reused       some of it may have been overwritten since the metadata that are shown
//	other-age    it may be of another age than the metadata: what its parts hold; what a snapshot's origin
//	             holds; the mappings of a thin LV that was removed, if it was discarded at last
//	damaged      its metadata, or that of a pool, cache or snapshot that it lies on, makes no sense
//	unsupported
//	invalid      a snapshot that overflowed
//	unreadable   it cannot be opened for another reason, which [LV.Fault] gives
//	partial      some of it is lost
//	degraded     a leg of a RAID or mirror is lost, stale or not yet built, but may be made up for
//	cache-lost   and not needed
//	needs-check  a thin pool or a cache whose metadata the kernel gave up writing
//	failing      a leg could not be read in parts, or not be written
//	in-use       by somebody else
//	bad name
//
// It reads what the LV keeps on disk. What lvm calls health, package report has.
func (lv *LV) Health() string {
	a := lv.VG.assembly
	var words []string
	if word := faultWord(lv.Fault()); word != "" {
		words = append(words, word)
	}
	if lv.Partial() {
		words = append(words, "partial")
	}
	if lv.ExceptionsAlone() != nil || lv.left && len(words) == 0 {
		words = append(words, "other-age")
	}
	if n, _, _ := lv.Overwritten(); n > 0 {
		words = append(words, "reused")
	}
	words = append(words, a.ArrayHealth(lv.LV)...)
	if a.CachesLost(lv.LV) != nil {
		words = append(words, "cache-lost")
	}
	if lv.NeedsCheck() {
		words = append(words, "needs-check")
	}
	if slices.ContainsFunc(lv.PVs(), func(pv *metadata.PV) bool { return lv.VG.pvs[pv].holder != "" }) {
		words = append(words, "in-use")
	}
	if !metadata.ValidName(lv.Name) && lv.device == nil || !metadata.ValidName(lv.VG.Name) {
		words = append(words, "bad name")
	}
	return strings.Join(words, ",")
}

// faultWord is a fault in the LV's health.
func faultWord(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrOtherAge):
		return "other-age"
	case errors.Is(err, ErrMetadata):
		return "damaged"
	case errors.Is(err, ErrUnsupported):
		return "unsupported"
	case errors.Is(err, ErrInvalidSnapshot):
		return "invalid"
	case assembly.Damaged(err):
		return "damaged"
	}
	return "unreadable"
}

// Fault is why the LV cannot be read; nil if it can be. It is the error of [LV.Open], or of a table that is read with the
// first bytes. The fault of a pool is why the LVs in it cannot be read. Missing bytes are no fault, nor are legs of a
// RAID that others make up for.
func (lv *LV) Fault() error {
	if err := lv.VG.assembly.Fault(lv.LV); err != nil {
		return fmt.Errorf("LV %s: %w", lv, err)
	}
	return nil
}

// Partial says whether the LV has extents on a PV that is missing, or beyond the end of the device of one.
func (lv *LV) Partial() bool {
	if lv.device != nil {
		return lv.device.Partial()
	}
	return lv.VG.partial()[lv.LV]
}

// Incomplete says whether the LV is Partial, or the COW store of a snapshot of it or of an LV beneath it is.
func (lv *LV) Incomplete() bool {
	if lv.device != nil {
		return lv.device.Incomplete()
	}
	return lv.VG.incomplete()[lv.LV]
}

// NeedsCheck says whether lv is a thin pool, lies in one, or has a cache, whose metadata the kernel gave up
// writing. Reading is as safe as ever.
func (lv *LV) NeedsCheck() bool { return lv.VG.assembly.NeedsCheck(lv.LV) }

// InvalidSnapshot says whether lv is a COW snapshot that has overflowed, and so shows nothing
// any more. It reads the header of the COW store.
func (lv *LV) InvalidSnapshot() bool { return lv.VG.assembly.Invalid(lv.LV) }

// Reshaping says whether lv is a RAID that is being reshaped, by its superblocks.
func (lv *LV) Reshaping() bool { return lv.VG.superblocks()[lv.LV].Reshaping() }

// OutOfSync says whether lv is a leg of a RAID that waits for its data: it is being rebuilt, or the RAID
// is being reshaped.
func (lv *LV) OutOfSync() bool {
	image := lv.Uses().As(metadata.RoleLeg, metadata.KindRAID)
	if image == nil {
		return false
	}
	leg := slices.IndexFunc(image.Mapping.(*metadata.RAID).Legs, func(l metadata.RAIDLeg) bool { return l.Data == lv.LV })
	return lv.VG.superblocks()[image.LV].OutOfSync(leg)
}

// DataOffset is where the data begin in the legs of a RAID, or in this leg of one, in bytes;
// until a reshape is done, what it has moved may begin elsewhere. ok is false where no superblock tells.
func (lv *LV) DataOffset() (offset int64, ok bool) {
	raid := lv.LV
	if image := lv.Uses().As(metadata.RoleLeg, metadata.KindRAID); lv.RAID() == nil && image != nil {
		raid = image.LV
	}
	return lv.VG.superblocks()[raid].DataOffset()
}

// InPlacesOf says whether the bytes of the LV lie, by the metadata, where those of old lie, an earlier reading of it.
// If the LV is Stateful, what it keeps on disk may have changed all the same.
func (lv *LV) InPlacesOf(old *LV) bool {
	return lv.fingerprint(lv.VG.places()) == old.fingerprint(old.VG.places())
}

// Fingerprint is equal for two readings of the LV if the metadata say the same about what its bytes are. It does not
// matter when, or by whom, they were read, or whether a PV is there.
func (lv *LV) Fingerprint() metadata.Fingerprint { return lv.fingerprint(lv.VG.prints()) }

// fingerprint picks the LV's from those of its VG, which has none for a thin device.
func (lv *LV) fingerprint(all map[*metadata.LV]metadata.Fingerprint) metadata.Fingerprint {
	if lv.device != nil {
		return all[lv.device.LV].OfDevice(lv.LV)
	}
	return all[lv.LV]
}

// Devices are the devices beneath the LV that were found, each once.
func (lv *LV) Devices() []Device { return lv.VG.found(lv.PVs()) }

// ThinRoot is a place in the metadata of a thin pool where its mappings may begin.
type ThinRoot struct {
	Block    uint64
	Devices  []uint64 // IDs, in order
	Known    int      // how many of them the VG knows of
	Mappings uint64   // of all devices, as far as they can be read
	Damaged  int      // nodes that should be there and cannot be read
	Newest   uint64   // the highest time of a mapping
}

// ThinRoots searches all metadata of the thin pool that lv is. It finds the places where its mappings may begin, whatever
// the superblock says. The most plausible place comes first. Only checksums are believed, so a place may be of the past.
// One is chosen by [ThinPoolChoice].
//
// also are IDs of devices to look for besides those of the LVs in the pool: those of LVs that were removed.
func (lv *LV) ThinRoots(also ...uint64) ([]ThinRoot, error) {
	found, err := lv.VG.assembly.ThinRoots(lv.LV, also)
	roots := make([]ThinRoot, len(found))
	for i, r := range found {
		roots[i] = ThinRoot(r)
	}
	return roots, err
}

// Differences calls visit for each run of bytes that lv maps otherwise than since does, another thin LV of the same pool.
// Only mappings are compared and no data is read, so equal bytes in different chunks differ. It fails with
// ErrNotComparable, or the first error of visit.
func (lv *LV) Differences(since *LV, visit func(off, length int64) error) error {
	contents := func(lv *LV) (mapping.Volume, error) {
		v, err := lv.VG.assembly.Contents(lv.LV)
		if err != nil {
			return nil, fmt.Errorf("LV %s: %w", lv, err)
		}
		return v, nil
	}
	v, err := contents(lv)
	if err != nil {
		return err
	}
	old, err := contents(since)
	if err != nil {
		return err
	}
	if err := dm.ThinDifferences(v, old, visit); err != nil {
		return fmt.Errorf("LVs %s and %s: %w", lv, since, err)
	}
	return nil
}
