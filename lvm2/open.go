package lvm2

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"lvm2fs/layers/signature"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
)

// Options change what Open does. The zero value is fit for use.
type Options struct {
	// AtWord says whether the user has said that a device is a PV. It is not refused then for looking like a part of
	// something else.
	AtWord func(Device) bool
	// Chosen says whether the user has named a device as the one to be read, where a PV shows on several.
	Chosen func(Device) bool
	// Beats says why a system would read the PV on a and not the same PV on b, as a phrase about a; for instance, b is a
	// part of a that has lost what marks it as one. It is "" where only the PVs themselves tell.
	Beats func(a, b Device) string
	// Unread are parts of what cannot be read as a whole: members of an array that cannot be assembled. They give no PV.
	// A PV that shows on one of them and on another device is read only if that device beats it or is Chosen.
	Unread []Device
	// Rival names what cannot be read but may have the newer state of what shows on a device; "" for nothing. A PV there
	// is read only if the device is Chosen.
	Rival func(Device) string
	// InUse says who else uses a device; "" for nobody. LVs on it get health in-use, and so do LVs whose PV shows on it
	// and is read from another.
	InUse func(Device) string
	// Views are VGs as they were. They are shown in place of, or beside, what the devices have now.
	Views []View
	// IsPV gives the UUID of the PV that a device is, by the user's word, whatever its label says; "" for
	// what the label says. May be nil.
	IsPV func(Device) metadata.UUID
	// Overwritten are the runs of a device of IsPV that what shows on it now may have overwritten. May be nil.
	Overwritten func(Device) []metadata.Reused
	// ReadReused reads what may have been overwritten, or is of another age than the metadata, as it is now.
	ReadReused bool
	// UseMissing says whether a PV is read that was missing when its VG was changed, and is back. May be nil.
	UseMissing func(*PV) bool
	// CacheLost is told of a cached LV that is read from its origin alone because its cache
	// is missing or damaged. Nothing is lost by that: the cache was in a mode in which all
	// that was written is in the origin too.
	CacheLost func(lv *LV, err error)
	// SnapshotLost, if not nil, lets a write to an origin go on although a snapshot cannot keep what it overwrites,
	// because the COW store is full or fails. As in the kernel, the snapshot is then invalid for ever. SnapshotLost is
	// called while the write waits, so it must use no LV of the VG. If it is nil such a write fails.
	SnapshotLost func(lv *LV, err error)
	// LegFailed is told of n bytes at off of a leg of a RAID or mirror that could not be read, once for each range. They
	// are then read from the other legs. Several goroutines may call it at any time.
	LegFailed func(lv *LV, leg int, off, n int64, err error)
}

// Scan is what Open found on a set of devices. It does not change.
type Scan struct {
	VGs      []*VG      // by name, then by UUID
	Orphans  []*PV      // PVs of no VG
	Rejected []Rejected // devices that are not used
	Warnings []error    // what was wrong but could be got over: damaged copies, missing PVs, ...
	Removed  []Removed  // for whoever knows of the past to add; see package history

	opts  Options
	found []*foundPV // one for each PV
}

// Rejected is a device that is not used, and why.
type Rejected struct {
	Device Device
	Err    error // wraps ErrNoPV, ErrComponent, ErrDuplicate, ErrAmbiguous, ErrOutdated or the device's error
}

// Open reads the labels and the metadata on devices, which it never writes, and returns
// the VGs they hold. A device that gives nothing is in Rejected.
// (docs/format/01-label-and-metadata-area.md, section 7)
func Open(devices []Device, opts Options) *Scan {
	s := newScanner(opts)
	var found []*foundPV
	seen := map[Device]bool{}
	for _, dev := range devices {
		if seen[dev] {
			continue
		}
		seen[dev] = true
		f, err := s.readPV(dev)
		told := s.byWord(dev, f)
		switch {
		case told != nil:
			found = append(found, told)
			if f != nil {
				found = append(found, f)
			}
		case err != nil:
			s.reject(dev, err)
		default:
			found = append(found, f)
		}
	}
	found = s.resolveDuplicates(found)
	s.Scan.found = found
	s.chooseVGs(found)
	s.placePVs(found)
	nameDirectories(s.VGs)
	s.reviewVGs()
	return &s.Scan
}

