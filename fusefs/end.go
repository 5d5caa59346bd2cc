package fusefs

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"lvm2fs/mapping"
)

// fileEnd is the end that a file has of its own after a truncation, for an LV keeps its size. Programs that truncate
// a file and then leave out what is zero rely on it: what they leave out has to read as zeros.
//
//	0                     end                  size
//	| written, or zeroed  | as it was before    |
//
// A write beyond the end makes what lies between read as zeros and moves the end behind what is written. Bytes behind
// the end stay as they are, for whoever truncates a file to write one sector means no other.
//
// The end concerns the handles that are cut: those of the program that truncated, and those opened for writing since.
// It is gone when the last of them is closed. To the others the LV stays whole, so that one program that truncates the file
// does not take the disk away from a loop device or a virtual machine that uses it.
type fileEnd struct {
	mu sync.RWMutex // held for reading to write in front of the end, for writing to move it or to say whom it concerns
	at atomic.Int64 // bytes, plus one; 0: there is none

	who     sync.Mutex
	writers []*handle // open for writing
}

// zeroChunk is how many zeros in bytes are written at once where no hole can be punched.
const zeroChunk = 1 << 20

var zeros [zeroChunk]byte

// get is the end in bytes, if there is one.
func (e *fileEnd) get() (int64, bool) {
	n := e.at.Load()
	return n - 1, n != 0
}

// of is where the file ends for a handle; at size if that is not cut.
func (e *fileEnd) of(h *handle, size int64) int64 {
	if at, ok := e.get(); ok && h.cut.Load() {
		return min(at, size)
	}
	return size
}

func (e *fileEnd) set(at int64) { e.at.Store(at + 1) }

// join is for a handle that was just opened for writing.
func (e *fileEnd) join(h *handle) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.who.Lock()
	defer e.who.Unlock()
	_, ok := e.get()
	h.cut.Store(ok)
	e.writers = append(e.writers, h)
}

// leave is for a handle that is being closed. It says whether the end is gone with it.
func (e *fileEnd) leave(h *handle) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.who.Lock()
	defer e.who.Unlock()
	cut := 0
	kept := e.writers[:0]
	for _, w := range e.writers {
		if w == h {
			continue
		}
		kept = append(kept, w)
		if w.cut.Load() {
			cut++
		}
	}
	clear(e.writers[len(kept):])
	e.writers = kept
	return cut == 0 && e.at.Swap(0) != 0
}

// cutFor cuts the handles that a truncation concerns: the one that it came through, which may be nil, those of the
// process that asked for it, and if there are none, all. It says whether there is any. The caller holds mu.
func (e *fileEnd) cutFor(h *handle, process uint32) bool {
	e.who.Lock()
	defer e.who.Unlock()
	var concerned []*handle
	for _, w := range e.writers {
		if w == h || w.process == process {
			concerned = append(concerned, w)
		}
	}
	if len(concerned) == 0 {
		concerned = e.writers
	}
	for _, w := range concerned {
		w.cut.Store(true)
		w.flushed.Store(false)
	}
	return len(concerned) > 0
}

// truncate moves the end to where a truncation wants it, at most the size of v. With no handle open for writing there is
// nobody who could write beyond it, and nothing to do.
func (e *fileEnd) truncate(v mapping.Writable, h *handle, process uint32, to int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.get()
	if !ok && to == v.Size() {
		return nil
	}
	if !e.cutFor(h, process) {
		return nil
	}
	if at, ok := e.get(); ok && to > at {
		return e.zeroUpTo(v, to)
	}
	e.set(to)
	return nil
}

// write writes p at off for a handle, all of which must lie in the size of v.
func (e *fileEnd) write(v mapping.Writable, h *handle, p []byte, off int64) error {
	return e.overwrite(v, h, off, off+int64(len(p)), func() error {
		_, err := v.WriteAt(p, off)
		return err
	})
}

// overwrite calls do, which gives a handle's bytes from off up to to new values.
func (e *fileEnd) overwrite(v mapping.Writable, h *handle, off, to int64, do func() error) error {
	if !h.cut.Load() {
		return do()
	}
	if done, err := e.within(to, do); done {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if at, ok := e.get(); ok && off > at {
		if err := e.zeroUpTo(v, off); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if at, ok := e.get(); ok && to > at {
		e.set(to)
	}
	return nil
}

// within calls do, which writes up to to, unless the end has to be moved for that. Those who write in front of the end
// need no order.
func (e *fileEnd) within(to int64, do func() error) (done bool, err error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if at, ok := e.get(); ok && to > at {
		return false, nil
	}
	return true, do()
}

// zeroUpTo makes what lies between the end and to read as zeros, and moves the end as far as that went well. The caller
// holds mu and knows that there is an end, in front of to.
func (e *fileEnd) zeroUpTo(v mapping.Writable, to int64) error {
	at, _ := e.get()
	err := v.PunchHole(at, to-at)
	if err == nil {
		e.set(to)
		return nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	for at < to {
		n := min(to-at, zeroChunk)
		if _, err := v.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		at += n
		e.set(at)
	}
	return nil
}

// Who closes a file and then asks for its size is to get that of the LV. But the kernel waits only for the answer to the
// flush, not for that to the release, so a handle that is cut gives the end back in two steps.
const (
	releasePoll = time.Millisecond
	releaseWait = 100 * time.Millisecond
)

// settled is the end once no release is to be expected any more. A handle may also have been flushed because
// a copy of its descriptor was closed, as a shell does, so there is a limit to the waiting.
func (e *fileEnd) settled() (at int64, ok bool) {
	for waited := time.Duration(0); ; waited += releasePoll {
		at, ok = e.get()
		if !ok || waited >= releaseWait || !e.closing() {
			return at, ok
		}
		time.Sleep(releasePoll)
	}
}

// closing says whether all handles that are cut were last used for being flushed.
func (e *fileEnd) closing() bool {
	e.who.Lock()
	defer e.who.Unlock()
	for _, w := range e.writers {
		if w.cut.Load() && !w.flushed.Load() {
			return false
		}
	}
	return true
}
