package history

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// ErrNoText: there is no text of that seqno or time.
var ErrNoText = errors.New("no such metadata text")

// time is when the text was written, as far as it tells.
func (t *Text) time() time.Time {
	if t.VG == nil {
		return time.Time{}
	}
	return t.VG.CreationTime
}

func (t *Text) String() string {
	s := fmt.Sprintf("%s, seqno %d", t.Name, t.Seqno)
	if !t.time().IsZero() {
		s += t.time().UTC().Format(", 2006-01-02 15:04:05 UTC")
	}
	return s
}

// ReadTime reads a point in time: RFC 3339, or a date with or without a time of day in the zone loc, or @ with a number of
// seconds since 1970.
func ReadTime(s string, loc *time.Location) (time.Time, error) {
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		n, err := strconv.ParseInt(seconds, 10, 64)
		return time.Unix(n, 0), err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no seqno, and no time such as 2006-01-02 15:04:05", s)
}

// Seqno is the text of a seqno. It fails with ErrNoText if there is none, or only a part of it, and if there are two that
// differ.
func (g *VG) Seqno(n uint64) (*Text, error) {
	var whole []*Text
	err := fmt.Errorf("VG %s: %w: seqno %d", g.Name, ErrNoText, n)
	for _, t := range g.Texts {
		switch {
		case t.Seqno != n:
		case t.Err != nil:
			err = fmt.Errorf("VG %s: %w: seqno %d: %w", g.Name, ErrNoText, n, t.Err)
		default:
			whole = append(whole, t)
		}
	}
	switch len(whole) {
	case 0:
		return nil, err
	case 1:
		return whole[0], nil
	}
	var times []string
	for _, t := range whole {
		times = append(times, fmt.Sprintf("%s (at %s)", t.time().UTC().Format(time.RFC3339), t.Copies[0]))
	}
	return nil, fmt.Errorf("VG %s: there are %d texts of seqno %d: name a time: %s", g.Name, len(whole), n, strings.Join(times, ", "))
}

// At is the newest text that is whole and was not written after a point in time. It fails with ErrNoText.
func (g *VG) At(when time.Time) (*Text, error) {
	var best *Text
	for _, t := range g.Texts {
		if t.VG == nil || t.time().After(when) || t.time().IsZero() {
			continue
		}
		if best == nil || t.time().After(best.time()) || t.time().Equal(best.time()) && t.Seqno > best.Seqno {
			best = t
		}
	}
	if best == nil {
		return nil, fmt.Errorf("VG %s: %w that was written by %s", g.Name, ErrNoText, when.UTC().Format(time.RFC3339))
	}
	return best, nil
}

// Current is the text that counts now; nil if the devices have none.
func (g *VG) Current() *Text {
	if len(g.Texts) > 0 && g.Texts[0].Current {
		return g.Texts[0]
	}
	return nil
}

// Changes are what is different in the text from the one before it: the whole text with the next lower seqno. If
// none was found, before is nil; then nothing is told, but of the first text of all.
func (t *Text) Changes() (changes []metadata.Change, before *Text) {
	switch {
	case t.VG == nil:
		return nil, nil
	case t.before != nil:
		return metadata.Compare(t.before.VG, t.VG), t.before
	case t.Seqno <= 1:
		return metadata.Compare(nil, t.VG), nil
	}
	return nil, nil
}

// View is the text in the form in which lvm2.Open shows it in place of what counts now.
//
// renamed are the UUIDs in the text of PVs that have another one by now.
func (f *Found) View(t *Text, renamed map[metadata.UUID]metadata.UUID) *View {
	v := &View{VG: t.VG, From: t.String(), Since: metadata.NewSince(t.VG, f.later(t, renamed))}
	if last := f.unreadLast(t); last != nil {
		v.Since.Unknown(t.VG, fmt.Sprintf("what seqno %d of %s gave it to, which cannot be read", last.Seqno, t.Name))
	}
	return v
}

