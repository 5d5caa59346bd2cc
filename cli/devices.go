package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/raid"
	"lvm2fs/scan"
)

// deviceOptions are the flags about DEVICEs that every command has.
type deviceOptions struct {
	Exclusive   bool     `help:"Refuse devices that something else is using."`
	Scan        bool     `help:"Look at all block devices of the system too."`
	Nested      bool     `help:"Look for PVs inside of LVs too; those are read-only."`
	Offset      []string `sep:"none" placeholder:"[DEVICE=]BYTES" help:"A PV begins at this byte of each DEVICE, or the disk in an image, or of this one DEVICE, partition or array, whatever else shows there."`
	RAID0Layout string   `name:"raid0-layout" enum:"unknown,original,alternate" default:"unknown" placeholder:"LAYOUT" help:"The layout of MD raid0 arrays over unequal members that do not tell: original (made before Linux 3.14) or alternate."`
	PV          []string `name:"pv" sep:"none" placeholder:"DEVICE[[@BYTES]=UUID]" help:"Where a PV shows on several devices, read it from this one, or from what lies on it. With =UUID: this device, or what begins at a byte of it, is that PV, whatever its label says."`
	keyOptions
	imageOptions
	choiceOptions
	pastOptions

	// sacrifice lets snapshots be lost rather than writes to their origins fail.
	sacrifice bool

	// removed has LVs that were removed looked for too.
	removed bool
	// ours says that it is lvm2fs that uses a device, for the command's own purpose; nil for none.
	ours func(mapping.Device) bool
	// texts are those of paths VG/LV@SEQNO.
	texts []scan.At

	// orphans lets a command go on that found PVs, but no volume group; anything, that found no PV at all.
	orphans, anything bool
}

// imageOptions are the flags, of every command, about virtual disk images.
type imageOptions struct {
	ImageSnapshot  []string `name:"image-snapshot" sep:"none" placeholder:"[DEVICE=]NAME" help:"Show the snapshot NAME that is inside of a qcow2 image."`
	AnyBackingFile bool     `name:"any-backing-file" help:"Let images name files outside of their directory that are no DEVICEs."`
	Pieces         bool     `help:"A DEVICE named disk.001 or xaa stands for all pieces of an image: disk.001, disk.002, ..."`
}

// session is what is open for a command, and the flags that it was opened with.
type session struct {
	*scan.Session
	opts    deviceOptions
	choices []flaggedChoice
	heard   atomic.Pointer[warnings] // nil, or what the session's logger says too
}

