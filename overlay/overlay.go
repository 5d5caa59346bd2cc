// Package overlay keeps what is written to a volume in a file of its own, so that nothing beneath the volume
// changes. See docs/format/11-overlay.md.
//
//	          Volume
//	read   /    |    \   written
//	     base  zeros   Overlay ── file
//
// The volume is divided into areas, each of which has a sector in the file's map. The sector says of every
// block of the area where it is: as it was in the base, zeros, or in one of two slots of the file. A block
// that is on stable storage is never written in place: its new bytes go to the other slot, and a commit writes
// them, flushes, writes the map, and flushes again. So a power cut leaves each block as it was at some time
// since the last commit, whole.
//
// [Create], [Open] and [Overlay.Over] work on any [File]. [Dir] is a directory of them, each locked by one
// who writes or by any number of those who read.
package overlay

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"lvm2fs/internal/lru"
	"lvm2fs/mapping"
)

var (
	// ErrForeign is wrapped by the error for an overlay that belongs to another volume, or to this one as it was
	// once.
	ErrForeign = errors.New("the overlay belongs to something else")
	// ErrDamaged is wrapped by the error for a file that is no overlay, or no longer a sound one. It names
	// the file, the structure and the byte.
	ErrDamaged = errors.New("damaged")
	// ErrFull is wrapped by the error of a change for which there is no room where the overlay is. Nothing is lost
	// then, and it may be tried again.
	ErrFull = fmt.Errorf("%w for the overlay", mapping.ErrNoSpace)
	// ErrVersion is wrapped by the error for an overlay of a later format.
	ErrVersion = errors.New("unknown version of the format")
)

// File is what an overlay is kept in. It is safe for concurrent use. What is written beyond its end makes it
// longer, and what was never written reads as zeros.
type File interface {
	mapping.Device
	// WriteAt is whole or an error.
	WriteAt(p []byte, off int64) (int, error)
	// Sync returns once all that was written is on stable storage.
	Sync() error
	// PunchHole gives back the space of n bytes at off, which nobody reads any more.
	PunchHole(off, n int64) error
	// NextData finds the first bytes from off to end that are not in a hole: where they start and end, or end
	// twice if there are none. It may fail where holes are not known.
	NextData(off, end int64) (from, to int64, err error)
	Close() error
}

// Overlay is an open overlay. It is safe for concurrent use.
//
// Locks, to be taken in this order:
//
//	commits  held for reading to change blocks, for writing to bring them to stable storage
//	areas    one for some of the areas: held to change blocks of one
//	mu       held for reading to look at the map, for writing to change it in memory
type Overlay struct {
	file File
	head header
	layout
	writing bool

	commits   sync.RWMutex
	unsettled error                 // why the last commit failed; nothing may be changed before one succeeds
	failed    atomic.Pointer[error] // why none can succeed any more

	areas     [64]sync.Mutex
	unflushed atomic.Bool // data were written since the last commit

	mu      sync.RWMutex
	changed map[int64]*change // areas whose sector in the file is older than this
	clean   *lru.Cache[int64, *area]
	present presence
	places  int64  // that are taken, from the start
	freed   []span // to be given back at the next commit
}

// change is an area whose sector has to be written.
type change struct {
	was *area // as it is on stable storage
	now *area
}

const (
	cleanAreas = 4096 // sectors of the map in memory, half a kilobyte each
	// maxChanged is after how many changed areas there is a commit, whoever asked for one.
	maxChanged = 1 << 14
	// maxFreed bounds the runs that are given back. More are kept until they are written again.
	maxFreed = 1 << 12
)

// span is a run of blocks of an area.
type span struct {
	area     int64
	from, to int
}

// Create makes an empty file an overlay that belongs to id. It is on stable storage then.
func Create(f File, id Identity) error {
	head, err := newHeader(id)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if _, err := f.WriteAt(head.encode(), 0); err != nil {
		return full(err)
	}
	return full(f.Sync())
}

// full makes what the system says of a full disk, and of a quota, one of ErrFull.
func full(err error) error {
	if mapping.NoSpace(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// put writes p at off of the file.
func (o *Overlay) put(p []byte, off int64) error {
	_, err := o.file.WriteAt(p, off)
	return full(err)
}

// Open reads an overlay, to change it if it is for writing. It fails with ErrDamaged and ErrVersion. A sector of the map
// that is damaged makes its own area unreadable and no other.
func Open(f File, writing bool) (*Overlay, error) {
	head, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	o := &Overlay{
		file:    f,
		head:    *head,
		layout:  layoutOf(head.Size),
		writing: writing,
		changed: map[int64]*change{},
		clean:   lru.New[int64, *area](cleanAreas),
	}
	o.present = newPresence(o.areaCount)
	if err := o.findAreas(); err != nil {
		return nil, err
	}
	return o, nil
}

// Close syncs, and gives up the file. Nobody may use the overlay any more.
func (o *Overlay) Close() error { return errors.Join(o.Sync(), o.file.Close()) }

// Name is that of the file.
func (o *Overlay) Name() string { return o.file.Name() }

// Identity is what the overlay belongs to.
func (o *Overlay) Identity() Identity { return o.head.Identity }

// Writable says whether it was opened for writing.
func (o *Overlay) Writable() bool { return o.writing }

// Check fails with ErrForeign if the overlay belongs to something other than id. What LV and VG are called makes no difference.
func (o *Overlay) Check(id Identity) error { return o.head.check(o.file.Name(), id) }

// Over is base with the changes of the overlay. base must have the size that the overlay is for, and not change.
func (o *Overlay) Over(base mapping.Volume) (*Volume, error) {
	if base.Size() != o.head.Size {
		return nil, fmt.Errorf("%s: %w: it is for %d bytes, not for %d", o.file.Name(), ErrForeign, o.head.Size, base.Size())
	}
	return &Volume{o, base}, nil
}

// Volume is a volume whose changes are in an overlay.
type Volume struct {
	o    *Overlay
	base mapping.Volume
}

var _ mapping.Writable = (*Volume)(nil)

// Size is that of the volume beneath.
func (v *Volume) Size() int64 { return v.o.head.Size }

// Sync brings what was written to stable storage.
func (v *Volume) Sync() error { return v.o.Sync() }