// unreadLast is the text of the VG that counted last, as far as seqnos tell, and is damaged or cut off; nil for
// none.
func (f *Found) unreadLast(t *Text) (last *Text) {
	for _, g := range f.VGs {
		if g.UUID != t.UUID {
			continue
		}
		for _, o := range g.Texts {
			if o.VG == nil && o.Seqno > t.Seqno && (last == nil || o.Seqno > last.Seqno) {
				last = o
			}
		}
		for _, o := range g.Texts {
			if last != nil && o.VG != nil && o.Seqno >= last.Seqno {
				return nil // what that has in its old place was not given away
			}
		}
	}
	return last
}

// View is a VG as an older text or a file describes it.
type View struct {
	VG   *metadata.VG
	From string // what to call it
	// Since is what has become of its places.
	Since *metadata.Since
}

// later are the texts that have counted, or may have, since t was written.
func (f *Found) later(t *Text, renamed map[metadata.UUID]metadata.UUID) (later []metadata.Later) {
	own := map[metadata.UUID]bool{}
	for _, pv := range t.VG.PVs {
		own[pv.UUID] = true
	}
	shares := func(vg *metadata.VG) bool {
		return slices.ContainsFunc(vg.PVs, func(pv *metadata.PV) bool { return own[pv.UUID] || renamed[pv.UUID] != "" })
	}
	for _, g := range f.VGs {
		for _, o := range g.Texts {
			if o != t && o.VG != nil && o.follows(t) && shares(o.VG) {
				later = append(later, metadata.Later{VG: o.VG, PVs: renamed, Step: o.step && o.removes()})
			}
		}
	}
	return later
}

// follows says whether o may have counted after t did. Of one VG the seqno tells, but vgcfgrestore goes back to a
// lower one. Of different VGs only the time tells. What counts now is later than what does not.
func (o *Text) follows(t *Text) bool {
	switch {
	case o.Current:
		return true
	case t.Current:
		return false
	case o.UUID == t.UUID && o.Seqno < t.Seqno:
		return o.time().After(t.time())
	}
	return o.UUID == t.UUID && o.Seqno > t.Seqno || !o.time().Before(t.time())
}

// Named are the VGs that have a UUID; or that have a name, or had it in some text. NAME@ and the start of a UUID
// tells VGs of one name apart.
func (f *Found) Named(name string) (vgs []*VG) {
	uuid, err := metadata.ParseUUID(strings.TrimPrefix(name, "@"))
	base, short, _ := strings.Cut(name, "@")
	for _, g := range f.VGs {
		switch {
		case err == nil && g.UUID == uuid,
			short != "" && g.UUID != "" && strings.HasPrefix(g.UUID.String(), short) && g.hadName(base),
			g.hadName(name):
			vgs = append(vgs, g)
		}
	}
	return vgs
}

func (g *VG) hadName(name string) bool {
	return slices.ContainsFunc(g.Texts, func(t *Text) bool { return t.Name == name })
}

// Labelled says whether a device has the label of a PV.
func (f *Found) Labelled(pv metadata.UUID) bool {
	for _, uuid := range f.Labels {
		if uuid == pv {
			return true
		}
	}
	return false
}

// MayBe is the device that a PV of a text, which no label shows, seems to be; nil if nothing tells. It is the only
// device that has the text, and no label of a PV of the text. If the text has other PVs without a label, only
// devices of the PV's size count.
func (f *Found) MayBe(t *Text, pv *metadata.PV) mapping.Device {
	lost := 0
	for _, other := range t.VG.PVs {
		if !f.Labelled(other.UUID) {
			lost++
		}
	}
	var candidates []mapping.Device
	for _, c := range t.Copies {
		if c.Device != nil && t.VG.PV(f.Labels[c.Device]) == nil && !slices.Contains(candidates, c.Device) && (lost == 1 || c.Device.Size() == pv.DevSize) {
			candidates = append(candidates, c.Device)
		}
	}
	if len(candidates) != 1 {
		return nil
	}
	return candidates[0]
}

// Renamed are the UUIDs in the text of PVs that seem to have been made anew on the same device; see MayBe.
func (f *Found) Renamed(t *Text) map[metadata.UUID]metadata.UUID {
	renamed := map[metadata.UUID]metadata.UUID{}
	for _, pv := range t.VG.PVs {
		if f.Labelled(pv.UUID) {
			continue
		}
		if d := f.MayBe(t, pv); d != nil && f.Labels[d] != "" {
			renamed[f.Labels[d]] = pv.UUID
		}
	}
	return renamed
}
