package history

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// ErrCutOff: of a text only a part is left.
var ErrCutOff = errors.New("cut off")

// Found are the texts on a set of devices and in files. It does not change once all is added.
type Found struct {
	VGs      []*VG // by name, then by UUID; last, without a UUID, the texts that tell none
	Warnings []error
	// Labels are the UUIDs in the labels of devices, of those that have one.
	Labels map[mapping.Device]metadata.UUID
	// Carved are the labels that Carve found.
	Carved []Label

	texts map[[sha256.Size]byte]*Text
}

// VG is what is known of the past of one VG.
type VG struct {
	UUID  metadata.UUID // "" for texts that do not tell
	Name  string        // by the newest text
	Texts []*Text       // newest first; what counts now before all others
}

// Text is a metadata text, wherever copies of it lie.
type Text struct {
	VG  *metadata.VG // nil if Err is not
	Err error        // wraps ErrCutOff or metadata.ErrMetadata

	// What its start tells, if it is cut off too.
	Name  string
	UUID  metadata.UUID // "" if it does not tell
	Seqno uint64

	Size   int    // bytes of what is left of it
	Copies []Copy // at least one
	// Current: it is what counts now, as far as the devices tell.
	Current bool

	before *Text // the whole one with the next lower seqno
	step   bool  // the command that wrote it wrote another at once
}

// Copy is a place where a text lies.
type Copy struct {
	Device mapping.Device // nil for a file
	File   string         // that was given
	Offset int64          // bytes from the start of the device
	Slot   string         // "committed" or "precommitted", if the header of the area points to it
	Area   int64          // bytes from the start of the device to the area; -1 for a text that was carved

	counts bool // the area is in use, and its header points to this text
}

// String says where the copy lies.
func (c Copy) String() string {
	if c.Device == nil {
		return c.File
	}
	return fmt.Sprintf("%s, byte %d", c.Device.Name(), c.Offset)
}

// New is nothing found yet.
func New() *Found {
	return &Found{Labels: map[mapping.Device]metadata.UUID{}, texts: map[[sha256.Size]byte]*Text{}}
}

// Find finds the texts in the metadata areas of devices: of PVs, and of what may have been one.
func Find(devices []mapping.Device) *Found {
	f := New()
	for _, d := range devices {
		f.AddDevice(d)
	}
	f.Sort()
	return f
}

// AddDevice finds the texts in the metadata areas of a device, whose label and headers may be damaged or gone. It
// reads each area once. Call Sort behind the last device.
func (f *Found) AddDevice(d mapping.Device) {
	var areas []ondisk.Area
	header, err := ondisk.ReadHeader(d, d.Size())
	if err == nil {
		areas = header.MetadataAreas
		f.Labels[d] = metadata.UUID(header.UUID)
	}
	inUse := len(areas)
	for _, a := range ondisk.FindAreas(d, d.Size()) {
		if !slices.ContainsFunc(areas, func(b ondisk.Area) bool { return a.Offset == b.Offset }) {
			areas = append(areas[:len(areas):len(areas)], a)
		}
	}
	for i, a := range areas {
		f.addArea(d, a, i < inUse)
	}
}

func (f *Found) addArea(d mapping.Device, a ondisk.Area, inUse bool) {
	texts, err := ondisk.FindTexts(d, a, d.Size())
	if err != nil && inUse {
		f.Warnings = append(f.Warnings, fmt.Errorf("%s: %w", d.Name(), err))
	}
	m, err := ondisk.ReadMetadataArea(d, a, d.Size())
	counts := inUse && err == nil && !m.Ignored
	for _, t := range texts {
		f.add(t, Copy{Device: d, Offset: t.Offset, Slot: string(t.Slot), Area: a.Offset, counts: counts && t.Err == nil && t.Slot == ondisk.CommittedSlot})
	}
}

// AddFile adds what vgcfgbackup or the archive of lvm2 wrote, which is called name. It fails if that is no metadata
// text. Call Sort behind the last file.
func (f *Found) AddFile(name string, contents []byte) (*Text, error) {
	t := f.add(ondisk.FoundText{Bytes: bytes.TrimRight(contents, "\x00"), Ended: true}, Copy{File: name, Area: -1})
	if t.Err != nil {
		return nil, fmt.Errorf("%s: %w", name, t.Err)
	}
	return t, nil
}