type scanner struct {
	Scan
	texts map[[sha256.Size]byte]*copyOfText // so that equal copies are decoded once
}

func newScanner(opts Options) *scanner {
	return &scanner{Scan: Scan{opts: opts}, texts: map[[sha256.Size]byte]*copyOfText{}}
}

// copyOfText is one metadata text, of which there can be many copies.
type copyOfText struct {
	vg     *metadata.VG
	err    error
	copies int
}

// foundPV is a device with a PV label.
type foundPV struct {
	device      Device
	uuid        metadata.UUID
	header      *ondisk.Header
	areas       []MetadataArea
	newest      *copyOfText       // of the texts on this device; nil if there are none
	copies      []Device          // the other devices that show the PV, and nothing tells which is right
	told        bool              // it is the PV by the user's word alone
	past        bool              // it has its place in a VG as it was
	shownBy     []Device          // all devices with the PV, this one too
	duplicate   bool              // seen on another device too
	damaged     bool              // has areas in use, of which none can be read
	doubtful    bool              // has an area in use that cannot be read
	fingerprint [sha256.Size]byte // of label, area headers and texts
}

func (s *scanner) warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Errorf(format, args...))
}

func (s *scanner) reject(dev Device, err error) {
	s.Rejected = append(s.Rejected, Rejected{dev, err})
}

// readPV reads what the device says of itself.
func (s *scanner) readPV(dev Device) (*foundPV, error) {
	if s.opts.AtWord == nil || !s.opts.AtWord(dev) {
		sig, err := signature.Component(dev, dev.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dev.Name(), err)
		}
		if sig != nil {
			return nil, fmt.Errorf("%s: %w: it is a %s", dev.Name(), ErrComponent, sig.Name)
		}
	}
	header, err := ondisk.ReadHeader(dev, dev.Size())
	if errors.Is(err, ondisk.ErrNoLabel) {
		return nil, fmt.Errorf("%s: %w%s", dev.Name(), ErrNoPV, looksLike(dev))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dev.Name(), ErrNoPV, err)
	}
	f := &foundPV{device: dev, uuid: metadata.UUID(header.UUID), header: header}
	sum := sha256.New()
	fmt.Fprintf(sum, "%+v", *header)
	inUse, good := 0, 0
	for _, a := range header.MetadataAreas {
		area, m := s.readArea(f, a, sum)
		f.areas = append(f.areas, area)
		if area.Ignored {
			continue
		}
		inUse++
		if area.Err != nil {
			s.warn("%s: %w", dev.Name(), area.Err)
			continue
		}
		good++
		if m != nil && (f.newest == nil || m.vg.Seqno > f.newest.vg.Seqno) {
			f.newest = m
		}
	}
	f.damaged, f.doubtful = inUse > 0 && good == 0, good < inUse
	sum.Sum(f.fingerprint[:0])
	return f, nil
}

// readArea reads one metadata area. The metadata is nil if the area holds none that may
// be used.
func (s *scanner) readArea(f *foundPV, a ondisk.Area, sum io.Writer) (MetadataArea, *copyOfText) {
	area := MetadataArea{Offset: a.Offset, Size: a.Size}
	mda, err := ondisk.ReadMetadataArea(f.device, a, f.device.Size())
	if err != nil {
		fmt.Fprint(sum, err)
		area.Err = err
		return area, nil
	}
	fmt.Fprintf(sum, "%+v %+v %v", mda.Committed, mda.Precommitted, mda.Ignored)
	area.Ignored = mda.Ignored
	if mda.Ignored || mda.Empty() {
		return area, nil
	}
	src, err := mda.ReadText(f.device)
	if err != nil {
		area.Err = err
		return area, nil
	}
	key := sha256.Sum256(src)
	_, _ = sum.Write(key[:])
	m := s.texts[key]
	if m == nil {
		m = &copyOfText{}
		m.vg, m.err = metadata.Decode(src)
		s.texts[key] = m
	}
	if m.err != nil {
		area.Err = fmt.Errorf("metadata area at byte %d, text at byte %d: %w", a.Offset, a.Offset+mda.Committed.Offset, m.err)
		return area, nil
	}
	m.copies++
	area.Seqno, area.TextSize = m.vg.Seqno, mda.Committed.Size
	return area, m
}

