package md

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// Errors of Assemble.
var (
	// ErrIncomplete: too many members are missing, stale or not yet built.
	ErrIncomplete = errors.New("too many members are missing")
	// ErrContradiction: members contradict each other, and nothing says which is right.
	ErrContradiction = errors.New("the members contradict each other")
)

// Member is a device with the superblock that was found on it.
type Member struct {
	Device mapping.Device
	Super  *Superblock
}

// Options change how an array is assembled. The zero value is fit for use.
type Options struct {
	// RAID0Layout is raid.Original or raid.Alternate, for arrays over unequal members that do not
	// tell; 0 if it is not known. What differs between the two is then missing.
	RAID0Layout uint32
	// Damaged are devices that may be members of this array or another one.
	Damaged []DamagedMember
	// OnError is told, once for each, of n bytes at off of a member that failed to read and will be
	// read from the others. It is called by readers, perhaps several at a time. May be nil.
	OnError func(member mapping.Device, off, n int64, err error)
}

// Assembly is what came of the members of a set.
type Assembly struct {
	Array    *Array
	LeftOut  []Rejected // members that are not used: stale, faulty, given twice; not spares
	Warnings []error    // what was wrong but could be got over
}

// Rejected is a member that is not used, and why.
type Rejected struct {
	Member Member
	Err    error
}

// newest is the superblock with the most events.
func newest(members []Member) Member {
	return slices.MaxFunc(members, func(a, b Member) int {
		switch {
		case a.Super.Events < b.Super.Events:
			return -1
		case a.Super.Events > b.Super.Events:
			return 1
		}
		return 0
	})
}

// Complete says whether members, of one set, are all that the array has, so that no better array can
// be made of them with others.
func Complete(members []Member) bool {
	super := newest(members).Super
	disks := super.Geometry.Disks
	if super.Reshape != nil {
		disks = max(disks, super.Reshape.To.Disks)
	}
	have := map[Role]bool{}
	for _, m := range members {
		if r := super.role(m.Super.Number); r >= 0 && m.Super.Events == super.Events {
			have[r] = true
		}
	}
	return len(have) >= disks
}

// Assemble makes an array of members, which are all of one [Set], in any order. It fails with
// ErrIncomplete, ErrContradiction, ErrUnsupported or raid.ErrGeometry, and then the Assembly has no
// Array.
// (docs/format/04-below-lvm.md, section 4.3)
func Assemble(members []Member, opts Options) (*Assembly, error) {
	best := newest(members)
	a := &assembler{Options: opts, best: best, super: best.Super}
	array, err := a.assemble(members)
	if err != nil {
		err = fmt.Errorf("%s: %w", best.Super.ArrayName(), err)
	}
	a.Array = array
	return &a.Assembly, err
}

type assembler struct {
	Options
	Assembly
	best  Member
	super *Superblock // of best
	disks int         // places in the array; during a reshape, before or after it
	legs  []leg       // by role

	damaged []DamagedMember // that may be members
	unused  error           // a member that may be right is not used
	parity  bool
	unknown map[Role]bool // the places that they may have
}

// leg is a place in the array.
type leg struct {
	*Member       // nil if nobody takes it
	lost    error // why not
	doubted bool  // somebody who should be whole is too old for it
	bad     []span
}

func (a *assembler) assemble(members []Member) (*Array, error) {
	a.disks = a.super.Geometry.Disks
	if a.super.Reshape != nil {
		a.disks = max(a.disks, a.super.Reshape.To.Disks)
	}
	a.legs = make([]leg, a.disks)
	for _, m := range members {
		if err := a.place(m); err != nil {
			return nil, err
		}
	}
	a.suspect(members)
	if err := a.contradicted(); err != nil {
		return nil, err
	}
	if err := a.checkFeatures(); err != nil {
		return nil, err
	}
	present := 0
	for i := range a.legs {
		l := &a.legs[i]
		switch {
		case l.Member != nil:
			present++
		case l.lost == nil:
			l.lost = fmt.Errorf("%w: member %d of %s was not found", mapping.ErrMissing, i, a.super.ArrayName())
		}
	}
	v, size, err := a.volume()
	if err != nil {
		return nil, err
	}
	if missing := a.disks - present; missing > 0 {
		a.warn("%s: %d of %d members are missing or not used: %v", a.super.ArrayName(), missing, a.disks, a.missing())
	}
	array := &Array{name: a.super.ArrayName(), volume: v, size: size, super: a.super, present: present}
	array.writing.settled = a.super.Resync == All && len(a.damaged) == 0
	for _, l := range a.legs {
		if l.Member != nil {
			array.devices = append(array.devices, l.Device)
			array.writing.members = append(array.writing.members, *l.Member)
			array.writing.settled = array.writing.settled && l.Super.badBlocks.size == 0
		}
	}
	a.prepareWriting(array)
	return array, nil
}

