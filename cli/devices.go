package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"lvm2fs/blockdev"
	"lvm2fs/blockdev/pieces"
	"lvm2fs/layers/md"
	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// deviceOptions are the flags about DEVICEs that every command has.
type deviceOptions struct {
	Exclusive   bool     `help:"Refuse devices that something else is using."`
	Scan        bool     `help:"Look at all block devices of the system too."`
	Nested      bool     `help:"Look for PVs inside of LVs too; those are read-only."`
	Offset      []string `sep:"none" placeholder:"[DEVICE=]BYTES" help:"A PV begins at this byte of each DEVICE, or the disk in an image, or of this one DEVICE, partition or array, whatever else shows there."`
	RAID0Layout string   `name:"raid0-layout" enum:"unknown,original,alternate" default:"unknown" placeholder:"LAYOUT" help:"The layout of MD raid0 arrays over unequal members that do not tell: original (made before Linux 3.14) or alternate."`
	PV          []string `name:"pv" sep:"none" placeholder:"DEVICE" help:"Where a PV shows on several devices, read it from this one, or from what lies on it."`
	keyOptions
	imageOptions
	choiceOptions

	// orphans lets a command go on that found PVs, but no volume group.
	orphans bool
}

// session is a set of open devices and what was found on them.
type session struct {
	Scan    *lvm2.Scan
	Found   *probe.Result      // what lies on what, below the PVs
	Devices []*blockdev.Device // all that are open, but for files that an image names

	opts     deviceOptions
	named    []mapping.Device // by the user
	scanned  []mapping.Device // by --scan
	prober   *probe.Prober
	offsets  []*offset
	inner    innerDevices
	metadata map[string]*blockdev.Device // that --thin-metadata names, by path
}

// Close closes the devices, which were only read, unless by a mount that has synced what
// it wrote.
func (s *session) Close() {
	if s.prober != nil {
		_ = s.prober.Close()
	}
	for _, d := range s.Devices {
		_ = d.Close()
	}
	for _, d := range s.metadata {
		_ = d.Close()
	}
}

// openDevices opens the DEVICE arguments of a command and reads what is on them. What
// is wrong but can be got over, a device that cannot be opened among others, goes to
// standard error, a line each. It fails if no volume group is found.
func openDevices(a *app, paths []string, opts deviceOptions) (*session, error) {
	if len(paths) == 0 && !opts.Scan {
		return nil, usagef("no DEVICE given")
	}
	layers, err := newLayers(a.ask, opts.keyOptions, opts.imageOptions, paths)
	if err != nil {
		return nil, err
	}
	// What is open stays so.
	defer layers.lock()
	for _, warning := range layers.keys.warnings {
		a.warnf("%w", warning)
	}
	s := &session{opts: opts, inner: innerDevices{}, metadata: map[string]*blockdev.Device{}}
	if s.offsets, err = parseOffsets(opts.Offset); err != nil {
		return nil, err
	}
	s.prober = probe.New(s.probeOptions(a, layers))
	failures := s.open(paths, &s.named)
	if opts.Scan {
		failures = append(failures, s.openDisks(a)...)
	}
	if err := s.scan(a, failures); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *session) probeOptions(a *app, l *layers) probe.Options {
	return probe.Options{
		Images:     l.images(),
		Containers: l.containers(),
		Offset:     s.offset,
		Same:       sameFile,
		SectorSize: sectorSize,
		Partition:  s.partition,
		MD: md.Options{
			RAID0Layout: map[string]uint32{"original": raid.Original, "alternate": raid.Alternate}[s.opts.RAID0Layout],
			OnError: func(member mapping.Device, off, n int64, err error) {
				a.warnf("%s: %d bytes at %d are read from the other members: %w", member.Name(), n, off, err)
			},
		},
	}
}

// sectorSize is the size in bytes of the sectors of a disk; 0 if it does not tell.
func sectorSize(d mapping.Device) int64 {
	switch d := d.(type) {
	case *blockdev.Device:
		return d.BlockSize()
	case interface{ Beneath() []mapping.Device }:
		if n := diskSector(d.(mapping.Device)); n != 0 {
			return n
		}
		var largest int64
		for _, b := range d.Beneath() {
			n := sectorSize(b)
			if n == 0 {
				return 0
			}
			largest = max(largest, n)
		}
		return largest
	}
	return 0
}