// looksLike says what a device without a PV label seems to be.
func looksLike(dev Device) string {
	sigs, err := signature.Detect(dev, dev.Size())
	switch {
	case err != nil:
		return ""
	case len(sigs) == 0 && signature.IsText(dev, dev.Size()):
		return ": it looks like a text file, not a disk or the image of one"
	case len(sigs) == 0:
		return ""
	}
	advice := sigs[0].Advice()
	if advice != "" {
		advice = "; " + advice
	}
	return ": it looks like " + article(sigs[0].Name) + advice
}

// chooseVGs takes the newest metadata of each VG.
func (s *scanner) chooseVGs(found []*foundPV) {
	candidates := map[metadata.UUID][]*copyOfText{}
	for _, f := range found {
		if m := f.newest; m != nil && !slices.Contains(candidates[m.vg.UUID], m) {
			candidates[m.vg.UUID] = append(candidates[m.vg.UUID], m)
		}
	}
	for uuid, ms := range candidates {
		if s.pastOf(uuid) != nil {
			continue
		}
		slices.SortStableFunc(ms, func(a, b *copyOfText) int {
			return cmp.Or(cmp.Compare(b.vg.Seqno, a.vg.Seqno), cmp.Compare(b.copies, a.copies))
		})
		vg := newVG(ms[0].vg)
		if len(ms) > 1 && ms[1].vg.Seqno == vg.Seqno {
			vg.ambiguous = true
			s.warn("VG %s: copies of the metadata with seqno %d differ; using the one that %d areas hold, read-only", vg.Name, vg.Seqno, ms[0].copies)
		}
		s.VGs = append(s.VGs, vg)
	}
	for i := range s.opts.Views {
		s.view(&s.opts.Views[i])
	}
	slices.SortFunc(s.VGs, func(a, b *VG) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
	})
}

// placePVs gives each PV of the metadata its device.
func (s *scanner) placePVs(found []*foundPV) {
	s.placePast(found)
	listed := map[metadata.UUID][]*PV{}
	for _, vg := range s.VGs {
		if vg.past != nil {
			continue
		}
		own := map[metadata.UUID]bool{}
		for _, pv := range vg.PVs {
			if !own[pv.UUID] { // or else neither is used
				own[pv.UUID] = true
				listed[pv.UUID] = append(listed[pv.UUID], pv)
			}
		}
	}
	for _, f := range found {
		name := f.device.Name()
		pvs := listed[f.uuid]
		if f.newest != nil && len(pvs) > 1 {
			pvs = slices.DeleteFunc(pvs, func(pv *PV) bool { return pv.VG.UUID != f.newest.vg.UUID })
		}
		switch {
		case f.past && (len(pvs) == 0 || f.newest != nil && s.pastOf(f.newest.vg.UUID) != nil):
		case len(pvs) == 1:
			f.place(pvs[0])
			if f.newest != nil && f.seqno() < pvs[0].VG.Seqno {
				s.warn("%s: was absent when VG %s was changed: its metadata has seqno %d, the newest %d", name, pvs[0].VG.Name, f.seqno(), pvs[0].VG.Seqno)
			}
		case len(pvs) > 1:
			s.reject(f.device, fmt.Errorf("%s: %w: %d VGs list PV %s as theirs", name, ErrAmbiguous, len(pvs), f.uuid))
		case f.newest != nil:
			s.reject(f.device, fmt.Errorf("%s: %w: PV %s has been removed from VG %s", name, ErrOutdated, f.uuid, f.newest.vg.Name))
		default:
			pv := &PV{PV: &metadata.PV{UUID: f.uuid, DevSize: f.header.DeviceSize}}
			if len(f.header.DataAreas) > 0 {
				pv.DataStart = f.header.DataAreas[0].Offset
			}
			f.place(pv)
			s.Orphans = append(s.Orphans, pv)
			s.warnOfShortfall(pv)
			if f.header.InUse() {
				s.warn("%s: is in use by a VG whose metadata is on none of the devices", name)
			}
		}
	}
}

