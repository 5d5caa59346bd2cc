package attach

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lvm2fs/ggate"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// gate says what a unit of geom_gate for an entry is to be like. provider is the provider of GEOM, without /dev/, on which
// the LV is one run of bytes from offset; "" if there is none.
func (e *Entry) gate(provider string, offset int64) ggate.Options {
	opts := ggate.Options{SectorSize: e.BlockSize, ReadOnly: e.ReadOnly, Info: e.Mark()}
	if provider != "" && offset%int64(e.BlockSize) == 0 {
		opts.ReadProvider, opts.ReadOffset = provider, offset
	}
	return opts
}

const gatePath = "/dev/ggate"

// unit is the number of an entry's device.
func (e *Entry) unit() (int32, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(e.Device, gatePath), 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: not a device of geom_gate", e.Device)
	}
	return int32(n), nil
}

// CreateGate makes the device of an entry. Requests wait until a process serves it.
func CreateGate(c ggate.Control, e *Entry, v mapping.Volume, provider string, offset int64) error {
	opts := e.gate(provider, offset)
	if !e.ReadOnly {
		v = writableLater{v}
	}
	unit, err := ggate.Create(c, v, opts)
	if err != nil {
		return fmt.Errorf("LV %s: %w", e.LV, err)
	}
	e.Way, e.Device = Served, fmt.Sprint(gatePath, unit)
	return nil
}

// writableLater is a volume that the process to come opens for writing.
type writableLater struct{ mapping.Volume }

func (writableLater) WriteAt([]byte, int64) (int, error) { return 0, mapping.ErrNotWritable }
func (writableLater) PunchHole(int64, int64) error       { return mapping.ErrNotWritable }
func (writableLater) Sync() error                        { return nil }

// DestroyGate takes the device of an entry away. Without force it fails with EBUSY where somebody has it open.
func DestroyGate(c ggate.Control, e *Entry, force bool) error {
	unit, err := e.unit()
	if err != nil {
		return err
	}
	return c.Destroy(unit, force)
}

// Gates are the devices that a process serves. They are safe for concurrent use.
type Gates struct {
	Control ggate.Control
	// Failed is told of each request that could not be done. It may be called by several goroutines.
	Failed func(lv string, err error)

	mu     sync.Mutex
	served []*gate
	ended  sync.WaitGroup
	errs   []error
}

// gate is a device and what it is made of now.
type gate struct {
	entry  Entry
	lv     *lvm2.LV // nil: it is gone
	server *ggate.Server
	volume *exchangeable
}

// Serve takes over the device of an entry, which may have requests waiting.
func (g *Gates) Serve(e *Entry, lv *lvm2.LV) error {
	unit, err := e.unit()
	if err != nil {
		return err
	}
	v, err := openFor(e, lv)
	if err != nil {
		return err
	}
	served := &gate{entry: *e, lv: lv, volume: &exchangeable{v: v, size: v.Size()}}
	opts := e.gate("", 0)
	opts.Failed = func(_ ggate.Command, off, n int64, err error) {
		g.Failed(e.LV, fmt.Errorf("%d bytes at %d: %w", n, off, err))
	}
	if served.server, err = ggate.Resume(g.Control, unit, served.volume, opts); err != nil {
		return errors.Join(fmt.Errorf("LV %s: %w", e.LV, err), v.Close())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.served = append(g.served, served)
	g.ended.Go(func() {
		err := served.server.Wait()
		// A reload, which holds mu, opens no LV for a device that is gone: nobody would close it.
		g.mu.Lock()
		defer g.mu.Unlock()
		g.served = slices.DeleteFunc(g.served, func(s *gate) bool { return s == served })
		served.volume.mu.Lock()
		defer served.volume.mu.Unlock()
		g.errs = append(g.errs, err, served.volume.put(nil, errGone))
	})
	return nil
}

func openFor(e *Entry, lv *lvm2.LV) (*lvm2.Volume, error) {
	if e.ReadOnly {
		return lv.Open()
	}
	return lv.OpenWritable()
}

// Wait returns when all devices are gone and what was written is on stable storage.
func (g *Gates) Wait() error {
	g.ended.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

// Stop takes all devices away that nobody has open, or with force all.
func (g *Gates) Stop(force bool) error {
	g.mu.Lock()
	served := slices.Clone(g.served)
	g.mu.Unlock()
	var errs []error
	for _, s := range served {
		if err := g.Control.Destroy(s.server.Unit(), force); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.server.Device(), err))
		}
	}
	return errors.Join(errs...)
}