func (a *assembler) warn(format string, args ...any) {
	a.Warnings = append(a.Warnings, fmt.Errorf(format, args...))
}

func (a *assembler) leaveOut(m Member, format string, args ...any) {
	err := fmt.Errorf("%s: not used as %s of %s: %w", m.Device.Name(), m.Super.Role, a.super.ArrayName(), fmt.Errorf(format, args...))
	a.LeftOut = append(a.LeftOut, Rejected{m, err})
}

func (a *assembler) missing() (roles []int) {
	for i, l := range a.legs {
		if l.Member == nil {
			roles = append(roles, i)
		}
	}
	return roles
}

// place gives a member its place in the array, if it has one and may be used.
func (a *assembler) place(m Member) error {
	s := m.Super
	role := a.super.role(s.Number)
	switch {
	case s.Events == a.super.Events && !agree(s, a.super):
		return fmt.Errorf("%w: %s and %s have as many events (%d) and differ in the rest", ErrContradiction, a.best.Device.Name(), m.Device.Name(), s.Events)
	case s.Role == Spare && role < 0 || s.Role == Journal:
		return nil
	case s.Events+1 < a.super.Events:
		a.leaveOut(m, "stale: its superblock has %d events, that of %s %d", s.Events, a.best.Device.Name(), a.super.Events)
		if role >= 0 && int(role) < a.disks && role == s.Role {
			a.legs[role].doubted = true
		}
		return nil
	case role < 0:
		a.leaveOut(m, "%s lists it as %s", a.best.Device.Name(), role)
		return nil
	case s.Role != role:
		a.leaveOut(m, "%s lists it as %s", a.best.Device.Name(), role)
		return nil
	case s.Events != a.super.Events && !sameGeometry(s, a.super):
		a.leaveOut(m, "stale: it has the layout of before a change")
		return nil
	}
	return a.settle(m, int(role))
}

// settle decides which of several members gets a place.
func (a *assembler) settle(m Member, role int) error {
	if role >= a.disks {
		return fmt.Errorf("%w: member %d of %d", ErrDamaged, role, a.disks)
	}
	bad, err := m.Super.badBlocks.read(m.Device)
	if err != nil {
		a.leaveOut(m, "%w", err)
		a.unused = err
		return nil
	}
	l := &a.legs[role]
	if l.Member == nil {
		*l = leg{Member: &m, bad: bad}
		return nil
	}
	old := *l.Member
	loser := m
	var why string
	switch {
	case m.Super.Replacement != old.Super.Replacement:
		if old.Super.Replacement {
			loser = old
		}
		why = "it is to replace another, and not done"
	case m.Super.Events != old.Super.Events:
		if old.Super.Events < m.Super.Events {
			loser = old
		}
		why = "another for the same place has more events"
	case m.Super.Number == old.Super.Number && m.Super.UUID == old.Super.UUID:
		return a.compareCopies(l, m, bad)
	default:
		return fmt.Errorf("%w: %s and %s are both %s", ErrContradiction, old.Device.Name(), m.Device.Name(), Role(role))
	}
	if loser != m {
		*l = leg{Member: &m, bad: bad}
	}
	a.unused = fmt.Errorf("%s is there for the same place as another", loser.Device.Name())
	a.leaveOut(loser, "%s", why)
	return nil
}