// openDevices opens the DEVICE arguments of a command and reads what is on them. What
// is wrong but can be got over, a device that cannot be opened among others, goes to
// standard error, a line each. It fails if no volume group is found.
func openDevices(a *app, paths []string, opts deviceOptions) (*session, error) {
	if len(paths) == 0 && !opts.Scan {
		return nil, usagef("no DEVICE given")
	}
	s := &session{opts: opts}
	keys := &keyring{ask: a.ask}
	defer keys.wipe()
	options, err := s.options(keys, paths)
	if err != nil {
		return nil, err
	}
	for _, warning := range keys.warnings {
		a.warnf("%w", warning)
	}
	options.CarveProgress = a.carving()
	options.Logger = slog.New(&warner{lineHandler{target: a.logTo}, a, &s.heard})
	if s.Session, err = scan.Open(context.Background(), paths, options); err != nil {
		return nil, s.inWords(err)
	}
	if err := s.tell(a, s.Result(), true); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// warner has an app warn of what package scan tells its logger.
type warner struct {
	lineHandler
	app   *app
	heard *atomic.Pointer[warnings]
}

// Handle warns.
func (w *warner) Handle(_ context.Context, r slog.Record) error {
	a := *w.app
	a.heard = w.heard.Load()
	a.warnf("%s", r.Message)
	return nil
}

// options are the flags in the words of package scan.
func (s *session) options(keys *keyring, paths []string) (options scan.Options, err error) {
	opts := s.opts
	options = scan.Options{
		SystemDisks:    opts.Scan,
		Nested:         opts.Nested,
		Exclusive:      opts.Exclusive,
		Pieces:         opts.Pieces,
		AnyBackingFile: opts.AnyBackingFile,

		SacrificeSnapshots: opts.sacrifice,
		Removed:            opts.removed,

		RAID0Layout: map[string]uint32{"original": raid.Original, "alternate": raid.Alternate}[opts.RAID0Layout],
		Passphrase:  keys.passphrase,
	}
	if options.Prefer, options.IsPV, err = parsePVs(opts.PV); err != nil {
		return options, err
	}
	if err = opts.past(&options); err != nil {
		return options, err
	}
	if options.Offsets, err = parseOffsets(opts.Offset); err != nil {
		return options, err
	}
	if options.LUKSHeaders, err = parseHeaders(opts.LUKSHeader, paths); err != nil {
		return options, err
	}
	if options.ImageSnapshots, err = parseSnapshots(opts.ImageSnapshot, paths); err != nil {
		return options, err
	}
	if options.KeySlots, err = parseSlots(opts.KeySlot, paths); err != nil {
		return options, err
	}
	if s.choices, err = opts.choices(); err != nil {
		return options, err
	}
	for _, c := range s.choices {
		options.Choices = append(options.Choices, c.Choice)
	}
	options.Keys, err = keys.read(opts.KeyFile, paths)
	return options, err
}

// parseOffsets takes [DEVICE=]BYTES apart. A DEVICE may have a = in its name.
func parseOffsets(args []string) (all []scan.Offset, err error) {
	for _, arg := range args {
		o, number := scan.Offset{}, arg
		if i := strings.LastIndexByte(arg, '='); i >= 0 {
			o.Device, number = arg[:i], arg[i+1:]
		}
		if o.Bytes, err = strconv.ParseInt(number, 10, 64); err != nil || o.Bytes < 0 {
			return nil, usagef("--offset %s: %q is not a number of bytes", arg, number)
		}
		all = append(all, o)
	}
	return all, nil
}

func parseSnapshots(args, devices []string) (all []scan.ImageSnapshot, err error) {
	for _, arg := range args {
		device, name := cutDevice(arg, devices)
		if name == "" {
			return nil, usagef("--image-snapshot %s: no name", arg)
		}
		all = append(all, scan.ImageSnapshot{Device: device, Name: name})
	}
	return all, nil
}

// tell warns of what was found out, or fails with it if there is no volume group. What could not be opened is told only
// the first time, because a reload does not try again.
func (s *session) tell(a *app, r *scan.Result, first bool) error {
	for _, p := range r.Problems {
		switch {
		case p.Refused, p.Reason == scan.NotOpened && !first:
		case p.Reason == scan.InUse && s.opts.ours != nil && s.opts.ours(p.Device):
		case p.Reason == scan.InUse:
			a.warnf("%w; what is read may change meanwhile", p.Err)
		default:
			a.warnf("%w", hinted(p.Err))
		}
	}
	s.advise(a, r)
	knownOrphan := func(pv *lvm2.PV) bool { return !unknownVG(pv) }
	if err := r.NoVG(); err != nil && !s.opts.anything && len(r.Removed) == 0 && (!s.opts.orphans || !slices.ContainsFunc(r.Orphans, knownOrphan)) {
		return s.inWords(err)
	}
	for _, p := range r.Problems {
		if p.Refused && (first || p.Reason != scan.NotOpened) {
			a.warnf("%w", hinted(p.Err))
		}
	}
	return nil
}

// rescan reads the metadata of the session's devices again, and warns as mounting them would. On an error the session
// stays as it is.
func (s *session) rescan(a *app) (_ *lvm2.Scan, warned []string, err error) {
	a = a.overheard()
	s.heard.Store(a.heard)
	defer s.heard.Store(nil)
	r, err := s.Reload(context.Background())
	if err != nil {
		return nil, a.heard.end(), s.inWords(err)
	}
	if err := s.tell(a, r, false); err != nil {
		return nil, a.heard.end(), err
	}
	_ = a.warnFaults(r.VGs, openFault) // the others can be read
	return lvmScan(r), a.heard.end(), nil
}

// lvmScan is what a mount shows of a result.
func lvmScan(r *scan.Result) *lvm2.Scan { return &lvm2.Scan{VGs: r.VGs, Removed: r.Removed} }

// inWords is an error of package scan in the words of the command line.
func (s *session) inWords(err error) error {
	var none *scan.NoVGError
	var option *scan.OptionError
	switch {
	case errors.As(err, &none):
		return &scan.NoVGError{Causes: hintedAll(none.Causes)}
	case errors.As(err, &option):
		return errors.Join(append(hintedAll(option.Others), s.ofFlag(option))...)
	}
	return err
}

// ofFlag is an error about an option as one about its flag.
func (s *session) ofFlag(e *scan.OptionError) error {
	switch e.Option {
	case "Offsets":
		return fmt.Errorf("--offset %s: %w (list --tree names them)", s.opts.Offset[e.Index], e.Err)
	case "Prefer":
		return fmt.Errorf("--pv %s: %w", e.Name, e.Err)
	case "IsPV":
		return fmt.Errorf("--pv %s: %w (list --tree names devices)", s.opts.PV[e.Index], e.Err)
	case "At":
		if n := len(s.opts.At); e.Index >= n {
			at := s.opts.texts[e.Index-n]
			return fmt.Errorf("--lv %s/%s@%d: %w (lvm2fs history shows what there is)", at.VG, at.LV, at.Seqno, e.Err)
		}
		return fmt.Errorf("--at %s: %w (lvm2fs history shows what there is)", s.opts.At[e.Index], e.Err)
	case "MetadataFiles":
		return fmt.Errorf("--vgcfg %s: %w", s.opts.VGCfg[e.Index], e.Err)
	case "Choices":
		return asUsage(fmt.Errorf("%s: %w", s.choices[e.Index].flag, e.Err))
	}
	return e
}

func hintedAll(errs []error) (all []error) {
	for _, err := range errs {
		all = append(all, hinted(err))
	}
	return all
}

// hinted says which flag may help.
func hinted(err error) error {
	switch {
	case errors.Is(err, lvm2.ErrAmbiguous), errors.Is(err, lvm2.ErrDuplicate):
		return fmt.Errorf("%w (--pv DEVICE chooses one)", err)
	case errors.Is(err, blockdev.ErrOutside):
		return fmt.Errorf("%w (--any-backing-file allows it)", err)
	}
	return err
}
