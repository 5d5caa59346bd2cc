package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"lvm2fs/blockdev"
	"lvm2fs/layers/md"
	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
	"lvm2fs/mapping"
)

// Session is a set of open devices, with what was found on them. It is safe for concurrent use.
type Session struct {
	opts   Options
	log    *slog.Logger
	result atomic.Pointer[Result]

	// mu is held by Reload and Close; it guards all that follows.
	mu     sync.Mutex
	closed bool
	open   devices

	named  []mapping.Device // by the caller
	system []mapping.Device // by Options.SystemDisks

	prober   *probe.Prober
	layers   *layers
	offsets  []*offset
	inner    innerDevices
	metadata map[string]*blockdev.Device // of Choice.ThinMetadataFile, by path

	notOpened []Problem // of the paths and the system's disks
}

// Open opens devices and looks for volume groups on them. That there are none, or that some of the paths cannot
// be opened, is no error: [Result.NoVG] and Result.Problems tell. It fails if nothing at all can be opened, with what was
// wrong with each; with an [OptionError]; with ErrInUse if Options.Exclusive says so; and with the error of ctx
// when that is done, which is looked at between devices and between key slots.
func Open(ctx context.Context, paths []string, opts Options) (*Session, error) {
	s := &Session{opts: opts, log: opts.Logger, inner: innerDevices{}, metadata: map[string]*blockdev.Device{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, o := range opts.Offsets {
		s.offsets = append(s.offsets, &offset{Offset: o})
	}
	for _, p := range opts.IsPV {
		s.offsets = append(s.offsets, &offset{Offset: Offset{Device: p.Device, Bytes: p.Offset}})
	}
	s.layers = newLayers(opts, paths)
	// What is open stays so.
	defer s.layers.keys.forget()
	s.prober = probe.New(s.probeOptions())
	s.named = slices.Clone(opts.Devices)
	s.open.given = s.named
	if err := s.openAll(paths); err != nil {
		return nil, s.abandon(err)
	}
	r, err := s.scan(ctx, opts.Exclusive)
	if err != nil {
		return nil, s.abandon(err)
	}
	s.result.Store(r)
	return s, nil
}

// Result is what Open found, or the last Reload that did not fail.
func (s *Session) Result() *Result { return s.result.Load() }

// Devices are all files and disks that the session has open, but for what images name. They stay the session's
// to close.
func (s *Session) Devices() []*blockdev.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.open.all, slices.Collect(maps.Values(s.metadata)))
}

// Reload looks again at the devices of the session. The new Result has LVs of its own; those of the former one
// can still be read, and go on to show what was there before. On an error the session stays as it is; it fails as Open
// does, but never because a device is in use.
//
// Options.Keys are no longer known, unless Options.KeepKeys says so: a container that has turned up since, or is in an
// image that has changed, is opened with Options.Passphrase or not at all.
func (s *Session) Reload(ctx context.Context) (*Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if err := s.open.refresh(); err != nil {
		return nil, err
	}
	defer s.layers.keys.forget()
	// Who uses a device by now is no reason to refuse what is open.
	r, err := s.scan(ctx, false)
	if err != nil {
		return nil, err
	}
	s.result.Store(r)
	return r, nil
}

// Close closes all devices that the session has opened, and forgets the keys of containers. LVs that
// are still open fail to read from then on, with an error that wraps os.ErrClosed. Where one is open for writing
// Close fails with an error that wraps blockdev.ErrBusy, and closes nothing. The second and later calls do nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	for _, d := range s.open.all {
		if d.Claimed() {
			return fmt.Errorf("%s: %w: an LV on it is open for writing", d.Name(), blockdev.ErrBusy)
		}
	}
	s.closed = true
	return s.close()
}

// abandon closes what an Open that fails has opened.
func (s *Session) abandon(err error) error {
	_ = s.close()
	return err
}