func (f *foundPV) place(pv *PV) {
	pv.Device, pv.told = f.device, f.told
	pv.HeaderVersion, pv.InUse = f.header.Version, f.header.InUse()
	pv.shownBy = f.shownBy
	pv.labelSize, pv.MetadataAreas = f.header.DeviceSize, f.areas
	pv.copies, pv.duplicate, pv.damaged, pv.fingerprint = f.copies, f.duplicate, f.damaged, f.fingerprint
}

// reviewVGs reports what a user should know of the VGs as a whole.
func (s *scanner) reviewVGs() {
	for _, vg := range s.VGs {
		if vg.past != nil {
			s.warn("VG %s is shown as it was: %s", vg.Name, vg.past.From)
		}
		vg.assemble(s.opts)
		for _, pv := range vg.PVs {
			switch {
			case pv.Broken() != nil:
				s.warn("VG %s: %w", vg.Name, pv.Broken())
			case pv.Device == nil:
				s.warn("VG %s: %s is missing", vg.Name, pv)
			case s.opts.use(pv):
				s.warn("VG %s: %s was missing when the VG was changed: what it holds may be older than the rest", vg.Name, pv)
			case pv.FlaggedMissing():
				s.warn("VG %s: %s is back, but was missing when the VG was changed, and is not used (--use-missing reads it all the same; vgextend --restoremissing ends it)", vg.Name, pv)
			}
			s.warnOfShortfall(pv)
		}
		if flags := vg.Unknown(); len(flags) > 0 {
			s.warn("VG %s: %w: status %v", vg.Name, ErrUnsupported, flags)
		}
		s.warnOfOddities(vg)
	}
}

// use finds out whether a PV that was missing is read all the same, and who else uses the device of a PV that is read.
func (o *Options) use(pv *PV) (although bool) {
	pv.use = pv.Device != nil && pv.FlaggedMissing() && o.UseMissing != nil && o.UseMissing(pv)
	if !pv.Missing() {
		pv.holder = o.holder(pv.shownBy)
	}
	return pv.use
}

// warnOfOddities names what is odd, but of thousands of things of a kind only the first.
func (s *scanner) warnOfOddities(vg *VG) {
	told, more := vg.Oddities()
	for _, odd := range told {
		s.warn("VG %s: %w", vg.Name, odd)
	}
	if more > 0 {
		s.warn("VG %s: %w: %d more oddities of this kind", vg.Name, ErrMetadata, more)
	}
	broken := 0
	for _, lv := range vg.LVs {
		if lv.Broken() == nil {
			continue
		}
		if broken++; broken <= metadata.MostTold {
			s.warn("VG %s: %w", vg.Name, lv.Broken())
		}
	}
	if broken > metadata.MostTold {
		s.warn("VG %s: %w: %d more LVs", vg.Name, ErrMetadata, broken-metadata.MostTold)
	}
}

// warnOfShortfall reports that the device of a PV ends before the PV does.
func (s *scanner) warnOfShortfall(pv *PV) {
	if n := pv.Shortfall(); n > 0 {
		s.warn("%s: has %d bytes, %d fewer than its PV %s had: what lay there is missing", pv, pv.present(), n, pv.UUID)
	}
}

// recheck reads label and metadata of every PV of the VG again. It fails with ErrStale if
// they are not what Open read.
func (vg *VG) recheck() error {
	s := newScanner(vg.opts)
	for _, pv := range vg.PVs {
		if pv.Device == nil {
			continue
		}
		f, err := s.readPV(pv.Device)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
		if f.fingerprint != pv.fingerprint {
			return fmt.Errorf("%w: on %s: reload", ErrStale, pv.Device.Name())
		}
	}
	return nil
}

// article puts "a" or "an" before a phrase.
func article(phrase string) string {
	if phrase != "" && strings.ContainsRune("aeioAEIO", rune(phrase[0])) {
		return "an " + phrase
	}
	return "a " + phrase
}