func (f *Found) add(found ondisk.FoundText, c Copy) *Text {
	key := sha256.Sum256(found.Bytes)
	t := f.texts[key]
	if t == nil {
		t = decode(found)
		f.texts[key] = t
	}
	if !slices.ContainsFunc(t.Copies, func(o Copy) bool { return o.Device == c.Device && o.File == c.File && o.Offset == c.Offset }) {
		t.Copies = append(t.Copies, c)
	}
	return t
}

// head is how a text starts in a metadata area, or a VG's section behind the header of a file.
var head = regexp.MustCompile(`(?:^|\n)\s*([a-zA-Z0-9_+.-]+)\s*\{\s*id\s*=\s*"([^"]*)"\s*seqno\s*=\s*(\d+)`)

func decode(found ondisk.FoundText) *Text {
	t := &Text{Size: len(found.Bytes)}
	if m := head.FindSubmatch(found.Bytes); m != nil {
		t.Name = string(m[1])
		t.UUID, _ = metadata.ParseUUID(string(m[2])) // "" is what it is then
		t.Seqno, _ = strconv.ParseUint(string(m[3]), 10, 32)
	}
	vg, err := metadata.Decode(found.Bytes)
	switch {
	case err == nil && found.Ended && found.Err == nil:
		t.VG, t.Name, t.UUID, t.Seqno = vg, vg.Name, vg.UUID, vg.Seqno
	case found.Err != nil && found.Ended:
		t.Err = fmt.Errorf("%w: %w", metadata.ErrMetadata, found.Err)
	case found.Ended && err != nil && bytes.Contains(found.Bytes, []byte("creation_time")):
		t.Err = err
	default:
		t.Err = fmt.Errorf("%w: %d bytes of it are left", ErrCutOff, len(found.Bytes))
	}
	return t
}

// Sort puts all that was found in order, and finds out what counts now.
func (f *Found) Sort() {
	groups := map[metadata.UUID]*VG{}
	for _, t := range f.texts {
		g := groups[t.UUID]
		if g == nil {
			g = &VG{UUID: t.UUID}
			groups[t.UUID] = g
		}
		g.Texts = append(g.Texts, t)
	}
	f.VGs = nil
	for _, g := range groups {
		g.sort()
		f.VGs = append(f.VGs, g)
	}
	slices.SortFunc(f.VGs, func(a, b *VG) int {
		if (a.UUID == "") != (b.UUID == "") {
			if a.UUID == "" {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
	})
}

func (g *VG) sort() {
	var current *Text
	for _, t := range g.Texts {
		t.Current = false
		slices.SortFunc(t.Copies, func(a, b Copy) int { return cmp.Compare(a.String(), b.String()) })
		if t.VG != nil && slices.ContainsFunc(t.Copies, func(c Copy) bool { return c.counts }) && (current == nil || t.Seqno > current.Seqno) {
			current = t
		}
	}
	if current != nil {
		current.Current = true
	}
	slices.SortFunc(g.Texts, func(a, b *Text) int {
		if a.Current != b.Current {
			if a.Current {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Seqno, a.Seqno), b.time().Compare(a.time()), cmp.Compare(a.Copies[0].String(), b.Copies[0].String()))
	})
	g.Name = g.Texts[0].Name
	g.chain()
}

// chain finds the text before each. Of texts with one seqno, the newer is before the next.
func (g *VG) chain() {
	whole := slices.DeleteFunc(slices.Clone(g.Texts), func(t *Text) bool { return t.VG == nil })
	slices.SortStableFunc(whole, func(a, b *Text) int { return cmp.Compare(a.Seqno, b.Seqno) })
	var last, group *Text // the last of the seqno before, and of this one
	for _, t := range whole {
		if group != nil && group.Seqno != t.Seqno {
			last, group = group, nil
		}
		t.before = last
		if last != nil && last.followedBy(t) {
			last.step = true
		}
		if group == nil || t.time().After(group.time()) {
			group = t
		}
	}
}