func (s *Session) close() error {
	errs := []error{s.prober.Close(), s.open.close()}
	for _, d := range s.metadata {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

func (s *Session) probeOptions() probe.Options {
	return probe.Options{
		Images:     s.layers.images(),
		Containers: s.layers.containers(),
		Offset:     s.offset,
		SectorSize: SectorSize,
		Partition:  s.open.partition,
		MD: md.Options{
			RAID0Layout: s.opts.RAID0Layout,
			OnError: func(member mapping.Device, off, n int64, err error) {
				s.warn("%s: %d bytes at %d are read from the other members: %w", member.Name(), n, off, err)
			},
		},
	}
}

// warn tells the logger what an error with this text would say.
func (s *Session) warn(format string, args ...any) { s.log.Warn(fmt.Errorf(format, args...).Error()) }

// maxNesting bounds how often PVs lie in LVs whose PVs lie in LVs.
const maxNesting = 8

// scan looks for volume groups on the devices.
func (s *Session) scan(ctx context.Context, exclusive bool) (*Result, error) {
	var inner []mapping.Device
	var found *probe.Result
	var scan *lvm2.Scan
	var past *history.Found
	var inUse []Problem
	var unchosen error
	users := blockdev.LookForUsers()
	for range maxNesting {
		var err error
		if found, err = s.prober.Probe(ctx, s.named, slices.Concat(s.system, inner)); err != nil {
			return nil, err
		}
		var holder map[lvm2.Device]string
		holder, inUse = holders(users, found)
		if exclusive && len(inUse) > 0 {
			return nil, inUse[0].Err
		}
		var views []lvm2.View
		if views, past, err = s.views(ctx, found); err != nil {
			return nil, err
		}
		options := s.options(found, holder)
		options.Views = views
		scan = lvm2.Open(found.Candidates, options)
		// A choice may be for an LV whose PV is found only in the next round.
		unchosen = s.choose(scan)
		if !s.opts.Nested {
			break
		}
		next := s.inner.of(scan)
		if len(next) <= len(inner) {
			break
		}
		inner = next
	}
	if err := cmp.Or(s.unmatched(scan), unchosen); err != nil {
		return nil, err
	}
	r := &Result{VGs: scan.VGs, Orphans: scan.Orphans, Roots: found.Roots, past: past, onLVs: map[[2]lvm2.UUID]*probe.Node{}}
	for _, n := range found.Others {
		if d, ok := n.Device.(*innerDevice); ok {
			r.onLVs[[2]lvm2.UUID{d.vg, d.lv}] = n
		} else {
			r.Disks = append(r.Disks, n)
		}
	}
	s.inner.keep(inner)
	s.prober.Forget()
	if s.opts.Removed {
		r.Removed = s.removed(found, scan, past)
	}
	r.Problems = s.problems(found, scan, inUse)
	return r, nil
}

// unmatched is the first option for a device that is not there.
func (s *Session) unmatched(scan *lvm2.Scan) error {
	others := refusals(s.notOpened)
	for i, o := range s.offsets {
		if o.Device != "" && !o.used {
			if n := len(s.opts.Offsets); i >= n {
				return &OptionError{"IsPV", i - n, o.Device, ErrNoDevice, others}
			}
			return &OptionError{"Offsets", i, o.Device, ErrNoDevice, others}
		}
	}
	pvs := devicesWithPV(scan)
	for i, device := range s.opts.Prefer {
		if !slices.ContainsFunc(pvs, func(d lvm2.Device) bool { return liesOn(d, device) }) {
			return &OptionError{"Prefer", i, device, fmt.Errorf("%w was found there", lvm2.ErrNoPV), others}
		}
	}
	return nil
}

// devicesWithPV are all devices on which a PV was found, used or not.
func devicesWithPV(scan *lvm2.Scan) (all []lvm2.Device) {
	pvs := slices.Clone(scan.Orphans)
	for _, vg := range scan.VGs {
		pvs = append(pvs, vg.PVs...)
	}
	for _, pv := range pvs {
		if pv.Device != nil {
			all = append(all, pv.Device)
		}
	}
	for _, rejected := range scan.Rejected {
		switch reasonFor(rejected.Err) {
		case Duplicate, Ambiguous, Outdated:
			all = append(all, rejected.Device)
		}
	}
	return all
}

// problems are all that is wrong: first what can be got over, then what is refused.
func (s *Session) problems(found *probe.Result, scan *lvm2.Scan, inUse []Problem) []Problem {
	all := slices.Clone(inUse)
	for _, err := range found.Warnings {
		all = append(all, Problem{Reason: Oddity, Err: err})
	}
	for _, f := range found.Failed {
		all = append(all, Problem{Reason: reasonFor(f.Err), Device: f.Device, Err: f.Err})
	}
	for _, err := range scan.Warnings {
		all = append(all, Problem{Reason: Oddity, Err: err})
	}
	all = append(all, s.notOpened...)
	for _, f := range found.Refused {
		all = append(all, Problem{Reason: reasonFor(f.Err), Refused: true, Device: f.Device, Err: f.Err})
	}
	for _, rejected := range scan.Rejected {
		all = append(all, Problem{Reason: reasonFor(rejected.Err), Refused: true, Device: rejected.Device, Err: rejected.Err})
	}
	return all
}

func (s *Session) options(found *probe.Result, holder map[lvm2.Device]string) lvm2.Options {
	options := lvm2.Options{
		AtWord: func(d lvm2.Device) bool { return found.AtWord[d] },
		Chosen: func(d lvm2.Device) bool {
			return slices.ContainsFunc(s.opts.Prefer, func(device string) bool { return liesOn(d, device) })
		},
		Beats:  found.Beats,
		Unread: found.Unread,
		Rival:  found.MayBeBeneath,
		InUse:  func(d lvm2.Device) string { return holder[d] },

		IsPV:        s.isPV,
		Overwritten: overwritten,
		ReadReused:  s.opts.ReadReused,
		UseMissing:  s.useMissing,
		CacheLost: func(lv *lvm2.LV, err error) {
			s.warn("LV %s: its cache is lost, and its origin read alone, which has all that was written: %w", lv, err)
		},
		LegFailed: func(lv *lvm2.LV, leg int, off, n int64, err error) {
			s.warn("LV %s: leg %d: %d bytes at %d are read from the others: %w", lv, leg, n, off, err)
		},
	}
	if s.opts.SacrificeSnapshots {
		options.SnapshotLost = func(lv *lvm2.LV, err error) {
			s.warn("LV %s: the snapshot is lost, because its origin was written: %w", lv, err)
		}
	}
	return options
}
