package vdisk

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"lvm2fs/mapping"
)

// changeable is a layout whose disk can be written. But for readOnly, files, and inPlace, for which holding the lock of
// the image for reading is enough, the caller holds that for writing.
type changeable interface {
	layout
	// readOnly is why the disk is not to be written all the same; nil if it may be.
	readOnly() error
	// files are those that are written.
	files() []mapping.Device
	// start looks at the files, which were just claimed, as if they had not been looked at before. It changes nothing.
	// It fails with ErrChanged if they hold another image by now.
	start() error
	// begin is called before the first change.
	begin() error
	// inPlace says where the bytes from off are, for at most max, if they can be overwritten there; ok is false if not.
	inPlace(off, max int64) (e mapping.Extent, ok bool, err error)
	// assign writes the bytes from the start of p to a place of their own, and says how many.
	assign(p []byte, off int64) (int64, error)
	// unmap makes bytes from off, at most n, read as zeros by the tables alone, and says how many: 0 if it cannot.
	unmap(off, n int64) (int64, error)
	// pending says how many sectors of tables the next commit writes.
	pending() int
	// commit returns once all that was written is on stable storage.
	commit() error
	// finish is called after the last commit.
	finish() error
}

// writable is an image that can be written. Data go to the file at once, what leads to them with the next commit.
//
// While it is claimed no byte of a file that belonged to some byte of the disk comes to belong to another one: who
// has asked Map and reads the file then may get what was there before a write, but never what is elsewhere.
type writable struct {
	*image
	to     changeable // nil if images of the format are only read
	reason error      // why

	commitsAfter func(commit func()) // has commit be called later; only tests change it

	// claiming is held by Claim and Release. claims may be read with the image's lock, too.
	claiming sync.Mutex
	claims   int
	claimed  []mapping.WritableDevice
	stamp    string

	// These are guarded by the image's lock.
	begun  bool
	timed  bool  // a commit will be made
	failed error // a commit has failed: what is in the file is unknown
}

var (
	_ mapping.WritableDevice = (*writable)(nil)
	_ Image                  = (*writable)(nil)
)

// Bounds of what a power cut takes of what was not flushed: how long it waits, and how much.
const (
	commitDelay = time.Second
	maxPending  = 8192 // sectors
)

// makeWritable is the image as a device that can be written, or says why it cannot; m itself if the file has no way to be.
func makeWritable(m *image) Image {
	if _, ok := m.dev.(mapping.WritableDevice); !ok {
		return m
	}
	w := &writable{image: m}
	w.commitsAfter = func(commit func()) { time.AfterFunc(commitDelay, commit) }
	w.stamp = w.now()
	c, ok := m.layout.(changeable)
	if !ok {
		w.reason = unsupported("writing to a %s image", m.info.Format)
		return w
	}
	w.to, w.reason = c, c.readOnly()
	for _, f := range c.files() {
		if _, ok := f.(mapping.WritableDevice); !ok && w.reason == nil {
			w.reason = fmt.Errorf("%s: %w", f.Name(), mapping.ErrNotWritable)
		}
	}
	return w
}

// Unwritable is why the image cannot be written, nil if nothing is known against it.
func (w *writable) Unwritable() error {
	if w.reason != nil {
		return fmt.Errorf("%s: %w", w.name, w.reason)
	}
	for _, f := range w.to.files() {
		if err := mapping.Unwritable(f); err != nil {
			return err
		}
	}
	return nil
}

// Stateful says that writing to the disk changes more than the bytes of it, so that nobody may go round this device.
func (w *writable) Stateful() bool {
	_, plain := w.layout.(fixedVHD)
	return w.reason == nil && !plain
}

// Current says whether the image is still what is in its files: nobody else has changed them since they were opened.
func (w *writable) Current() bool {
	w.claiming.Lock()
	defer w.claiming.Unlock()
	return w.claims > 0 || w.stamp == w.now()
}

// now is the size and age of the files.
func (w *writable) now() string { return fmt.Sprint(w.dev.Size(), mapping.ModTime(w.dev)) }

// writers are the images that are claimed, by their files.
var writers sync.Map

