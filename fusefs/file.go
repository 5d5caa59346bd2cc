package fusefs

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/overlay"
)

// lvFile is one LV's file for as long as the LV exists: nodes and handles refer to it, and a
// reload changes what it is made of.
//
// Locks, to be taken in this order:
//
//	opening     held to open for writing, to close after writing, and to wait for either; a reload holds it to change lv
//	io          held for reading by all who use vol, for writing to replace lv or vol
//	lazy        held to open vol for the first reader
//	overlaying  held to open the overlay and to give it up
//	end.mu      held for reading to write in front of the end, for writing to move it. So nobody writes where
//	            another makes zeros, and those who write in front of the end do not wait for each other
//	end.who     held to look at who is open for writing
//	inodes.mu   held to look at who has which inode open
type lvFile struct {
	key fileKey
	ino uint64

	opening sync.Mutex
	writers int // handles open for writing

	io   sync.RWMutex
	lost error                      // why those handles cannot write any more
	lv   atomic.Pointer[currentLV]  // nil: the LV is gone
	vol  atomic.Pointer[openVolume] // nil: not yet opened; the writable one while there are writers

	lazy sync.Mutex

	overlaying sync.Mutex
	overlay    *overlay.Overlay // nil: there is none, or nobody asked yet

	end fileEnd

	inodes  fileInodes
	handles atomic.Int64
	mtime   atomic.Int64 // ns
	holes   atomic.Int64 // bytes, plus one; 0: not counted yet
}

// currentLV is what the newest metadata says of a file's LV.
type currentLV struct {
	*lvm2.LV
	readOnly func() error // why it cannot be opened for writing; may have to open it for reading
	overlays overlays
}

var errGone = errors.New("the LV is gone")

func newCurrentLV(lv *lvm2.LV, o overlays) *currentLV {
	c := &currentLV{LV: lv, overlays: o}
	c.readOnly = c.askOnce()
	return c
}

// askOnce asks only once why an LV cannot be written. If the LV could not even be opened it asks again, because that may
// pass.
func (c *currentLV) askOnce() func() error {
	var asked atomic.Pointer[error]
	return func() error {
		if reason := asked.Load(); reason != nil {
			return *reason
		}
		reason, err := c.readOnlyReason()
		if err == nil {
			asked.Store(&reason)
		}
		return reason
	}
}

// readOnlyReason is why the LV cannot be written. With an overlay everything can be written that can be read. The err
// says why it cannot even be read.
func (c *currentLV) readOnlyReason() (reason, err error) {
	_, err = c.Open()
	if !c.overlaid() {
		return c.ReadOnlyReason(), err
	}
	if err != nil {
		return &lvm2.ReadOnlyError{LV: c.LV, Reason: "it cannot be read", Own: true}, err
	}
	return nil, nil
}

// sameContents says whether a volume of c can go on to serve as one of o.
func (c *currentLV) sameContents(o *currentLV) bool {
	// Others may have written what a stateful LV was opened from.
	return !c.Stateful() && c.InPlacesOf(o.LV) && (c.readOnly() == nil) == (o.readOnly() == nil) && slices.Equal(c.Devices(), o.Devices())
}

func newFile(key fileKey, ino uint64, c *currentLV, now time.Time) *lvFile {
	f := &lvFile{key: key, ino: ino}
	f.lv.Store(c)
	changed := latestChange(c.LV, now)
	if c.overlaid() {
		if t := c.overlays.dir.ModTime(c.overlayIdentity()); t.After(changed) {
			changed = t
		}
	}
	f.mtime.Store(changed.UnixNano())
	return f
}

// latestChange is when an image file beneath lv was last changed; now for devices, which do not
// remember.
func latestChange(lv *lvm2.LV, now time.Time) time.Time {
	var latest time.Time
	for _, dev := range lv.Devices() {
		t := mapping.ModTime(dev)
		if t.IsZero() {
			t = now
		}
		if t.After(latest) {
			latest = t
		}
	}
	if latest.IsZero() {
		return now
	}
	return latest
}

// name is for messages.
func (f *lvFile) name() string {
	if c := f.lv.Load(); c != nil {
		return c.VG.Name + "/" + c.Name
	}
	return f.key.vg.String() + "/" + f.key.lv.String()
}

// volume is what the file is made of now. The caller holds f.io for as long as it uses it.
func (f *lvFile) volume() (*openVolume, error) {
	if v := f.vol.Load(); v != nil {
		return v, nil
	}
	f.lazy.Lock()
	defer f.lazy.Unlock()
	if v := f.vol.Load(); v != nil {
		return v, nil
	}
	v, err := f.open(f.lv.Load(), false)
	if err != nil {
		return nil, err
	}
	f.vol.Store(v)
	return v, nil
}

// openForWriting makes the volume writable, for one more handle.
func (f *lvFile) openForWriting() error {
	f.opening.Lock()
	defer f.opening.Unlock()
	if f.writers == 0 || f.lost != nil {
		w, err := f.open(f.lv.Load(), true)
		if err != nil {
			return err
		}
		if err := f.replace(w).Close(); err != nil {
			return err
		}
	}
	f.writers++
	return nil
}

// closeAfterWriting is for when a handle that was open for writing is closed.
func (f *lvFile) closeAfterWriting() error {
	f.opening.Lock()
	defer f.opening.Unlock()
	f.writers--
	if f.writers > 0 {
		return nil
	}
	return f.replace(nil).Close()
}

// writesState says whether the file is open for writing and its LV, which is written itself, keeps more than its bytes
// on disk. The caller holds f.opening.
func (f *lvFile) writesState() bool {
	c := f.lv.Load()
	return f.writers > 0 && c != nil && !c.overlaid() && c.Stateful()
}

// replace puts v, or for nil one to be opened for reading, in the place of the volume once
// no I/O uses that any more. The caller holds f.opening.
func (f *lvFile) replace(v *openVolume) *openVolume {
	f.io.Lock()
	defer f.io.Unlock()
	return f.swap(v, nil)
}

// swap is replace for one who holds f.io. lost says why handles open for writing cannot write
// to v.
func (f *lvFile) swap(v *openVolume, lost error) *openVolume {
	f.lost = lost
	f.holes.Store(0)
	return f.vol.Swap(v)
}

// abandon syncs and gives up all claims. The file stays behind as one whose LV is gone.
func (f *lvFile) abandon() error {
	f.opening.Lock()
	defer f.opening.Unlock()
	f.io.Lock()
	defer f.io.Unlock()
	f.lv.Store(nil)
	f.end.at.Store(0)
	return errors.Join(f.swap(nil, errGone).Close(), f.leaveOverlay())
}

// size is the file's size in bytes. The caller holds f.io.
func (f *lvFile) size(c *currentLV) int64 {
	if v, err := f.volume(); err == nil {
		return v.Size()
	}
	return c.DeviceSize()
}

// volumeForWriting is the volume, unless a reload has taken the right to write away.
// The caller holds f.io and has it open for writing.
func (f *lvFile) volumeForWriting() (*openVolume, error) {
	if f.lost != nil {
		return nil, f.lost
	}
	return f.volume()
}

// syncOthers returns once all that was written is on stable storage, also by those who are closing just now.
func (f *lvFile) syncOthers() error {
	f.opening.Lock()
	defer f.opening.Unlock()
	f.io.RLock()
	defer f.io.RUnlock()
	if v := f.vol.Load(); v != nil {
		return v.Sync()
	}
	return nil
}

// touch moves the time of the last change to now.
func (f *lvFile) touch() { f.mtime.Store(time.Now().UnixNano()) }