// open opens the devices, each once, adds them to a list, and returns what went wrong.
func (s *session) open(paths []string, to *[]mapping.Device) (failures []error) {
	for _, path := range paths {
		if s.opts.Pieces {
			// Any piece stands for all of them.
			if all, err := pieces.Find(path); err == nil {
				path = all[0]
			}
		}
		d, err := blockdev.Open(path, blockdev.Options{})
		switch {
		case err != nil:
			failures = append(failures, err)
		case s.has(d) != nil:
			_ = d.Close()
		default:
			s.Devices = append(s.Devices, d)
			*to = append(*to, d)
		}
	}
	return failures
}

// openDisks opens the disks of the system. One that this user may not open, or that has no medium, is
// passed over with a note; none at all is a failure.
func (s *session) openDisks(a *app) (failures []error) {
	paths, err := blockdev.Disks()
	if err != nil {
		return []error{fmt.Errorf("--scan: %w", err)}
	}
	for _, failure := range s.open(paths, &s.scanned) {
		if !errors.Is(failure, blockdev.ErrNoMedium) && !errors.Is(failure, os.ErrNotExist) {
			failures = append(failures, failure)
		}
	}
	if len(s.Devices) == 0 {
		return failures
	}
	for _, failure := range failures {
		a.warnf("skipped: %w", failure)
	}
	return nil
}

func (s *session) has(d *blockdev.Device) *blockdev.Device {
	for _, other := range s.Devices {
		if d.Same(other) {
			return other
		}
	}
	return nil
}

// partition is the system's own device for a partition of a disk: writing to it takes no more than the
// partition. nil if there is none.
func (s *session) partition(disk mapping.Device, number int, start, size int64) mapping.Device {
	whole, ok := disk.(*blockdev.Device)
	if !ok {
		return nil
	}
	for _, path := range whole.Partitions(number, start, size) {
		d, err := blockdev.Open(path, blockdev.Options{})
		if err != nil {
			continue
		}
		if other := s.has(d); other != nil {
			_ = d.Close()
			return other
		}
		if d.Size() == size {
			s.Devices = append(s.Devices, d)
			return d
		}
		_ = d.Close()
	}
	return nil
}

// rescan reads the metadata of the session's devices again, and warns of what mounting them would warn of. On an error the
// session stays as it is.
func (s *session) rescan(a *app) (_ *lvm2.Scan, warnings []string, err error) {
	for _, d := range s.Devices {
		if err := d.Refresh(); err != nil {
			return nil, nil, err
		}
	}
	again := *s
	// Who uses a device by now is no reason to refuse what is mounted.
	again.opts.Exclusive = false
	a = a.overheard()
	if err := again.scan(a, nil); err != nil {
		return nil, a.heard.end(), err
	}
	_ = a.warnFaults(again.Scan.VGs, openFault) // the others can be read
	return again.Scan, a.heard.end(), nil
}

// scan looks for volume groups on the devices. failures are those of devices that are
// not among them.
func (s *session) scan(a *app, failures []error) error {
	var inner []mapping.Device
	var chosen choices
	var inUse []error
	for range maxNesting {
		s.Found = s.prober.Probe(s.named, slices.Concat(s.scanned, inner))
		var holders map[lvm2.Device]string
		holders, inUse = s.holders()
		chosen = choices{}
		s.Scan = lvm2.Open(s.Found.PVs, s.options(a, &chosen, holders))
		if !s.opts.Nested {
			break
		}
		// What the user has chosen for LVs counts when these are opened. That all choices are of LVs
		// that exist is seen in the end.
		_ = chosen.resolve(s, s.opts.choiceOptions)
		next := s.inner.of(s.Scan)
		if len(next) <= len(inner) {
			break
		}
		inner = next
	}
	if s.opts.Exclusive && len(inUse) > 0 {
		return inUse[0]
	}
	for _, o := range s.offsets {
		if o.device != "" && !o.used {
			return errors.Join(append(failures, fmt.Errorf("--offset %s: there is no such device (list --tree names them)", o.arg))...)
		}
	}
	for _, device := range s.opts.PV {
		if !slices.ContainsFunc(s.Found.PVs, func(d mapping.Device) bool { return liesOn(d, device) }) {
			return errors.Join(append(failures, fmt.Errorf("--pv %s: no PV was found there", device))...)
		}
	}
	failures = append(failures, s.Found.Refused...)
	for _, rejected := range s.Scan.Rejected {
		failures = append(failures, hinted(rejected.Err))
	}
	for _, err := range inUse {
		a.warnf("%w; what is read may change meanwhile", err)
	}
	for _, warning := range slices.Concat(s.Found.Warnings, s.Scan.Warnings) {
		a.warnf("%w", warning)
	}
	knownOrphan := func(pv *lvm2.PV) bool { return pv.MetadataLost() == nil && !pv.InUse }
	if len(s.Scan.VGs) == 0 && (!s.opts.orphans || !slices.ContainsFunc(s.Scan.Orphans, knownOrphan)) {
		return s.nothingFound(failures)
	}
	for _, failure := range failures {
		a.warnf("%w", failure)
	}
	return chosen.resolve(s, s.opts.choiceOptions)
}