// Claim claims the files that are written, and looks at them again.
func (w *writable) Claim() error {
	w.claiming.Lock()
	defer w.claiming.Unlock()
	if w.claims > 0 {
		w.claims++
		return nil
	}
	if w.reason != nil {
		return fmt.Errorf("%s: %w: %w", w.name, mapping.ErrNotWritable, w.reason)
	}
	for _, f := range w.to.files() {
		if err := w.claimFile(f.(mapping.WritableDevice)); err != nil {
			return errors.Join(err, w.releaseFiles())
		}
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if err := w.to.start(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", w.name, err), w.releaseFiles())
	}
	w.claims, w.begun, w.failed = 1, false, nil
	return nil
}

func (w *writable) claimFile(f mapping.WritableDevice) error {
	if _, others := writers.LoadOrStore(f, w); others {
		return fmt.Errorf("%s: %w", f.Name(), ErrInUse)
	}
	err := f.Claim()
	if err != nil {
		writers.Delete(f)
		return err
	}
	w.claimed = append(w.claimed, f)
	return mapping.Refresh(f)
}

func (w *writable) releaseFiles() (failed error) {
	for _, f := range w.claimed {
		failed = errors.Join(failed, f.Release())
		writers.Delete(f)
	}
	w.claimed = nil
	return failed
}

// Release gives up a claim. The last one writes what leads to what was written, and waits for it.
func (w *writable) Release() error {
	w.claiming.Lock()
	defer w.claiming.Unlock()
	if w.claims == 0 {
		return fmt.Errorf("%s: %w", w.name, ErrNotClaimed)
	}
	if w.claims > 1 {
		w.claims--
		return nil
	}
	err := w.end()
	for _, f := range w.claimed {
		err = errors.Join(err, mapping.Refresh(f))
	}
	w.stamp = w.now()
	return errors.Join(err, w.releaseFiles())
}

// end makes the last commit.
func (w *writable) end() error {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.claims = 0
	if !w.begun {
		return nil
	}
	err := w.commitNow()
	if err == nil {
		if err = w.to.finish(); err != nil {
			err = fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if err != nil {
		// What the files hold may be older than what was read so far, but it is what there is.
		err = errors.Join(err, w.to.start())
	}
	return err
}

// Sync returns once all that was written is on stable storage. Once it has failed it goes on to fail, and nothing is
// written any more, until the last claim is released.
func (w *writable) Sync() error {
	if done, err := w.flush(); done {
		return err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.claims == 0 {
		return fmt.Errorf("%s: %w", w.name, ErrNotClaimed)
	}
	return w.commitNow()
}

// flush is Sync while no tables wait: readers go on.
func (w *writable) flush() (done bool, err error) {
	w.lock.RLock()
	defer w.lock.RUnlock()
	if w.ready() != nil || w.to.pending() > 0 {
		return false, nil
	}
	for _, f := range w.to.files() {
		err = errors.Join(err, f.(mapping.WritableDevice).Sync())
	}
	return true, err
}

func (w *writable) commitNow() error {
	if w.failed != nil {
		return w.failed
	}
	if err := w.to.commit(); err != nil {
		w.failed = fmt.Errorf("%s: writing what leads to what was written: %w", w.name, err)
	}
	return w.failed
}

// commitLater has the tables not wait long.
func (w *writable) commitLater() {
	if w.timed || w.to.pending() == 0 {
		return
	}
	w.timed = true
	w.commitsAfter(func() {
		w.lock.Lock()
		defer w.lock.Unlock()
		w.timed = false
		if w.claims > 0 && w.to.pending() > 0 {
			_ = w.commitNow() // the next write or flush tells
		}
	})
}

// ready fails if nothing may be written. The caller holds the lock.
func (w *writable) ready() error {
	if w.claims == 0 {
		return fmt.Errorf("%s: %w", w.name, ErrNotClaimed)
	}
	return w.failed
}

// WriteAt writes all of p, or fails.
func (w *writable) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite(w.name, off, int64(len(p)), w.Size()); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		n, err := w.overwrite(p[done:], off+int64(done))
		if err == nil && n == 0 {
			n, err = w.allocate(p[done:], off+int64(done))
		}
		done += n
		if err != nil {
			return done, fmt.Errorf("%s: writing at byte %d: %w", w.name, off+int64(done), err)
		}
	}
	return len(p), nil
}

// overwrite writes as much from the start of p as can be overwritten where it is: n is 0 if nothing can.
func (w *writable) overwrite(p []byte, off int64) (n int, err error) {
	w.lock.RLock()
	defer w.lock.RUnlock()
	if err := w.ready(); err != nil || !w.begun {
		return 0, err
	}
	for n < len(p) {
		e, ok, err := w.run(off+int64(n), int64(len(p)-n))
		if err != nil || !ok {
			return n, err
		}
		wrote, err := e.Device.(mapping.WritableDevice).WriteAt(p[n:][:e.Length], e.Offset)
		n += wrote
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// run is inPlace, but for as many blocks as lie behind one another in the file.
func (w *writable) run(off, max int64) (mapping.Extent, bool, error) {
	run, ok, err := w.to.inPlace(off, max)
	for ok && err == nil && run.Length < max {
		next, more, err := w.to.inPlace(off+run.Length, max-run.Length)
		// What keeps the next one from being written is told when it is its turn.
		if err != nil || !more || next.Device != run.Device || next.Offset != run.Offset+run.Length {
			break
		}
		run.Length += next.Length
	}
	return run, ok, err
}

// allocate has a change begin, and writes bytes from the start of p that cannot be overwritten where they are.
func (w *writable) allocate(p []byte, off int64) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if err := w.change(); err != nil {
		return 0, err
	}
	// Somebody else may have been faster.
	if _, ok, err := w.to.inPlace(off, int64(len(p))); ok || err != nil {
		return 0, err
	}
	n, err := w.to.assign(p, off)
	return int(n), w.changed(err)
}

// change is called before each change of tables.
func (w *writable) change() error {
	if err := w.ready(); err != nil || w.begun {
		return err
	}
	if err := w.to.begin(); err != nil {
		return err
	}
	w.begun = true
	return nil
}

// changed is called after each change of tables, with its error. It has them wait for the next commit, but neither long nor many.
func (w *writable) changed(err error) error {
	w.commitLater()
	if err == nil && w.to.pending() > maxPending {
		err = w.commitNow()
	}
	return err
}

// PunchHole makes n bytes at off read as zeros, and gives their space back where that is simple.
func (w *writable) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite(w.name, off, n, w.Size()); err != nil {
		return err
	}
	for n > 0 {
		done, err := w.punch(off, n)
		if err != nil {
			return fmt.Errorf("%s: making zeros at byte %d: %w", w.name, off, err)
		}
		off, n = off+done, n-done
	}
	return nil
}

// punch makes some bytes from off zeros.
func (w *writable) punch(off, n int64) (int64, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if err := w.change(); err != nil {
		return 0, err
	}
	e, err := extentOf(w.layout, off, n)
	if err != nil || e.Kind == mapping.Zero {
		return e.Length, err
	}
	e, ok, err := w.to.inPlace(off, n)
	if err != nil {
		return 0, err
	}
	if ok {
		f := e.Device.(mapping.WritableDevice)
		err := f.PunchHole(e.Offset, e.Length)
		if errors.Is(err, errors.ErrUnsupported) {
			e.Length = min(e.Length, maxZeros)
			_, err = f.WriteAt(make([]byte, e.Length), e.Offset)
		}
		return e.Length, err
	}
	done, err := w.to.unmap(off, n)
	if err == nil && done == 0 {
		done, err = w.to.assign(make([]byte, min(n, maxZeros)), off)
	}
	return done, w.changed(err)
}

// maxZeros is how many zeros are written at a time.
const maxZeros = 1 << 20

// fill gives the block of n bytes at start of the disk a place in the file, or a new one: what the disk has there,
// but for p at off. zeros says that the file has zeros there. What of the block lies behind the disk is zeros.
func fill(l layout, t *table, place, start, n int64, p []byte, off int64, zeros bool) error {
	if int64(len(p)) == n {
		return t.write(p, place)
	}
	size := min(n, l.size()-start)
	if zeros {
		around, err := zeroAround(l, start, size, off, int64(len(p)))
		if err != nil {
			return err
		}
		if around {
			return t.write(p, place+off-start)
		}
	}
	b := make([]byte, n)
	if _, err := readLayout(l, b[:size], start); err != nil {
		return fmt.Errorf("reading the %d bytes at byte %d to change a part of them: %w", size, start, err)
	}
	copy(b[off-start:], p)
	return t.write(b, place)
}

// zeroAround says whether all but length bytes at off of the n at start are known to be zeros.
func zeroAround(l layout, start, n, off, length int64) (bool, error) {
	yes := true
	look := func(_ int64, e mapping.Extent) error {
		yes = yes && e.Kind == mapping.Zero
		return nil
	}
	for _, part := range [][2]int64{{start, off}, {off + length, start + n}} {
		if part[0] >= part[1] {
			continue
		}
		if err := mapping.Walk(extents{l}, part[0], part[1]-part[0], look); err != nil {
			return false, err
		}
	}
	return yes, nil
}

// inOwnFile is inPlace of a disk each block of which, if it is in the file, is nowhere else.
func inOwnFile(l layout, file mapping.Device, off, max int64) (mapping.Extent, bool, error) {
	e, err := l.Map(off, max)
	if err != nil || e.Kind != mapping.Data || e.Device != file {
		return e, false, err
	}
	// What the file has lost does not come back as zeros.
	if end := file.Size(); e.Offset >= end {
		return e, false, beyond(file, e.Offset)
	} else if e.Length > end-e.Offset {
		e.Length = end - e.Offset
	}
	return e, true, nil
}