// compareCopies makes one leg of two devices with the same member: nothing tells which is right, so what is read
// of them is read from both.
func (a *assembler) compareCopies(l *leg, m Member, bad []span) error {
	old := *l.Member
	if !slices.Equal(bad, l.bad) || m.Super.Recovery != old.Super.Recovery || m.Super.DataOffset != old.Super.DataOffset {
		return fmt.Errorf("%w: %s and %s are the same member, with as many events, and differ: name only the right one", ErrContradiction, old.Device.Name(), m.Device.Name())
	}
	copies := []mapping.Device{m.Device}
	if twins, ok := old.Device.(*mapping.Twins); ok {
		copies = append(copies, twins.Beneath()...)
	} else {
		copies = append(copies, old.Device)
	}
	slices.SortFunc(copies, func(a, b mapping.Device) int { return strings.Compare(a.Name(), b.Name()) })
	a.leaveOut(m, "it is a copy of %s; nothing tells which is right, so what is read is read from both and compared", old.Device.Name())
	l.Member = &Member{mapping.NewTwins(copies, fmt.Errorf("%w: they are the same member: name only the right one", ErrContradiction)), old.Super}
	return nil
}

// agree says whether two superblocks with as many events describe one state of one array.
func agree(a, b *Superblock) bool {
	return sameGeometry(a, b) && a.Resync == b.Resync && slices.Equal(trim(a.Roles), trim(b.Roles))
}

// trim drops trailing empty slots.
func trim(roles []Role) []Role {
	n := len(roles)
	for n > 0 && roles[n-1] < 0 && roles[n-1] != Journal {
		n--
	}
	return roles[:n]
}

func sameGeometry(a, b *Superblock) bool {
	switch {
	case a.Geometry != b.Geometry, a.Size != b.Size, a.layoutTold != b.layoutTold, (a.Reshape == nil) != (b.Reshape == nil):
		return false
	case a.Reshape == nil:
		return true
	}
	return *a.Reshape == *b.Reshape
}

// contradicted says whether a member in use lists another as faulty that is no older and whole. To come back whole, that
// one would have been rebuilt, and this one have said so.
func (a *assembler) contradicted() error {
	for _, accuser := range a.legs {
		for i, l := range a.legs {
			if accuser.Member == nil || l.Member == nil || l.Super.Events < accuser.Super.Events || !l.whole() {
				continue
			}
			if role := accuser.Super.role(l.Super.Number); role == Faulty {
				return fmt.Errorf("%w: %s lists %s as faulty, which is whole by its own superblock", ErrContradiction, accuser.Device.Name(), a.legs[i].Device.Name())
			}
		}
	}
	return nil
}

// checkFeatures refuses what cannot be read with certainty.
func (a *assembler) checkFeatures() error {
	s := a.super
	switch {
	case s.journal:
		return fmt.Errorf("%w: it has a journal, which may hold what its members do not", ErrUnsupported)
	case s.Reshape == nil:
		return nil
	case s.Reshape.NewOffset == 0:
		return fmt.Errorf("%w: a reshape is under way, a part of which may be in a backup file", ErrUnsupported)
	}
	for _, l := range a.legs {
		if l.Member != nil && (!l.whole() || l.bad != nil) {
			return fmt.Errorf("%w: a reshape is under way, while %s is not whole", ErrUnsupported, l.Device.Name())
		}
	}
	return nil
}

// whole says whether a leg is there and in sync to its end.
func (l leg) whole() bool { return l.Member != nil && l.Super.Recovery == All }

// survives says whether the kernel would start an array of this geometry.
func (a *assembler) survives(g raid.Geometry) error {
	if g.Survives(func(leg int) bool { return !a.legs[leg].whole() }) {
		return nil
	}
	var lost []string
	for i, l := range a.legs {
		switch {
		case l.Member == nil:
			lost = append(lost, fmt.Sprintf("%d (not found or not used)", i))
		case !l.whole():
			lost = append(lost, fmt.Sprintf("%d (%s, not yet rebuilt)", i, l.Device.Name()))
		}
	}
	return fmt.Errorf("%w: %v with %d places, without %v", ErrIncomplete, a.super.Geometry.Level, a.disks, lost)
}