// hinted says how to choose between devices with one PV.
func hinted(err error) error {
	if errors.Is(err, lvm2.ErrAmbiguous) || errors.Is(err, lvm2.ErrDuplicate) {
		return fmt.Errorf("%w (--pv DEVICE chooses one)", err)
	}
	return err
}

// maxNesting bounds how often PVs lie in LVs whose PVs lie in LVs.
const maxNesting = 8

func (s *session) options(a *app, chosen *choices, holders map[lvm2.Device]string) lvm2.Options {
	options := lvm2.Options{
		AtWord: func(d lvm2.Device) bool { return s.Found.AtWord[d] },
		Chosen: func(d lvm2.Device) bool {
			return slices.ContainsFunc(s.opts.PV, func(device string) bool { return liesOn(d, device) })
		},
		Beats:  s.Found.Beats,
		Unread: s.Found.Unread,
		Rival:  s.Found.MayBeBeneath,
		InUse:  func(d lvm2.Device) string { return holders[d] },
		CacheLost: func(lv *lvm2.LV, err error) {
			a.warnf("LV %s: its cache is lost, and its origin read alone, which has all that was written: %w", lv, err)
		},
		LegFailed: func(lv *lvm2.LV, leg int, off, n int64, err error) {
			a.warnf("LV %s: leg %d: %d bytes at %d are read from the others: %w", lv, leg, n, off, err)
		},
	}
	chosen.apply(&options)
	return options
}

// holders names, for each device with a PV, who else uses what it lies on, and says so of each of those
// once.
func (s *session) holders() (names map[lvm2.Device]string, inUse []error) {
	names = map[lvm2.Device]string{}
	what := map[mapping.Device]string{}
	for _, pv := range s.Found.PVs {
		var users []string
		for _, bottom := range mapping.Bottom(pv) {
			disk, ok := bottom.(*blockdev.Device)
			if !ok {
				continue
			}
			user, seen := what[disk]
			if !seen {
				var err error
				user, err = usersOfDisk(disk)
				what[disk] = user
				if err != nil {
					inUse = append(inUse, err)
				}
			}
			if user != "" {
				users = append(users, user)
			}
		}
		if len(users) > 0 {
			names[pv] = strings.Join(users, ", ")
		}
	}
	return names, inUse
}

// usersOfDisk names who else uses a disk, briefly and in full; nil and "" if nobody does.
func usersOfDisk(d *blockdev.Device) (string, error) {
	var holders, what []string
	for _, holder := range d.InUse() {
		holders = append(holders, holder.String())
		what = append(what, holder.What)
	}
	if len(holders) == 0 {
		return "", nil
	}
	return strings.Join(what, ", "), fmt.Errorf("%s is in use: %s", d.Name(), strings.Join(holders, ", "))
}

// vgUnknown says why a PV that is there leads to no VG.
func vgUnknown(pv *lvm2.PV) error {
	switch err := pv.MetadataLost(); {
	case err != nil:
		return fmt.Errorf("%s: a PV of an unknown volume group: %w", pv, err)
	case pv.InUse:
		return fmt.Errorf("%s: a PV that is used by a volume group whose metadata is on none of the devices", pv)
	}
	return fmt.Errorf("%s: a PV of no volume group", pv)
}

// nothingFound says in one error why there is no volume group.
func (s *session) nothingFound(failures []error) error {
	for _, pv := range s.Scan.Orphans {
		failures = append(failures, vgUnknown(pv))
	}
	if len(s.Devices) == 0 && len(failures) > 0 {
		return errors.Join(failures...)
	}
	if len(failures) == 0 {
		return errors.New("no volume group found")
	}
	return fmt.Errorf("no volume group found: %w", errors.Join(failures...))
}