// Reload has the devices follow their LVs to what the metadata says now, and says what has become of each that changed.
// rescan reads the metadata, and finds LVs by their UUIDs; nil for one that is gone. Requests wait meanwhile: another LV
// may lie already where one was, and nobody may write while the state that an LV keeps on disk is read.
func (g *Gates) Reload(rescan func() (find func(vg, lv string) *lvm2.LV, err error)) ([]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.served {
		s.volume.mu.Lock()
		defer s.volume.mu.Unlock()
	}
	var errs []error
	for _, s := range g.served {
		errs = append(errs, s.volume.put(nil, errGone))
	}
	find, err := rescan()
	if err != nil {
		for _, s := range g.served {
			errs = append(errs, s.reopen(s.lv))
		}
		return nil, errors.Join(append(errs, err)...)
	}
	var said []string
	for _, s := range g.served {
		// The kernel may not go on to read where the LV was.
		errs = append(errs, s.server.ReadThrough())
		said = append(said, s.follow(find(s.entry.VGUUID, s.entry.LVUUID))...)
	}
	return said, errors.Join(errs...)
}

var errGone = errors.New("the LV is gone")

// reopen opens an LV for a device whose volume is locked.
func (s *gate) reopen(lv *lvm2.LV) error {
	if lv == nil {
		return nil // as before
	}
	v, err := openFor(&s.entry, lv)
	if err != nil {
		s.volume.lost = err
		return err
	}
	return s.volume.put(v, nil)
}

// follow has a device show its LV as newer metadata describe it.
func (s *gate) follow(lv *lvm2.LV) []string {
	lost := func(err error) []string {
		return []string{fmt.Sprintf("%s: all that uses %s gets errors from now on: %v", s.entry.LV, s.server.Device(), err)}
	}
	if lv == nil {
		s.lv = nil
		return lost(errGone)
	}
	if s.lv != nil {
		lv.Inherit(s.lv)
	}
	s.lv = lv
	was := s.volume.size
	if err := s.reopen(lv); err != nil {
		return lost(err)
	}
	now := s.volume.size
	if now == was {
		return nil
	}
	if err := s.server.Resize(now); err != nil {
		return []string{fmt.Sprintf("%s: its size is %d bytes now, and not that of %s: %v", s.entry.LV, now, s.server.Device(), err)}
	}
	return []string{fmt.Sprintf("%s (%s) has %d bytes, before %d", s.entry.LV, s.server.Device(), now, was)}
}

// exchangeable is a volume that can be replaced by another while it is in use.
type exchangeable struct {
	mu   sync.RWMutex
	v    *lvm2.Volume // nil: there is none now
	lost error        // why
	size int64        // of the last that there was
}

var _ mapping.Writable = (*exchangeable)(nil)

// put replaces the volume by v, and closes it. The caller holds mu, so no request uses it.
func (x *exchangeable) put(v *lvm2.Volume, lost error) error {
	old := x.v
	x.v, x.lost = v, lost
	if v != nil {
		x.size = v.Size()
	}
	if old == nil {
		return nil
	}
	return old.Close()
}

func (x *exchangeable) with(do func(v *lvm2.Volume) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.v == nil {
		return x.lost
	}
	return do(x.v)
}

func (x *exchangeable) Size() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.size
}

func (x *exchangeable) Map(off, max int64) (e mapping.Extent, err error) {
	err = x.with(func(v *lvm2.Volume) error {
		e, err = v.Map(off, max)
		return err
	})
	return e, err
}

func (x *exchangeable) ReadAt(p []byte, off int64) (n int, err error) {
	err = x.with(func(v *lvm2.Volume) error {
		n, err = v.ReadAt(p, off)
		return err
	})
	if n == len(p) && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (x *exchangeable) WriteAt(p []byte, off int64) (n int, err error) {
	err = x.with(func(v *lvm2.Volume) error {
		n, err = v.WriteAt(p, off)
		return err
	})
	return n, err
}

func (x *exchangeable) PunchHole(off, n int64) error {
	return x.with(func(v *lvm2.Volume) error { return v.PunchHole(off, n) })
}

func (x *exchangeable) Sync() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.v == nil { // closed, and synced with that
		return nil
	}
	return x.v.Sync()
}
